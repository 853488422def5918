"""Tenants and their API keys: who is asking, and what they may do."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Double, Row, and_, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import audit
from db.audit import OPERATOR, By
from db.errors import Conflict, NotFound
from db.models import ApiKey, Tenant

SCOPES = ("read", "write", "operate")
#: `fk_<id>_<secret>`: 48 bits to find the row by, 256 bits that nobody guesses (so a fast hash is enough).
_KEY = re.compile(r"fk_([0-9a-f]{12})_([0-9a-f]{64})")
#: Compared against when no row is found, so that an unknown id takes as long as a wrong secret.
_NO_SECRET = bytes(32)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who presented a key that holds."""

    tenant_id: str
    #: The tenant's name.
    tenant: str
    key_id: str
    scopes: frozenset[str]
    #: Seconds until the key expires; None for one that does not.
    left_s: float | None = None


class Rotated(NamedTuple):
    """Two keys that both open the door until the old one's end."""

    old: ApiKey
    new: ApiKey
    #: The new one in clear.
    whole: str


def create_tenant(session: Session, name: str, *, max_unfinished: int, max_running: int) -> Tenant:
    """A new tenant; Conflict `tenant_exists` when the name is taken."""
    values = {"name": name, "max_unfinished": max_unfinished, "max_running": max_running}
    tenant: Tenant | None = session.scalar(insert(Tenant).values(values).on_conflict_do_nothing().returning(Tenant))
    if tenant is None:
        raise Conflict("tenant_exists", f"There is a tenant {name!r} already.")
    return tenant


def find_tenant(session: Session, name: str) -> Tenant:
    tenant = session.scalar(select(Tenant).where(Tenant.name == name))
    if tenant is None:
        raise NotFound("tenant", name)
    return tenant


def name_of(session: Session, tenant_id: str) -> str:
    return session.get_one(Tenant, tenant_id).name


def list_tenants(session: Session) -> list[Tenant]:
    return list(session.scalars(select(Tenant).order_by(Tenant.name)))


def issue_key(
    session: Session,
    tenant_id: str,
    name: str,
    scopes: Sequence[str] = SCOPES,
    expires_at: datetime | None = None,
    *,
    by: By = OPERATOR,
) -> tuple[ApiKey, str]:
    """A new key, and the whole of it in clear: the one time that anybody sees it."""
    key, whole = _new_key(session, tenant_id, name, scopes, expires_at)
    audit.write(session, tenant_id, audit.KEY_CREATED, key.id, by, scopes=key.scopes, expires_at=_moment(expires_at))
    return key, whole


def _new_key(session: Session, tenant_id: str, name: str, scopes: Sequence[str], expires_at: datetime | None) -> tuple[ApiKey, str]:
    unknown = set(scopes) - set(SCOPES)
    if unknown:
        raise ValueError(f"No such scope: {', '.join(sorted(unknown))}.")
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    key = ApiKey(id=key_id, tenant_id=tenant_id, name=name, secret_sha256=digest(secret), scopes=list(scopes), expires_at=expires_at)
    session.add(key)
    session.flush()
    return key, f"fk_{key_id}_{secret}"


def authenticate(session: Session, presented: str) -> Identity | None:
    """Whose key this is, or None when it is malformed, unknown, wrong, expired or revoked: the caller cannot tell which."""
    parts = _KEY.fullmatch(presented)
    if parts is None:
        return None
    key_id, secret = parts.groups()
    row = session.execute(
        select(
            ApiKey.tenant_id,
            ApiKey.id.label("key_id"),
            ApiKey.secret_sha256,
            ApiKey.scopes,
            Tenant.name,
            usable().label("usable"),
            stale().label("stale"),
            left_s().label("left_s"),
        )
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .where(ApiKey.id == key_id)
    ).one_or_none()
    return admitted(session, row, secret)


def admitted(session: Session, row: Row[*tuple[Any, ...]] | None, secret: str) -> Identity | None:
    """Whose row of a key, or of a login by one, this is; None where there is none, it no longer holds, or the secret is another.

    It takes as long whether or not there is a row. `row` has tenant_id, name, key_id, secret_sha256, scopes, usable, stale and left_s.
    """
    right = hmac.compare_digest(digest(secret), _NO_SECRET if row is None else row.secret_sha256)
    if row is None or not right or not row.usable:
        return None
    if row.stale:
        _stamp(session, row.key_id)
    return Identity(row.tenant_id, row.name, row.key_id, frozenset(row.scopes), row.left_s)


def list_keys(session: Session, tenant_id: str) -> list[ApiKey]:
    """All keys, oldest first, revoked ones too."""
    return list(session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.created_at, ApiKey.id)))


def revoke_key(session: Session, tenant_id: str, key_id: str, *, by: By = OPERATOR) -> ApiKey:
    """The key stops working within ten seconds, for which web processes trust it. Revoking it again leaves the first moment standing."""
    key = session.scalar(select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.id == key_id).with_for_update())
    if key is None:
        raise NotFound("key", key_id)
    if key.revoked_at is None:
        key.revoked_at = session.scalar(select(func.clock_timestamp()))
        audit.write(session, tenant_id, audit.KEY_REVOKED, key_id, by)
    return key


def rotate_key(
    session: Session, tenant_id: str, key_id: str, overlap: timedelta, expires_at: datetime | None = None, *, by: By = OPERATOR
) -> Rotated:
    """A new key of the same name and scopes; the old one ends after the overlap, if it does not before.

    Unless told when it `expires_at`, the new one is made for as long as the old one was. Conflict `key_ended` when the old one has ended.
    """
    old = session.scalar(select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.id == key_id).with_for_update())
    if old is None:
        raise NotFound("key", key_id)
    now = session.scalars(select(func.clock_timestamp())).one()
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Conflict("key_ended", f"Key {key_id} is {'revoked' if old.revoked_at else 'expired'}.")
    if expires_at is None and old.expires_at is not None:
        expires_at = now + (old.expires_at - old.created_at)
    new, whole = _new_key(session, tenant_id, old.name, old.scopes, expires_at)
    old.expires_at = min(now + overlap, old.expires_at or datetime.max.replace(tzinfo=UTC))
    ends = {"ends_at": _moment(old.expires_at), "expires_at": _moment(expires_at)}
    audit.write(session, tenant_id, audit.KEY_ROTATED, key_id, by, new_key=new.id, scopes=new.scopes, **ends)
    return Rotated(old, new, whole)


def _stamp(session: Session, key_id: str) -> None:
    """Note the use, at most once a minute. SKIP LOCKED: a request must never wait for another one's transaction for a courtesy."""
    due = select(ApiKey.id).where(ApiKey.id == key_id, stale()).with_for_update(skip_locked=True).scalar_subquery()
    session.execute(
        update(ApiKey).where(ApiKey.id == due).values(last_used_at=func.clock_timestamp()), execution_options={"synchronize_session": False}
    )


def usable() -> ColumnElement[bool]:
    """The key of the row holds now."""
    return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()))


def left_s() -> ColumnElement[float | None]:
    """Seconds until the key of the row expires."""
    return cast(func.extract("epoch", ApiKey.expires_at - func.clock_timestamp()), Double)


def stale() -> ColumnElement[bool]:
    """The last use of the row's key was noted more than a minute ago."""
    return or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.clock_timestamp() - timedelta(minutes=1))


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()
