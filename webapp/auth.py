"""The door: an API key becomes the identity that every view works for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from flask import Flask, current_app, g
from sqlalchemy.exc import SQLAlchemyError

from db import tenants
from db.session import Sessions
from db.tenants import Identity
from tasks import status
from webapp.context import asked, wsgi
from webapp.problems import Refusal

#: Everything below it needs a key.
PREFIX = status.API
BELOW = PREFIX + "/"
#: A revoked key is refused at most so many seconds later; a stream looks every two seconds, which makes it ten.
TRUSTED_S = 8.0
#: Where the app keeps its door.
DOOR = "fleetcast-door"
#: What cannot be undone, and what changes the answers that everybody gets. A phone's backend can do its work without these.
OPERATE = frozenset({"entities.delete_entity", "models.activate", "models.rollback", "models.delete_version"})
#: Keys remembered at once; far more than one process sees in ten seconds.
REMEMBERED = 4096


class Door:
    """Answers who presents a key. Keys that were right a moment ago are not looked up again."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._seen: dict[bytes, tuple[float, Identity]] = {}

    def admit(self, presented: str) -> Identity | None:
        mark = hashlib.sha256(presented.encode(errors="replace")).digest()
        until, known = self._seen.get(mark, (0.0, None))
        if known is not None and until > time.monotonic():
            return known
        with self._sessions.begin() as session:
            found = tenants.authenticate(session, presented)
        if found is not None:
            self._remember(mark, found)
        return found

    def _remember(self, mark: bytes, found: Identity) -> None:
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[mark] = (time.monotonic() + TRUSTED_S, found)


def guard(app: Flask, door: Door) -> None:
    """Let nobody below PREFIX without a key that has the scope of the view."""
    app.extensions[DOOR] = door

    @app.before_request
    def check() -> None:
        request = asked()
        if not request.path.startswith(BELOW):
            return
        presented = _presented(wsgi("HTTP_AUTHORIZATION") or "")
        identity = door.admit(presented)
        if identity is None:
            raise _unauthenticated("The key is unknown, expired or revoked.")
        needed = scope_of(request.endpoint, request.method)
        if needed not in identity.scopes:
            raise Refusal("forbidden_scope", f"This needs a key with the scope `{needed}`.")
        g.identity, g.presented = identity, presented


def still_admitted() -> Callable[[], bool]:
    """For answers that go on for long: whether the key of this request still opens the door. While Postgres is away nobody can deny it."""
    door, presented = current_app.extensions[DOOR], g.presented

    def holds() -> bool:
        try:
            return door.admit(presented) is not None
        except SQLAlchemyError:
            return True

    return holds


def scope_of(endpoint: str | None, method: str) -> str:
    """The scope that a request needs: `read` to look, `operate` for what OPERATE names, `write` for the rest."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    return "operate" if endpoint in OPERATE else "write"


def _presented(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _unauthenticated("Send `Authorization: Bearer fk_…`.")
    return key.strip()


def _unauthenticated(detail: str) -> Refusal:
    return Refusal("unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="fleetcast"'})
