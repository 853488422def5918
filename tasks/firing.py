"""Firing: whichever dispatcher comes first asks for what a schedule is due for, each due moment once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from db import schedules
from db.errors import NotFound, OverQuota, Saturated, SourceUnavailable, StoreError
from db.models import Schedule
from db.schedules import Outcome
from ml.errors import ModelError, NewerRelease, SpecInvalid
from tasks import metrics, problems
from tasks.named import entities_named
from tasks.orders import TrainOrder
from tasks.placing import Asker
from tasks.retrain import choose
from tasks.runtime import Runtime
from tasks.schedules import now_of, plan_next, require_as_few, timetable_of
from tasks.templates import give, meant, read, whom
from tasks.timetable import Timetable

log = structlog.get_logger()

#: Runs that one round fires; what is left waits for the next, a second later.
LIMIT = 1_000
#: Runs that are counted as passed over; beyond that it is "so many or more".
MOST_COUNTED = 1_000
FIRED, WAITING, SKIPPED, FAILED = "fired", "waiting", "skipped", "failed"
#: Why a run asked for no job, where no problem says it.
MISSED, NOBODY, NONE_DUE, SHUT, NEWER = "missed", "nobody", "none_due", "window_shut", "newer_release"
REASONS = (MISSED, NOBODY, NONE_DUE, SHUT, NEWER)


def fire_now(runtime: Runtime, tenant_id: str, schedule_id: str) -> Outcome:
    """One run besides those that are planned, also of a paused schedule. Raises NotFound."""
    with runtime.sessions.begin() as session:
        row, now = schedules.get(session, tenant_id, schedule_id, lock=True), now_of(session)
        outcome = _attempt(runtime, session, row)
        if outcome.state == WAITING:  # nobody would come back to it
            outcome = replace(outcome, state=FAILED)
        schedules.record(session, row, now, outcome)
    _tell(runtime, row, outcome, late=False)
    return outcome


def fire_due(runtime: Runtime) -> int:
    """Fire what is due, the longest due first, each in a transaction of its own. How many runs came to an end, or to a wait."""
    for fired in range(LIMIT):
        if not _fire_next(runtime):
            return fired
    return LIMIT


def _fire_next(runtime: Runtime) -> bool:
    """One transaction: the schedule locked, job and run written, the next run planned. A crash before COMMIT leaves nothing of it."""
    with runtime.sessions.begin() as session:
        taken = schedules.take_due(session)
        if taken is None:
            return False
        row, now = taken
        assert row.next_at is not None
        late = now - row.next_at > timedelta(seconds=runtime.settings.schedule_grace_s)
        outcome = _fire(runtime, session, row, now, late)
    if outcome is not None:
        _tell(runtime, row, outcome, late)
    return True


def _fire(runtime: Runtime, session: Session, row: Schedule, now: datetime, late: bool) -> Outcome | None:
    """What becomes of the run; None for one that has come to its end before."""
    due_at = row.due_at
    assert due_at is not None
    try:
        timetable = timetable_of(row)
    except SpecInvalid as error:  # the database of time zones is another one here
        outcome = _refused(FAILED, error)
        schedules.plan(session, row, None, None)
    else:
        if schedules.ended(session, row, due_at):
            plan_next(session, row, timetable, now)
            return None
        outcome = _outcome(runtime, session, row, timetable, now, late)
        outcome = _plan_after(runtime, session, row, timetable, now, outcome)
    schedules.record(session, row, due_at, outcome)
    return outcome


def _outcome(runtime: Runtime, session: Session, row: Schedule, timetable: Timetable, now: datetime, late: bool) -> Outcome:
    assert row.due_at is not None
    passed_over = timetable.passed_over(row.due_at, now, MOST_COUNTED) if late else 0
    if late and row.missed == "skip":
        return Outcome(SKIPPED, MISSED, passed_over=passed_over)
    if timetable.opening(now - timedelta(seconds=runtime.settings.schedule_grace_s)) > now:
        return Outcome(WAITING, SHUT)
    return replace(_attempt(runtime, session, row), passed_over=passed_over)


def _attempt(runtime: Runtime, session: Session, row: Schedule) -> Outcome:
    try:
        return _ask(runtime, session, row)
    except NewerRelease:
        return Outcome(WAITING, NEWER)
    except (OverQuota, Saturated, SourceUnavailable) as error:
        return _refused(WAITING, error)
    except (ModelError, StoreError) as error:
        return _refused(FAILED, error)


def _ask(runtime: Runtime, session: Session, row: Schedule) -> Outcome:
    """Ask for the job, of those who are meant today and of whom its conditions hold."""
    names = _meant(session, row)
    if not names:
        return Outcome(SKIPPED, NOBODY, entities=0)
    require_as_few(runtime, names, row.selector)
    order, why = read(row.kind, row.job_order, names), None
    if row.conditions is not None and isinstance(order, TrainOrder):
        found = entities_named(session, row.tenant_id, names)
        due, why = choose(session, runtime, row.tenant_id, found, order, row.conditions)
        if not due:
            return Outcome(SKIPPED, NONE_DUE, entities=len(names), due=0, why=why)
        order = replace(order, entities=due)
    submitted = give(runtime, session, Asker(row.tenant_id, metadata=row.client_metadata), row.kind, order)
    return Outcome(FIRED, job_id=submitted.job.id, entities=len(names), due=len(whom(order)), why=why)


def _meant(session: Session, row: Schedule) -> tuple[str, ...]:
    if row.selector is None:
        return tuple(each.name for each in schedules.named(session, row))
    try:
        return meant(session, row.tenant_id, row.selector)
    except NotFound:
        return ()


def _refused(state: str, error: ModelError | StoreError) -> Outcome:
    problem = problems.of(error)
    return Outcome(state, problem["code"], problem)


def _plan_after(runtime: Runtime, session: Session, row: Schedule, timetable: Timetable, now: datetime, outcome: Outcome) -> Outcome:
    """A run that waits is tried again, unless the next one is due by then, which takes its place."""
    upcoming = timetable.after(max(now, row.due_at or now))
    if outcome.state == WAITING:
        again = timetable.opening(now) if outcome.reason == SHUT else now + timedelta(seconds=runtime.settings.schedule_retry_s)
        if upcoming is None or again < upcoming.due_at or outcome.reason == SHUT:
            schedules.plan(session, row, row.due_at, again)
            return outcome
        outcome = replace(outcome, state=FAILED)
    schedules.plan(session, row, *(upcoming or (None, None)))
    return outcome


def _tell(runtime: Runtime, row: Schedule, outcome: Outcome, late: bool) -> None:
    """After COMMIT: the workers are rung for, the run is counted and logged."""
    if outcome.state == FIRED:
        runtime.ringer.ring()
        runtime.meter.count(metrics.SCHEDULES_LATE, row.kind, by=int(late))
    runtime.meter.count(metrics.SCHEDULE_RUNS, row.kind, outcome.state)
    told = {"reason": outcome.reason, "job": outcome.job_id, "entities": outcome.entities, "due": outcome.due}
    log.info("schedule_run", schedule=row.id, tenant=row.tenant_id, kind=row.kind, state=outcome.state, **told)
