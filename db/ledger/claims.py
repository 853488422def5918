"""Taking up work: the claim of one job, and the cohort that joins it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, func, insert, not_, null, or_, select, text, true, update
from sqlalchemy.orm import Session

from db.ledger.moves import attempts, from_now, jobs
from db.models import QUEUED, RUNNING, TRAINING_KINDS, Job, Tenant

#: How long a job waits that found its model or all places of its tenant taken.
BUSY_S = 5.0
#: Tries after which a job runs alone. A try lost with its whole machine counts no crash, yet this job may be what took it down.
SHY_AFTER = 2

#: Claims of one tenant go one after the other, until the commit: only so `max_running` is exact.
_IN_LINE = text("SELECT pg_advisory_xact_lock(hashtextextended(tenant_id, 0)) FROM jobs WHERE id = :job_id AND state = 'queued'")


@dataclass(frozen=True)
class Claim:
    """The right to run a job for a while: a snapshot of it, and the fence that every write must name."""

    job: Job
    fence: int
    attempt: int

    @property
    def job_id(self) -> str:
        return self.job.id

    @property
    def tenant_id(self) -> str:
        return self.job.tenant_id


def claim(session: Session, job_id: str, owner: str, lease_s: float) -> Claim | None:
    """Take the job up, or None: it is not queued, not due, to be cancelled, past its deadline, or there is no place for it now."""
    if session.execute(_IN_LINE, {"job_id": job_id}).first() is None:
        return None
    picked = select(jobs.c.id).where(jobs.c.id == job_id, _claimable(), _has_place(), _model_is_free())
    taken = _take(session, picked.with_for_update(key_share=True), owner, lease_s)
    if not taken:
        _postpone(session, job_id)
    return taken[0] if taken else None


def begin(session: Session, job_id: str, owner: str, lease_s: float) -> Claim:
    """Take up a job of this very transaction, which ends before the commit: nobody else ever sees it wait or run.

    So it needs no place among those that run. It gets its fence and its attempt like every other.
    """
    [taken] = _take(session, select(jobs.c.id).where(jobs.c.id == job_id), owner, lease_s)
    return taken


def join_cohort(session: Session, leader: Claim, limit: int, owner: str, lease_s: float) -> list[Claim]:
    """Take up at most `limit` more jobs that can be done in one step with the leader's.

    They are of its tenant, queue, kind and shape, one per model, and fit within the tenant's running cap. What has crashed, or was tried
    often, joins nobody and is joined by nobody. Predictions join whose bell was not rung: those that were rung lead cohorts of their own.
    """
    job = leader.job
    if job.shape_key is None or job.crashes or leader.attempt > SHY_AFTER:
        return []
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id, 0))"), {"tenant_id": job.tenant_id})
    room = min(limit, _places_left(session, job))
    return _take(session, _mates(job, room), owner, lease_s) if room > 0 else []


def _take(session: Session, picked: Select[tuple[str]], owner: str, lease_s: float) -> list[Claim]:
    chosen = picked.cte("picked")
    taken = (
        update(jobs)
        .where(jobs.c.id == chosen.c.id)
        .values(
            state=RUNNING,
            attempt=jobs.c.attempt + 1,
            fence=func.nextval("fence_seq"),
            lease_owner=owner,
            lease_until=from_now(lease_s),
            started_at=func.clock_timestamp(),
            progress={},
        )
        .returning(jobs)
        .cte("taken")
    )
    noted = insert(attempts).from_select(
        ["fence", "tenant_id", "job_id", "number", "worker"],
        select(taken.c.fence, taken.c.tenant_id, taken.c.id, taken.c.attempt, taken.c.lease_owner),
    )
    rows = select(taken).add_cte(noted.cte("noted")).order_by(taken.c.id)
    found = session.scalars(select(Job).from_statement(rows).execution_options(populate_existing=True)).all()
    return [_snapshot(session, job) for job in found]


def _snapshot(session: Session, job: Job) -> Claim:
    session.expunge(job)
    assert job.fence is not None
    return Claim(job, job.fence, job.attempt)


def _claimable() -> ColumnElement[bool]:
    return and_(
        jobs.c.state == QUEUED,
        jobs.c.pending_children.is_(None),
        jobs.c.available_at <= func.clock_timestamp(),
        not_(jobs.c.cancel_requested),
        or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > func.clock_timestamp()),
    )


def _has_place() -> ColumnElement[bool]:
    """The tenant runs fewer jobs of this queue than it may."""
    other = jobs.alias("other")
    running = select(func.count()).where(
        other.c.tenant_id == jobs.c.tenant_id, other.c.queue == jobs.c.queue, other.c.state == RUNNING, other.c.lease_until.is_not(None)
    )
    allowed = select(Tenant.max_running).where(Tenant.id == jobs.c.tenant_id)
    return running.correlate(jobs).scalar_subquery() < allowed.correlate(jobs).scalar_subquery()


def _model_is_free() -> ColumnElement[bool]:
    """Said again by the index `one_running_train`, which would refuse the whole statement."""
    other = jobs.alias("rival")
    rival = select(other.c.id).where(
        other.c.model_id == jobs.c.model_id, other.c.state == RUNNING, other.c.kind.in_(TRAINING_KINDS), jobs.c.kind.in_(TRAINING_KINDS)
    )
    return ~rival.correlate(jobs).exists()


def _places_left(session: Session, job: Job) -> int:
    running = select(func.count()).where(
        jobs.c.tenant_id == job.tenant_id, jobs.c.queue == job.queue, jobs.c.state == RUNNING, jobs.c.lease_until.is_not(None)
    )
    left = select(Tenant.max_running - running.scalar_subquery()).where(Tenant.id == job.tenant_id)
    return session.execute(left).scalar_one()


def _mates(job: Job, room: int) -> Select[tuple[str]]:
    """The front of the line of such jobs, one per model. Only the front is looked at: the line may be ten thousand long."""
    order: Sequence[ColumnElement[object]] = (jobs.c.priority, jobs.c.available_at, jobs.c.id)
    line = select(jobs).where(*_fits(job)).order_by(*order).limit(4 * room).subquery("line")
    nth = func.row_number().over(partition_by=func.coalesce(line.c.model_id, line.c.id), order_by=line.c.id)
    each = select(line.c.id, nth.label("nth")).subquery("each")
    return (
        select(jobs.c.id)
        .join(each, each.c.id == jobs.c.id)
        .where(each.c.nth == 1, _claimable())
        .order_by(*order)
        .limit(room)
        .with_for_update(key_share=True, skip_locked=True, of=jobs)
    )


def _fits(job: Job) -> Sequence[ColumnElement[bool]]:
    return (
        jobs.c.shape_key == job.shape_key,
        jobs.c.tenant_id == job.tenant_id,
        jobs.c.queue == job.queue,
        jobs.c.kind == job.kind,
        jobs.c.crashes == 0,
        jobs.c.attempt < SHY_AFTER,
        or_(jobs.c.model_id.is_(None), jobs.c.model_id.is_distinct_from(job.model_id)),
        true() if job.kind in TRAINING_KINDS else jobs.c.dispatched_at.is_(None),
        _claimable(),
        _model_is_free(),
    )


def _postpone(session: Session, job_id: str) -> None:
    """Nobody rings for it until then; the bell that was sent is used up."""
    session.execute(update(jobs).where(jobs.c.id == job_id, _claimable()).values(available_at=from_now(BUSY_S), dispatched_at=null()))
