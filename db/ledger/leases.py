"""Holding a lease: heartbeats, and the ways to let go of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, bindparam, case, column, func, literal, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from db.errors import FenceLost
from db.ledger.moves import Moved, from_now, jobs, move
from db.models import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, Job, Json


@dataclass(frozen=True)
class Pulse:
    """What a heartbeat learns about a job it still holds."""

    job_id: str
    fence: int
    #: Somebody wants it stopped for good: end it with `cancelled`.
    cancel: bool
    #: The worker is to go: hand the job back with `release`.
    drain: bool
    #: End it with `fail` and the problem `deadline_exceeded`; nobody else does while the lease is renewed.
    deadline_passed: bool


# A row that another transaction holds for a while must not cost its mates of the cohort their leases: it is passed over this time, neither
# renewed nor lost. What is lost is told by reading, which waits for nobody.
_BEAT = text("""
WITH mine AS (
  SELECT jobs.id, fence, cancel_requested, drain_requested, coalesce(deadline_at <= clock_timestamp(), false) AS deadline_passed
  FROM jobs JOIN unnest(CAST(:ids AS text[]), CAST(:fences AS bigint[])) AS held (id, fence) USING (id, fence) WHERE state = 'running'
), free AS (
  SELECT jobs.id FROM jobs JOIN mine USING (id, fence) WHERE state = 'running' ORDER BY jobs.id FOR NO KEY UPDATE OF jobs SKIP LOCKED
), renewed AS (
  UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease_s), progress = coalesce(:progress -> jobs.id, progress)
  FROM free WHERE jobs.id = free.id RETURNING jobs.id
)
SELECT id, fence, cancel_requested, drain_requested, deadline_passed FROM mine
""").bindparams(bindparam("progress", type_=JSONB))

_DRAIN = text("""
WITH theirs AS (
  SELECT id FROM jobs WHERE state = 'running' AND starts_with(lease_owner, :worker || '/') AND NOT drain_requested
  ORDER BY id FOR NO KEY UPDATE
)
UPDATE jobs SET drain_requested = true FROM theirs WHERE jobs.id = theirs.id RETURNING jobs.id
""")


def beat(session: Session, fences: Mapping[str, int], lease_s: float, progress: Mapping[str, Json] = {}) -> dict[str, Pulse]:
    """Renew the leases of these jobs (id to fence) and write their progress down.

    A job missing from the answer is lost: stop it, write nothing. A lease that ran out is renewed too, as long as nobody has reaped it.
    """
    given = {"ids": list(fences), "fences": list(fences.values()), "lease_s": lease_s, "progress": dict(progress)}
    return {row.id: Pulse(*row) for row in session.execute(_BEAT, given)}


def hold(session: Session, job_id: str, fence: int) -> Job:
    """The first line of a transaction that publishes: the job, locked, if it still runs under this fence. FenceLost otherwise."""
    held = select(Job).where(_under(job_id, fence)).with_for_update(key_share=True)
    job = session.scalars(held.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise FenceLost(job_id, fence)
    return job


def hold_all(session: Session, fences: Mapping[str, int]) -> set[str]:
    """`hold` for the members of a cohort that are published together (id to fence): those that still run under their fence, locked."""
    held = select(jobs.c.id).where(_under_any(fences)).order_by(jobs.c.id).with_for_update(key_share=True)
    return set(session.scalars(held))


def succeed(session: Session, job_id: str, fence: int, result: Json, warnings: Sequence[Json] = ()) -> list[Moved]:
    """Also when a cancel was asked for: what is done is done."""
    values = {"result": result, "warnings": list(warnings)}
    return _let_go(session, job_id, fence, literal(SUCCEEDED), values=values)


def succeed_all(session: Session, fences: Mapping[str, int], done: Mapping[str, tuple[Json, Sequence[Json]]]) -> list[Moved]:
    """`succeed` for those that `hold_all` holds (id to result and warnings), in one statement."""
    rows = [{"id": job_id, "result": result, "warnings": list(warnings)} for job_id, (result, warnings) in done.items()]
    columns = (column("id", Text()), column("result", JSONB()), column("warnings", JSONB()))
    read = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(*columns).render_derived(name="given", with_types=True)
    given = select(read).cte("given")  # read once, and not once for each job
    values = {name: select(given.c[name]).where(given.c.id == jobs.c.id).scalar_subquery() for name in ("result", "warnings")}
    return move(session, _under_any({job_id: fences[job_id] for job_id in done}), literal(SUCCEEDED), values=values)


def fail(session: Session, job_id: str, fence: int, error: Json) -> list[Moved]:
    """For good: another try would end the same way."""
    return _let_go(session, job_id, fence, literal(FAILED), error=error)


def cancelled(session: Session, job_id: str, fence: int) -> list[Moved]:
    """The worker has stopped, as it was asked to."""
    return _let_go(session, job_id, fence, literal(CANCELLED))


def retry_later(session: Session, job_id: str, fence: int, error: Json, delay_s: float) -> bool:
    """Back to the queue for another try in `delay_s`. False: it ended here, failed as its tries are used up, or cancelled as was asked."""
    values = {"available_at": from_now(delay_s)}
    moved = _let_go(session, job_id, fence, unless_cancelled(jobs.c.attempt >= jobs.c.max_attempts), error=error, values=values)
    return moved[0].state == QUEUED


def release(session: Session, job_id: str, fence: int, *, outcome: str = "drained", delay_s: float = 0.0) -> list[Moved]:
    """Hand the job back, because the worker has to go or cannot do it: due again in `delay_s`, and this try is not counted."""
    values = {"attempt": jobs.c.attempt - 1, "available_at": from_now(delay_s)}
    return _let_go(session, job_id, fence, unless_cancelled(literal(False)), outcome=outcome, values=values)


def crashed(session: Session, owner: str, *, max_crashes: int, error: Json) -> list[Moved]:
    """The process of this owner died: each of its jobs counts a crash and is due again, or failed with `error`.

    Nobody can tell which member of a cohort took it down, so all count one; from now on each runs alone.
    """
    exhausted = or_(jobs.c.crashes + 1 >= max_crashes, jobs.c.attempt >= jobs.c.max_attempts)
    values = {"crashes": jobs.c.crashes + 1, "available_at": func.clock_timestamp()}
    theirs = and_(jobs.c.state == RUNNING, jobs.c.lease_owner == owner)
    return move(session, theirs, unless_cancelled(exhausted), error=error, outcome="crashed", values=values)


def drain(session: Session, worker: str) -> int:
    """Ask every try of this worker to hand its job back. How many heard it for the first time."""
    return len(session.execute(_DRAIN, {"worker": worker}).all())


def unless_cancelled(exhausted: ColumnElement[bool]) -> ColumnElement[str]:
    """Where a job goes that stops running unfinished."""
    return case((jobs.c.cancel_requested, literal(CANCELLED)), (exhausted, literal(FAILED)), else_=literal(QUEUED))


def _let_go(session: Session, job_id: str, fence: int, to: ColumnElement[str], **how: Any) -> list[Moved]:
    moved = move(session, _under(job_id, fence), to, **how)
    if not moved:
        raise FenceLost(job_id, fence)
    return moved


def _under(job_id: str, fence: int) -> ColumnElement[bool]:
    return and_(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state == RUNNING)


def _under_any(fences: Mapping[str, int]) -> ColumnElement[bool]:
    pairs = tuple_(jobs.c.id, jobs.c.fence).in_(list(fences.items()))
    return and_(jobs.c.id.in_(list(fences)), pairs, jobs.c.state == RUNNING)
