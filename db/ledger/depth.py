"""How full the queues are, how fast they empty, and where in one a job stands. Nothing here locks or writes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.models import QUEUED, RUNNING, Job

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
SELECT kind, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM (
  SELECT kind, extract(epoch FROM finished_at - started_at) AS seconds, row_number() OVER (PARTITION BY kind ORDER BY finished_at DESC) AS n
  FROM (
    SELECT kind, state, children, started_at, finished_at FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 5000
  ) AS newest
  WHERE state = 'succeeded' AND children IS NULL
) AS runs
WHERE n <= :last GROUP BY kind
""")

_THROUGHPUT = text("""
SELECT queue, count(*) / greatest(1, extract(epoch FROM clock_timestamp() - min(finished_at))) AS per_s FROM (
  SELECT queue, children, started_at, finished_at FROM jobs
  WHERE finished_at > clock_timestamp() - make_interval(secs => :over_s) ORDER BY finished_at DESC LIMIT 5000
) AS newest
WHERE children IS NULL AND started_at IS NOT NULL GROUP BY queue HAVING count(*) >= 5
""")


def queues(session: Session) -> list[QueueDepth]:
    """The queues that hold anything."""
    return [QueueDepth(*row) for row in session.execute(_QUEUES)]


def holders(session: Session) -> dict[str, int]:
    """How many workers hold jobs of a queue, by queue; one without any is left out."""
    counted = select(Job.queue, func.count(Job.lease_owner.distinct())).where(Job.state == RUNNING)
    return dict(session.execute(counted.group_by(Job.queue)).all())


def position(session: Session, job: Job) -> int | None:
    """How many queued jobs are older or more urgent than this one, counted to FAR; None once it is not queued.

    An estimate of its place: turns are dealt out among tenants, so a job of a tenant that asks little comes sooner.
    """
    if job.state != QUEUED:
        return None
    given = {"queue": job.queue, "priority": job.priority, "available_at": job.available_at, "id": job.id, "far": FAR}
    return int(session.execute(_POSITION, given).scalar_one())


def typical_seconds(session: Session, *, last: int = 100) -> dict[str, float]:
    """How long the last successful jobs of each kind ran (the median); kinds without any lately are left out."""
    return {kind: float(median) for kind, median in session.execute(_TYPICAL, {"last": last})}


def throughput(session: Session, *, over_s: float = 300) -> dict[str, float]:
    """Jobs a second that each queue got through, since the oldest end within the last `over_s`.

    Queues in which fewer than five ended are left out: they tell of what was asked, not of what can be done.
    """
    return {queue: float(per_s) for queue, per_s in session.execute(_THROUGHPUT, {"over_s": over_s})}
