"""Reading the ledger: nothing here locks or writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.ledger.moves import item_counts
from db.models import QUEUED, Job

__all__ = ["QueueDepth", "get", "item_counts", "items", "page", "position", "queues", "typical_seconds"]

#: Beyond this a job's place in its queue is no longer counted.
FAR = 1000


@dataclass(frozen=True)
class QueueDepth:
    """How full a queue is. Parents are in no queue."""

    queue: str
    queued: int
    running: int
    #: How long the oldest due job has waited, in seconds; None when nothing is due.
    oldest_due_s: float | None


_QUEUES = text("""
SELECT queue,
  count(*) FILTER (WHERE state = 'queued') AS queued,
  count(*) FILTER (WHERE state = 'running') AS running,
  CAST(extract(epoch FROM clock_timestamp() - min(available_at) FILTER (WHERE state = 'queued' AND available_at <= clock_timestamp()))
       AS double precision) AS oldest_due_s
FROM jobs WHERE state IN ('queued', 'running') AND pending_children IS NULL GROUP BY queue ORDER BY queue
""")

_POSITION = text("""
SELECT count(*) FROM (
  SELECT FROM jobs WHERE queue = :queue AND state = 'queued' AND (priority, available_at, id) < (:priority, :available_at, :id) LIMIT :far
) AS ahead
""")

# The newest few thousand ends are looked at, not the whole table: a kind that is not among them has no typical time now.
_TYPICAL = text("""
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM (
  SELECT extract(epoch FROM finished_at - started_at) AS seconds FROM (
    SELECT kind, state, children, started_at, finished_at FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 5000
  ) AS newest
  WHERE kind = :kind AND state = 'succeeded' AND children IS NULL ORDER BY finished_at DESC LIMIT :last
) AS runs
""")


def get(session: Session, tenant_id: str, job_id: str) -> Job:
    """The job as it is now. NotFound for one of another tenant."""
    found = select(Job).where(Job.tenant_id == tenant_id, Job.id == job_id).execution_options(populate_existing=True)
    job = session.scalars(found).one_or_none()
    if job is None:
        raise NotFound("job", job_id)
    return job


def page(
    session: Session,
    tenant_id: str,
    *,
    kind: str | None = None,
    state: str | None = None,
    entity_id: int | None = None,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> list[Job]:
    """The tenant's jobs, newest first, from behind `before` (created_at, id). Items of batches appear only when an entity is asked for."""
    found = select(Job).where(Job.tenant_id == tenant_id).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    found = found.where(Job.parent_id.is_(None)) if entity_id is None else found.where(Job.entity_id == entity_id)
    if kind is not None:
        found = found.where(Job.kind == kind)
    if state is not None:
        found = found.where(Job.state == state)
    if before is not None:
        found = found.where(tuple_(Job.created_at, Job.id) < before)
    return list(session.scalars(found))


def items(session: Session, tenant_id: str, parent_id: str, *, state: str | None = None, limit: int, after: str | None = None) -> list[Job]:
    """The children of a parent in the order in which they were given, from behind the id `after`."""
    found = select(Job).where(Job.tenant_id == tenant_id, Job.parent_id == parent_id).order_by(Job.id).limit(limit)
    if state is not None:
        found = found.where(Job.state == state)
    if after is not None:
        found = found.where(Job.id > after)
    return list(session.scalars(found))


def queues(session: Session) -> list[QueueDepth]:
    """The queues that hold anything."""
    return [QueueDepth(*row) for row in session.execute(_QUEUES)]


def position(session: Session, job: Job) -> int | None:
    """How many queued jobs are older or more urgent than this one, counted to FAR; None once it is not queued.

    An estimate of its place: turns are dealt out among tenants, so a job of a tenant that asks little comes sooner.
    """
    if job.state != QUEUED:
        return None
    given = {"queue": job.queue, "priority": job.priority, "available_at": job.available_at, "id": job.id, "far": FAR}
    return int(session.execute(_POSITION, given).scalar_one())


def typical_seconds(session: Session, kind: str, *, last: int = 100) -> float | None:
    """How long the last successful jobs of this kind ran (the median); None when there were none lately."""
    median: float | None = session.execute(_TYPICAL, {"kind": kind, "last": last}).scalar_one()
    return median
