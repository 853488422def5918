"""The dispatcher's view: which jobs are due for a doorbell, in fair turns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.session import ask


@dataclass(frozen=True)
class Bell:
    """A doorbell to be sent. (job_id, dispatch_no) comes twice only when a dispatcher died between sending and stamping it."""

    job_id: str
    #: The number of this ring, as the row will say once it is stamped.
    dispatch_no: int
    queue: str
    kind: str


# A job's turn is its place in its own tenant's line, behind what that tenant already has running or rung: max-min fairness. A bell for one
# of a batch's predictions brings along those that join it, and counts for as many. The line is cut at what the tenant may run, so one index
# probe per tenant is all it costs, however long the queue is. Twice as many as are wanted stand in it, so that a second dispatcher finds
# some behind those the first one holds.
_TURNS = """
WITH busy AS (
  SELECT tenant_id, sum(n) AS n FROM (
    SELECT tenant_id, 1 AS n FROM jobs WHERE queue = :queue AND state = 'running' AND lease_until IS NOT NULL
    UNION ALL
    SELECT tenant_id, {brings} AS n FROM jobs WHERE queue = :queue AND state = 'queued' AND dispatched_at IS NOT NULL
  ) AS taken GROUP BY tenant_id
), line AS (
  SELECT next.*, coalesce(busy.n, 0) + next.before + next.brings AS turn
  FROM tenants LEFT JOIN busy ON busy.tenant_id = tenants.id
  CROSS JOIN LATERAL (
    SELECT id, priority, available_at, {brings} AS brings, sum({brings}) OVER (ORDER BY priority, available_at, id) - {brings} AS before
    FROM jobs
    WHERE tenant_id = tenants.id AND queue = :queue AND state = 'queued' AND dispatched_at IS NULL AND NOT cancel_requested
      AND available_at <= clock_timestamp() AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
    ORDER BY priority, available_at, id LIMIT least(2 * :free, greatest(tenants.max_running - coalesce(busy.n, 0), 0))
  ) AS next
  WHERE coalesce(busy.n, 0) + next.before < tenants.max_running
  ORDER BY turn, priority, available_at, id LIMIT 2 * :free
)
SELECT jobs.id, jobs.dispatch_no + 1, jobs.queue, jobs.kind FROM jobs JOIN line USING (id)
WHERE jobs.state = 'queued' AND jobs.dispatched_at IS NULL
ORDER BY line.turn, line.priority, line.available_at, line.id LIMIT :free FOR NO KEY UPDATE OF jobs SKIP LOCKED
"""
_NEW = text(_TURNS.format(brings="CASE WHEN kind = 'predict' AND shape_key IS NOT NULL AND crashes = 0 THEN :joined ELSE 1 END"))

_AGAIN = text("""
SELECT id, dispatch_no + 1, queue, kind FROM jobs
WHERE queue = :queue AND state = 'queued' AND NOT cancel_requested
  AND dispatched_at < clock_timestamp() - make_interval(secs => :redispatch_s) AND id <> ALL(:lying)
ORDER BY dispatched_at, id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")


def due(session: Session, queue: str, free: int, joined: int = 1) -> list[Bell]:
    """Up to `free` new bells, in fair turns. `joined` predictions of a batch are taken up at one bell.

    The rows stay locked: send the bells, stamp them with `dispatched`, commit. To die in between means a bell rung twice, never a lost one.
    """
    return [Bell(*row) for row in session.execute(_NEW, {"queue": queue, "free": max(free, 0), "joined": joined})]


def unanswered(session: Session, queue: str, redispatch_s: float) -> bool:
    """Whether some bell was sent so long ago and nobody has answered it: it is lost, or lies behind a slow worker."""
    found = text("""
        SELECT EXISTS (SELECT FROM jobs WHERE queue = :queue AND state = 'queued' AND NOT cancel_requested
        AND dispatched_at < clock_timestamp() - make_interval(secs => :redispatch_s))
    """)
    return bool(session.execute(found, {"queue": queue, "redispatch_s": redispatch_s}).scalar_one())


def lost(session: Session, queue: str, redispatch_s: float, lying: Collection[str], most: int) -> list[Bell]:
    """Bells to send again, oldest first: unanswered for so long, and not among the jobs whose bell still lies on the broker.

    Locked like those of `due`.
    """
    asked = {"queue": queue, "redispatch_s": redispatch_s, "lying": list(lying), "most": most}
    return [Bell(*row) for row in session.execute(_AGAIN, asked)]


def dispatched(session: Session, job_ids: Sequence[str]) -> None:
    """Stamp the bells that were sent, all with one moment. The rows are still locked by `due`."""
    stamp = text(
        "UPDATE jobs SET dispatched_at = statement_timestamp(), dispatch_no = dispatch_no + 1 WHERE id = ANY(:ids) AND state = 'queued'"
    )
    session.execute(stamp, {"ids": list(job_ids)})


def ring(session: Session) -> None:
    """Wake the dispatchers, when this transaction commits. They also look by themselves, so a lost call costs a second."""
    ask(session, "SELECT pg_notify('job_due', '')", {})
