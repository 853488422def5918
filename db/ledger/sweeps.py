"""The sweeps that bring stuck jobs on. Each may run in any number of processes at once: rows that another holds are left to it.

Each looks at no more than `limit` jobs; call it again in a new transaction while it returns that many.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, literal, or_, text
from sqlalchemy.orm import Session

from db.ledger.leases import unless_cancelled
from db.ledger.moves import Moved, jobs, move
from db.models import CANCELLED, FAILED, QUEUED, RUNNING, UNFINISHED, Json

LIMIT = 500

# WITH, not IN: a plan may run the query behind IN once per row, and then its LIMIT means nothing.
_PURGE_JOBS = text("""
WITH old AS MATERIALIZED (
  SELECT id FROM jobs WHERE finished_at < now() - make_interval(days => :days) AND parent_id IS NULL
  ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING jobs.id
""")
_PURGE_KEYS = text("""
WITH old AS MATERIALIZED (
  SELECT tenant_id, route, key FROM idempotency_keys WHERE created_at < now() - make_interval(hours => :hours)
  ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys AS known USING old
WHERE (known.tenant_id, known.route, known.key) = (old.tenant_id, old.route, old.key) RETURNING known.key
""")


def reap(session: Session, *, lease_s: float, error: Json, limit: int = LIMIT) -> list[Moved]:
    """Leases that ran out: back to the queue, or failed with `error` after the last try, or cancelled if that was asked.

    For one lease after Postgres started nothing is reaped: the workers could not renew theirs while it was away. A caller that was itself
    cut off from Postgres has to wait as long by itself.
    """
    calm = text("SELECT pg_postmaster_start_time() <= clock_timestamp() - make_interval(secs => :lease_s)")
    if not session.execute(calm, {"lease_s": lease_s}).scalar_one():
        return []
    to = unless_cancelled(jobs.c.attempt >= jobs.c.max_attempts)
    return move(session, _lapsed(), to, error=error, outcome="lost", limit=limit, values={"available_at": func.clock_timestamp()})


def expire(session: Session, *, error: Json, limit: int = LIMIT) -> list[Moved]:
    """Deadlines that passed: failed with `error`, unless somebody is alive and working on it.

    A worker that still renews its lease learns of the deadline from its Pulse and ends the job itself. Run this before `reap`.
    """
    late = jobs.c.deadline_at <= func.statement_timestamp()
    return move(session, and_(late, or_(jobs.c.state == QUEUED, _lapsed())), literal(FAILED), error=error, limit=limit)


def finish_cancels(session: Session, *, limit: int = LIMIT) -> list[Moved]:
    """Jobs to be cancelled that nobody works on any more."""
    forsaken = and_(jobs.c.cancel_requested, jobs.c.state.in_(UNFINISHED), or_(jobs.c.state == QUEUED, _lapsed()))
    return move(session, forsaken, literal(CANCELLED), limit=limit)


def purge(session: Session, *, job_days: int, idempotency_hours: int, limit: int = LIMIT) -> dict[str, int]:
    """Forget jobs that ended long ago, items with their parents, and Idempotency-Keys older than promised. How many of each."""
    gone = session.execute(_PURGE_JOBS, {"days": job_days, "limit": limit}).all()
    keys = session.execute(_PURGE_KEYS, {"hours": idempotency_hours, "limit": limit}).all()
    return {"jobs": len(gone), "idempotency_keys": len(keys)}


def _lapsed() -> ColumnElement[bool]:
    """Running under a lease that ran out. A parent has none, so it never is."""
    return and_(jobs.c.state == RUNNING, jobs.c.lease_until < func.statement_timestamp())
