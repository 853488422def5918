"""Placing: a job is written in one transaction with the Idempotency-Key it was asked under; then the workers are rung for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from psycopg.errors import ForeignKeyViolation
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from db import ledger
from db.errors import NotFound
from db.ledger import NewJob
from db.models import Job, new_id
from db.session import holds_nothing
from tasks.runtime import Runtime

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and under which Idempotency-Key."""

    tenant_id: str
    route: str = ""
    key: str | None = None
    body_sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    job: Job
    #: An unfinished job already asked for the same thing; this is that one.
    deduplicated: bool = False
    #: The same Idempotency-Key was answered before with this job.
    replayed: bool = False
    #: A forecast already in hand; `job` is the one that made it.
    forecast: Mapping[str, Any] | None = None
    #: How many waited in the queue before a job that is new.
    ahead: int | None = None


#: What was asked for: answered or written already, or the one job that is to be written.
Sought = Submitted | NewJob


def looked_up(
    runtime: Runtime,
    asker: Asker,
    ahead: Callable[[Session], Made],
    place: Callable[[Session, Made], Sought],
    within: Session | None = None,
) -> Submitted:
    """Look up and measure first, in no transaction: a source may take its time. What the key was answered with is not measured again."""
    with runtime.sessions() as session:
        recalled = _recalled(session, asker)
        if recalled is not None:
            return recalled
        made = ahead(session)
    return once(runtime, asker, lambda session: place(session, made), within)


def once(
    runtime: Runtime, asker: Asker, place: Callable[[Session], Sought], within: Session | None = None, *, singly: bool = False
) -> Submitted:
    """Place a job in one transaction with its Idempotency-Key, then ring. The job exists once this returns.

    `singly`: without a key, what is placed is written by one statement, which is a transaction by itself. The id of a new job is known
    before anything is sent, so that it can be found where Postgres' answer is lost.
    """
    submitted, job_id = None, new_id("job")
    if within is not None:
        with _told_of_erasure(), within.begin_nested():
            return _placed(runtime, within, asker, place(within), job_id)
    sessions = runtime.singly if singly and asker.key is None else runtime.sessions
    try:
        with _told_of_erasure(), sessions() as session:
            runtime.pace.learn(session)
            submitted = _recalled(session, asker) or _placed(runtime, session, asker, place(session), job_id)
            job_id = submitted.job.id
            session.commit()
    except OperationalError as error:
        written = _written(runtime, asker, job_id) if error.connection_invalidated else None
        if written is None:
            raise
        submitted = Submitted(written) if submitted is None else replace(submitted, job=written)
    if submitted.forecast is None and not submitted.replayed:
        runtime.ringer.ring()
    return submitted


@contextmanager
def _told_of_erasure() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if isinstance(error.orig, ForeignKeyViolation):
            raise NotFound("entity", "that was erased while this was asked") from error
        raise


def _recalled(session: Session, asker: Asker) -> Submitted | None:
    """What this Idempotency-Key was answered with before."""
    if asker.key is None:
        return None
    found = ledger.recall(session, asker.tenant_id, asker.route, asker.key, asker.body_sha256)
    return None if found is None else _replayed(*found)


def _replayed(job: Job, asked_at: datetime) -> Submitted:
    """As it was answered then: by a job that had ended before, which made the forecast, or by one that stood already, or by a new one."""
    if job.finished_at is not None and job.finished_at < asked_at and job.result is not None:
        return Submitted(job, replayed=True, forecast=job.result["forecast"] | {"cached": True})
    return Submitted(job, deduplicated=job.created_at < asked_at, replayed=True)


def _placed(runtime: Runtime, session: Session, asker: Asker, sought: Sought, job_id: str) -> Submitted:
    submitted = sought if isinstance(sought, Submitted) else _one(runtime, session, sought, job_id)
    if asker.key is not None:
        ledger.remember(session, asker.tenant_id, asker.route, asker.key, asker.body_sha256, submitted.job.id)
    return submitted


def _one(runtime: Runtime, session: Session, new: NewJob, job_id: str) -> Submitted:
    if holds_nothing(session):
        placed = runtime.grouped.place(session, new, job_id)
    else:
        placed = ledger.place(session, new, max_queue=runtime.settings.max_queue, id_=job_id)
    return Submitted(placed.job, placed.deduplicated, ahead=None if placed.deduplicated else placed.waiting)


def _written(runtime: Runtime, asker: Asker, job_id: str) -> Job | None:
    """The job, where the connection broke at COMMIT, or at the statement that is a transaction by itself, and took only its answer along.

    Where Postgres is still at it the client hears 503 and asks again; with an Idempotency-Key it then gets this job.
    """
    try:
        with runtime.sessions() as session:
            # A job that stood before says nothing of this COMMIT; the key that was written with it does.
            if asker.key is not None and not ledger.remembers(session, asker.tenant_id, asker.route, asker.key, job_id):
                return None
            return ledger.get(session, asker.tenant_id, job_id)
    except NotFound:
        return None
