"""The one statement by which jobs leave a state and webhooks are told, and the arithmetic that ends their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Table, case, false, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from db.deliveries import of_ends
from db.models import CANCELLED, FAILED, QUEUED, SUCCEEDED, TERMINAL, Attempt, Job, Json

jobs = cast(Table, Job.__table__)
attempts = cast(Table, Attempt.__table__)


def from_now(seconds: Any) -> ColumnElement[datetime]:
    """So many seconds from now by Postgres' clock; NULL for None."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


class Moved(NamedTuple):
    """A job that changed its state, with what the status mirror needs to know."""

    job_id: str
    tenant_id: str
    rev: int
    state: str
    parent_id: str | None


def move(
    session: Session,
    which: ColumnElement[bool],
    to: ColumnElement[str],
    *,
    error: Json | None = None,
    outcome: str | None = None,
    limit: int | None = None,
    values: Mapping[str, Any] = {},
) -> list[Moved]:
    """Bring the jobs that fit `which` to the state `to`, close their attempts, tell webhooks, end parents that lost their last child.

    `error` is kept on jobs that fail and on the attempts. With a `limit` it is a sweep: rows that somebody else holds are left out.
    """
    return settle(session, shift(session, which, to, error=error, outcome=outcome, limit=limit, values=values))


def shift(
    session: Session,
    which: ColumnElement[bool],
    to: ColumnElement[str],
    *,
    error: Json | None = None,
    outcome: str | None = None,
    limit: int | None = None,
    values: Mapping[str, Any] = {},
) -> list[Moved]:
    """`move` without its last step: the caller has to `settle` what moved."""
    held = (
        select(jobs.c.id, to.label("next"))
        .where(which)
        .order_by(jobs.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=limit is not None)
        .cte("held")
    )
    problem = literal(error, JSONB(none_as_null=True))
    after = {
        "state": held.c.next,
        "lease_owner": null(),
        "lease_until": null(),
        "dispatched_at": null(),
        "drain_requested": false(),
        # How far a try came says nothing of the next one.
        "progress": case((held.c.next == QUEUED, literal({}, JSONB)), else_=jobs.c.progress),
        "finished_at": case((held.c.next.in_(TERMINAL), func.clock_timestamp())),
        "error": case((held.c.next == FAILED, problem)),
        **values,
    }
    moved = update(jobs).where(jobs.c.id == held.c.id).values(after).returning(jobs).cte("moved")
    closed = (
        update(attempts)
        .where(attempts.c.fence == moved.c.fence, attempts.c.ended_at.is_(None))
        .values(
            ended_at=func.clock_timestamp(),
            outcome=outcome or case((moved.c.state == QUEUED, "retried"), else_=moved.c.state),
            error=problem,
        )
        .cte("closed")
    )
    rows = select(moved.c.id, moved.c.tenant_id, moved.c.rev, moved.c.state, moved.c.parent_id).add_cte(closed, of_ends(moved))
    return [Moved(*row) for row in session.execute(rows)]


def settle(session: Session, moved: list[Moved]) -> list[Moved]:
    """Take the children that ended off their parents, in the order of the parents' ids. The parents that ended come last."""
    ended = Counter(job.parent_id for job in moved if job.parent_id is not None and job.state in TERMINAL)
    parents = (take_off(session, parent_id, n) for parent_id, n in sorted(ended.items()))
    return moved + [parent for parent in parents if parent]


def take_off(session: Session, parent_id: str, n: int) -> Moved | None:
    """`n` more children of the parent have ended. The parent, if it ended with them.

    The parent's row lock puts concurrent children in line. Whoever reaches 0 is the last, so its next statement sees all the others.
    """
    parent = session.execute(
        update(jobs)
        .where(jobs.c.id == parent_id)
        .values(pending_children=jobs.c.pending_children - n)
        .returning(jobs.c.pending_children, jobs.c.cancel_requested)
    ).one()
    return None if parent.pending_children else _end(session, parent_id, cancel_requested=parent.cancel_requested)


def item_counts(session: Session, parent_id: str) -> dict[str, int]:
    """How many children of the parent are in each state, by its name; states without any are left out."""
    counted = select(jobs.c.state, func.count()).where(jobs.c.parent_id == parent_id)
    return dict(session.execute(counted.group_by(jobs.c.state).order_by(jobs.c.state)).all())


def _end(session: Session, parent_id: str, *, cancel_requested: bool) -> Moved:
    counts = item_counts(session, parent_id)
    state = _verdict(counts, cancel_requested=cancel_requested)
    error = _nothing_succeeded(counts) if state == FAILED else null()
    values = {"state": state, "finished_at": func.clock_timestamp(), "result": _summary(counts), "error": error}
    ended = update(jobs).where(jobs.c.id == parent_id).values(values).returning(jobs).cte("ended")
    rows = select(ended.c.id, ended.c.tenant_id, ended.c.rev, ended.c.state, ended.c.parent_id).add_cte(of_ends(ended))
    return Moved(*session.execute(rows).one())


def _verdict(counts: Mapping[str, int], *, cancel_requested: bool) -> str:
    if counts.get(SUCCEEDED):
        return SUCCEEDED
    return CANCELLED if cancel_requested else FAILED


def _summary(counts: Mapping[str, int]) -> Json:
    each = {state: counts.get(state, 0) for state in TERMINAL}
    return {"total": sum(counts.values()), **each, "has_failures": each[FAILED] > 0}


def _nothing_succeeded(counts: Mapping[str, int]) -> Json:
    return {
        "type": "/problems/batch_failed",
        "title": "No item of the batch succeeded",
        "status": 422,
        "code": "batch_failed",
        "detail": f"0 of {sum(counts.values())} items succeeded; each item says why.",
        "retryable": False,
        "hint": "See GET /jobs/{id}/items.",
    }
