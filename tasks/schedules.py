"""Schedules: made as the route of their job would take it, paused, and planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import audit, schedules
from db.audit import OPERATOR, By
from db.errors import NoActiveVersion, OverQuota, Saturated, SourceUnavailable
from db.models import Json, Schedule, new_id
from ml.errors import SpecInvalid, UnusableData
from tasks.named import entities_named
from tasks.orders import FEWEST
from tasks.placing import Asker
from tasks.runtime import Runtime
from tasks.sources import is_outside
from tasks.templates import Order, about, give, meant, whom, written
from tasks.timetable import Timetable, Window, clock, require_cron, zone

#: What passes by itself: it does not stand in the way of making a schedule, and fails a run at most.
PASSING = (UnusableData, NoActiveVersion, OverQuota, Saturated, SourceUnavailable)


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What is asked for again and again, and when. Exactly one of `cron` and `every_s`; the fields are those of `db.models.Schedule`."""

    name: str
    kind: str
    order: Order
    #: The request as the client wrote it, without whom it is about.
    template: Json
    selector: Mapping[str, Any] | None = None
    conditions: Mapping[str, Any] | None = None
    cron: str | None = None
    every_s: int | None = None
    time_zone: str = "UTC"
    open_hours: Mapping[str, str] | None = None
    jitter_s: int = 0
    missed: str = "once"
    paused: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)


def make(runtime: Runtime, tenant_id: str, new: NewSchedule, *, by: By = OPERATOR) -> Schedule:
    """Write a schedule down, planned unless it is paused.

    Its job is asked for as its route would, of a few of the entities, and taken back: what the route refuses is refused here, but for what
    passes by itself. Raises SpecInvalid, NotFound, Conflict.
    """
    with runtime.sessions.begin() as session:
        row = _row(tenant_id, new, now := now_of(session))
        timetable = timetable_of(row)
        names = whom(new.order) if new.selector is None else meant(session, tenant_id, new.selector)
        known = entities_named(session, tenant_id, names, made=is_outside(new.order.source))
        require_as_few(runtime, names, new.selector)
        _try(runtime, session, tenant_id, new, names)
        schedules.add(session, row, known if new.selector is None else (), most=runtime.settings.tenant_max_schedules, by=by)
        if not new.paused:
            plan_next(session, row, timetable, now)
    return row


def _row(tenant_id: str, new: NewSchedule, now: datetime) -> Schedule:
    same = ("name", "kind", "template", "cron", "every_s", "time_zone", "jitter_s", "missed")
    json = {"selector": new.selector, "conditions": new.conditions, "open_hours": new.open_hours}
    told = {name: getattr(new, name) for name in same} | {name: value for name, value in json.items() if value is not None}
    row = Schedule(id=new_id("sch"), tenant_id=tenant_id, **told, created_at=now)
    row.job_order, row.client_metadata = written(new.kind, new.order), dict(new.metadata)
    return row


def require_as_few(runtime: Runtime, names: Sequence[str], selector: Mapping[str, Any] | None) -> None:
    most = runtime.settings.max_batch
    if len(names) > most:
        raise SpecInvalid("entities" if selector is None else "selector", len(names), f"one batch may hold {most}")


def _try(runtime: Runtime, session: Session, tenant_id: str, new: NewSchedule, names: Sequence[str]) -> None:
    trial = session.begin_nested()
    try:
        give(runtime, session, Asker(tenant_id), new.kind, about(new.order, names[:FEWEST]))
    except PASSING:
        pass
    finally:
        trial.rollback()


def timetable_of(row: Schedule) -> Timetable:
    """Raises SpecInvalid for what is no cron expression, no time zone and no window."""
    there = zone(row.time_zone)
    if row.cron is not None:
        require_cron(row.cron)
    window = None if row.open_hours is None else _window(row.open_hours, there)
    return Timetable(row.id, row.created_at, there, row.cron, row.every_s, window, row.jitter_s)


def _window(told: Json, there: ZoneInfo) -> Window:
    begin, end = (clock(f"window.{each}", told[each]) for each in ("from", "to"))
    if begin == end:
        raise SpecInvalid("window.to", told["to"], "the same as `from`: leave the window out, or name two times")
    return Window(begin, end, there)


def pause(runtime: Runtime, tenant_id: str, schedule_id: str, *, paused: bool, by: By = OPERATOR) -> Schedule:
    """Let it rest, or go on with the first run due from now on. Raises NotFound."""
    with runtime.sessions.begin() as session:
        row = schedules.get(session, tenant_id, schedule_id, lock=True)
        if paused == row.paused:
            return row
        if paused:
            schedules.plan(session, row, None, None)
        else:
            plan_next(session, row, timetable_of(row), now_of(session))
        audit.write(session, tenant_id, audit.SCHEDULE_PAUSED if paused else audit.SCHEDULE_RESUMED, row.id, by)
        return row


def plan_next(session: Session, row: Schedule, timetable: Timetable, now: datetime) -> None:
    schedules.plan(session, row, *(timetable.after(now) or (None, None)))


def now_of(session: Session) -> datetime:
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now
