"""The door: an API key, or a login that was begun with one, becomes the identity that every view works for."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from flask import Flask, Request, current_app, g
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from db import logins, tenants
from db.session import Sessions
from db.tenants import Identity
from tasks import documents
from webapp.context import asked, wsgi
from webapp.problems import Refusal

#: Everything below it needs a key.
PREFIX = documents.API
BELOW = PREFIX + "/"
#: A revoked key is refused at most ten seconds later: after it was trusted, while somebody looks it up, and, in a stream, until the
#: stream looks again, which it does every two seconds.
TRUSTED_S, LOOK_UP_S = 7.0, 1.0
#: While Postgres is away, whoever was let in a moment ago is let in on: what Redis knows can still be answered, and nobody can be revoked.
OUTAGE_S = 60.0
#: Keys looked up at once; most of the pool stays for those that are known.
LOOK_UPS = 4
#: Where the app keeps its door.
DOOR = "fleetcast-door"
#: What cannot be undone, what changes the answers that everybody gets, and where news of them goes. A phone's backend can do its work
#: without these.
OPERATE = frozenset(
    {
        *("entities.delete_entity", "models.activate", "models.rollback", "models.delete_version"),
        *(f"webhooks.{name}" for name in ("create_webhook", "delete_webhook", "enable_webhook", "rotate_secret")),
    }
)
#: What everybody of the tenant did is told to those alone who may do such things.
TOLD_TO_OPERATORS = "audit.list_audit"
_LOOKS = ("GET", "HEAD", "OPTIONS")
#: Keys remembered at once; far more than one process sees in ten seconds.
REMEMBERED = 4096
#: What a browser that has logged in sends by itself. It counts only where the dashboard's own pages say that they are asking: other pages
#: cannot send the header, nor can a link or a form.
COOKIE, OWN_PAGES = "fleetcast_login", "X-Fleetcast-Dashboard"


class Known(NamedTuple):
    """A key or login that was right a moment ago."""

    identity: Identity
    #: Until when it is not asked again, and until when it is believed while Postgres cannot be asked.
    until: float
    outlives_until: float


class Door:
    """Answers who presents a key or a login. Those that were right a moment ago are not looked up again."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._seen: dict[bytes, Known] = {}
        self._asking: set[bytes] = set()
        self._turns = threading.BoundedSemaphore(LOOK_UPS)

    def admit(self, presented: str) -> Identity | None:
        """Whose key or login this is; None for one that is unknown, over or revoked."""
        mark = _mark(presented)
        known, now = self._seen.get(mark), time.monotonic()
        if known is not None and (now < known.until or (mark in self._asking and now < known.until + LOOK_UP_S)):
            return known.identity
        self._asking.add(mark)  # one looks up for all streams and requests of this key
        try:
            found = self._look_up(presented)
        except OperationalError:
            if known is None or known.outlives_until < now:
                raise
            return known.identity
        finally:
            self._asking.discard(mark)
        self._remember(mark, found)
        return found

    def forget(self, presented: str) -> None:
        """It was given up: here it opens nothing from now on, in other processes as a revoked key does."""
        self._seen.pop(_mark(presented), None)

    def _look_up(self, presented: str) -> Identity | None:
        """A few at a time: whoever makes keys up must not take every connection."""
        with self._turns, self._sessions.begin() as session:
            if presented.startswith(logins.PREFIX):
                return logins.authenticate(session, presented)
            return tenants.authenticate(session, presented)

    def _remember(self, mark: bytes, found: Identity | None) -> None:
        if found is None:
            self._seen.pop(mark, None)
            return
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        left = math.inf if found.left_s is None else found.left_s
        now = time.monotonic()
        self._seen[mark] = Known(found, now + min(TRUSTED_S, left), now + min(TRUSTED_S + OUTAGE_S, left))


def door() -> Door:
    return cast(Door, current_app.extensions[DOOR])


def guard(app: Flask, door: Door) -> None:
    """Let nobody below PREFIX without a key that has the scope of the view."""
    app.extensions[DOOR] = door

    @app.before_request
    def check() -> None:
        request = asked()
        if not request.path.startswith(BELOW):
            return
        presented = _presented(request)
        identity = door.admit(presented)
        if identity is None:
            raise _unauthenticated("The key is unknown, expired or revoked.")
        needed = scope_of(request.endpoint, request.method)
        if needed not in identity.scopes:
            raise Refusal("forbidden_scope", f"This needs a key with the scope `{needed}`.")
        g.identity, g.presented = identity, presented


def still_admitted() -> Callable[[], bool]:
    """For answers that go on for long: whether the key of this request still opens the door. While Postgres is away nobody can deny it."""
    opened, presented = door(), g.presented

    def holds() -> bool:
        try:
            return opened.admit(presented) is not None
        except SQLAlchemyError:
            return True

    return holds


def scope_of(endpoint: str | None, method: str) -> str:
    """The scope that a request needs: `read` to look, `operate` for the audit and for what OPERATE names, `write` for the rest."""
    if endpoint == TOLD_TO_OPERATORS:
        return "operate"
    if method in _LOOKS:
        return "read"
    return "operate" if endpoint in OPERATE else "write"


def same_origin(request: Request) -> bool:
    """The request comes from a page of this very host. Browsers say so themselves, of everything but a plain look at a page."""
    origin = request.headers.get("Origin", "")
    return request.headers.get("Sec-Fetch-Site") == "same-origin" or (origin != "" and urlsplit(origin).netloc == request.host)


def _presented(request: Request) -> str:
    scheme, _, key = (wsgi("HTTP_AUTHORIZATION") or "").partition(" ")
    key = key.strip()
    if scheme.lower() == "bearer" and key and not key.startswith(logins.PREFIX):
        return key
    if scheme == "" and OWN_PAGES in request.headers and (request.method in _LOOKS or same_origin(request)):
        return request.cookies.get(COOKIE, "")
    raise _unauthenticated("Send `Authorization: Bearer fk_…`.")


def _mark(presented: str) -> bytes:
    return hashlib.sha256(presented.encode(errors="replace")).digest()


def _unauthenticated(detail: str) -> Refusal:
    return Refusal("unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="fleetcast"'})
