"""Idempotency-Keys: what a request was answered with is written with the answer, and told to whoever sends the key again."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from db.errors import KeyReused
from db.models import IdempotencyKey, Job
from db.session import ask

_FIRST = """
INSERT INTO idempotency_keys (tenant_id, route, key, request_sha256, job_id) VALUES (%(tenant)s, %(route)s, %(key)s, %(sha256)s, '')
ON CONFLICT DO NOTHING RETURNING key
"""
_REMEMBER = """
UPDATE idempotency_keys SET job_id = %(job)s
WHERE tenant_id = %(tenant)s AND route = %(route)s AND key = %(key)s AND request_sha256 = %(sha256)s RETURNING job_id
"""


class Recalled(NamedTuple):
    """What a request was answered with when it came for the first time, and when that was."""

    job: Job
    asked_at: datetime


def recall(session: Session, tenant_id: str, route: str, key: str, request_sha256: str) -> Recalled | None:
    """The job that this Idempotency-Key was answered with, or None for a new key. KeyReused when the body was another.

    Call it before anything else in the transaction, and after None `remember` the job before the end. It writes the key first, with no job
    (its foreign key waits for the commit): a concurrent twin blocks on that row until the first one's commit and then finds its job,
    or until its rollback and then is the first itself. So a refused request leaves no key behind.
    """
    while not ask(session, _FIRST, {"tenant": tenant_id, "route": route, "key": key, "sha256": request_sha256}):
        known = session.execute(
            select(IdempotencyKey.request_sha256, IdempotencyKey.job_id, IdempotencyKey.created_at).where(_key(tenant_id, route, key))
        ).one_or_none()
        if known is None:
            continue  # it was purged between the two statements
        if known.request_sha256 != request_sha256:
            raise KeyReused(key)
        job = session.scalars(select(Job).where(Job.id == known.job_id).execution_options(populate_existing=True)).one()
        return Recalled(job, known.created_at)
    return None


def remember(session: Session, tenant_id: str, route: str, key: str, request_sha256: str, job_id: str) -> None:
    """Give the key that `recall` wrote its job, also when that is a twin's. Without this the commit is refused."""
    ask(session, _REMEMBER, {"tenant": tenant_id, "route": route, "key": key, "sha256": request_sha256, "job": job_id})


def remembers(session: Session, tenant_id: str, route: str, key: str, job_id: str) -> bool:
    """Whether this key is on record with this job."""
    held = select(IdempotencyKey.job_id).where(_key(tenant_id, route, key), IdempotencyKey.job_id == job_id)
    return session.scalar(held) is not None


def _key(tenant_id: str, route: str, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyKey.tenant_id == tenant_id, IdempotencyKey.route == route, IdempotencyKey.key == key)
