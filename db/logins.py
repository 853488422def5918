"""Logins: a browser shows a key once, and is known by a cookie until it logs out, the login ends, or the key does."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

from sqlalchemy import Double, and_, cast, delete, func, select, text
from sqlalchemy.orm import Session

from db.models import ApiKey, Login, Tenant
from db.tenants import Identity, admitted, digest, left_s, stale, usable

#: `fl_<id>_<secret>`, as a key is `fk_<id>_<secret>`.
PREFIX = "fl_"
_WHOLE = re.compile(r"fl_([0-9a-f]{12})_([0-9a-f]{64})")

_PURGE = text("""
    DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE expires_at < clock_timestamp() ORDER BY expires_at LIMIT :limit)
    RETURNING id
""")


def begin(session: Session, identity: Identity, lasts: timedelta) -> str:
    """A new login of whoever showed that key: the whole of it in clear, the one time that anybody sees it."""
    login_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    of_key = {"tenant_id": identity.tenant_id, "key_id": identity.key_id}
    until = func.clock_timestamp() + lasts
    session.add(Login(id=login_id, secret_sha256=digest(secret), expires_at=until, **of_key))
    session.flush()
    return f"{PREFIX}{login_id}_{secret}"


def authenticate(session: Session, presented: str) -> Identity | None:
    """Whose login this is; None for one that is malformed, unknown, wrong or over, and for one whose key no longer holds."""
    parts = _WHOLE.fullmatch(presented)
    if parts is None:
        return None
    login_id, secret = parts.groups()
    lasts = cast(func.extract("epoch", Login.expires_at - func.clock_timestamp()), Double)
    row = session.execute(
        select(
            Login.tenant_id,
            Login.key_id,
            Login.secret_sha256,
            ApiKey.scopes,
            Tenant.name,
            and_(usable(), Login.expires_at > func.clock_timestamp()).label("usable"),
            stale().label("stale"),
            func.least(left_s(), lasts).label("left_s"),
        )
        .join(ApiKey, ApiKey.id == Login.key_id)
        .join(Tenant, Tenant.id == Login.tenant_id)
        .where(Login.id == login_id)
    ).one_or_none()
    return admitted(session, row, secret)


def end(session: Session, presented: str) -> None:
    """Log out. Whoever holds a copy of the cookie is out too; one that was never given out ends nothing."""
    parts = _WHOLE.fullmatch(presented)
    if parts is not None:
        session.execute(delete(Login).where(Login.id == parts[1], Login.secret_sha256 == digest(parts[2])))


def purge(session: Session, *, limit: int) -> int:
    """Forget logins that are over. How many."""
    return len(session.execute(_PURGE, {"limit": limit}).all())
