"""Schedules and their runs as rows: made, listed, taken when due by one dispatcher alone, and what became of each due moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import audit
from db.audit import OPERATOR, By
from db.entities import Known
from db.errors import Conflict, NotFound
from db.models import Entity, Json, Schedule, ScheduleEntity, ScheduleRun, Tenant

_PURGE = sa.text("""
    DELETE FROM schedule_runs WHERE id IN (
        SELECT id FROM schedule_runs WHERE at < clock_timestamp() - make_interval(days => :days) ORDER BY at LIMIT :limit)
    RETURNING id
""")
#: Rows may have changed since this session last read them.
_FRESH = {"populate_existing": True}


class Taken(NamedTuple):
    """A schedule that is due, locked, and what Postgres' clock says."""

    row: Schedule
    now: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a due moment; the fields are those of `db.models.ScheduleRun`."""

    state: str
    reason: str | None = None
    error: Json | None = None
    job_id: str | None = None
    entities: int | None = None
    due: int | None = None
    why: Json | None = None
    passed_over: int = 0


def add(session: Session, row: Schedule, named: Sequence[Known], *, most: int, by: By = OPERATOR) -> Schedule:
    """Write a schedule down. Raises Conflict `schedule_exists`, or `too_many_schedules` where the tenant has `most` of them."""
    ours = sa.select(sa.func.count()).select_from(Schedule).where(Schedule.tenant_id == row.tenant_id)
    # The tenant's row is locked, so that of two at once the second counts the first.
    session.execute(sa.select(Tenant.id).where(Tenant.id == row.tenant_id).with_for_update(key_share=True))
    if session.scalars(ours).one() >= most:
        raise Conflict("too_many_schedules", f"You have {most} schedules, as many as a tenant may.")
    if session.scalar(sa.select(Schedule.id).where(Schedule.tenant_id == row.tenant_id, Schedule.name == row.name)) is not None:
        raise Conflict("schedule_exists", f"There is a schedule {row.name!r} already.")
    session.add(row)
    session.flush()
    if named:
        of_it = {"tenant_id": row.tenant_id, "schedule_id": row.id}
        places = [of_it | {"entity_id": each.id, "place": place} for place, each in enumerate(named)]
        session.execute(sa.insert(ScheduleEntity), places)
    audit.write(session, row.tenant_id, audit.SCHEDULE_CREATED, row.id, by, kind=row.kind)
    return row


def get(session: Session, tenant_id: str, schedule_id: str, *, lock: bool = False) -> Schedule:
    """Raises NotFound. `lock`: no dispatcher fires it until the transaction ends."""
    asked = sa.select(Schedule).where(Schedule.tenant_id == tenant_id, Schedule.id == schedule_id)
    found = session.scalar(asked.with_for_update() if lock else asked, execution_options=_FRESH)
    if found is None:
        raise NotFound("schedule", schedule_id)
    return found


def page(session: Session, tenant_id: str, *, limit: int, after: str | None = None) -> list[Schedule]:
    """Oldest first (ids sort by time). `after` is the id of the last schedule of the page before."""
    asked = sa.select(Schedule).where(Schedule.tenant_id == tenant_id)
    if after is not None:
        asked = asked.where(Schedule.id > after)
    return list(session.scalars(asked.order_by(Schedule.id).limit(limit)))


def survey(session: Session, tenant_id: str | None, limit: int) -> list[tuple[Schedule, str]]:
    """Those of a tenant or of everybody, the next due first, each with its tenant's name."""
    asked = sa.select(Schedule, Tenant.name).join(Tenant, Tenant.id == Schedule.tenant_id)
    if tenant_id is not None:
        asked = asked.where(Schedule.tenant_id == tenant_id)
    return [(row, name) for row, name in session.execute(asked.order_by(Schedule.next_at, Schedule.id).limit(limit))]


def find(session: Session, schedule_id: str) -> Schedule:
    """Whoever's it is: for operators. Raises NotFound."""
    found = session.get(Schedule, schedule_id)
    if found is None:
        raise NotFound("schedule", schedule_id)
    return found


def remove(session: Session, tenant_id: str, schedule_id: str, *, by: By = OPERATOR) -> None:
    """The schedule and its runs; jobs that it asked for stay. Raises NotFound."""
    session.delete(get(session, tenant_id, schedule_id, lock=True))
    audit.write(session, tenant_id, audit.SCHEDULE_DELETED, schedule_id, by)


def named(session: Session, row: Schedule, limit: int | None = None) -> list[Known]:
    """The entities that it names and that are still there, in their order."""
    asked = sa.select(Entity.id, Entity.name, Entity.kind).join(ScheduleEntity, ScheduleEntity.entity_id == Entity.id)
    asked = asked.where(ScheduleEntity.schedule_id == row.id).order_by(ScheduleEntity.place).limit(limit)
    return [Known(*each) for each in session.execute(asked)]


def count_named(session: Session, rows: Sequence[Schedule]) -> dict[str, int]:
    """How many entities each names that are still there, by the schedule's id; those that name none are left out."""
    asked = sa.select(ScheduleEntity.schedule_id, sa.func.count()).group_by(ScheduleEntity.schedule_id)
    found = session.execute(asked.where(ScheduleEntity.schedule_id.in_([row.id for row in rows])))
    return dict(found.all())


def take_due(session: Session) -> Taken | None:
    """The schedule that is due longest, locked; those that another dispatcher has locked are passed over."""
    due = sa.select(Schedule, sa.func.clock_timestamp()).where(Schedule.next_at <= sa.func.clock_timestamp())
    due = due.order_by(Schedule.next_at).limit(1).with_for_update(skip_locked=True, of=Schedule)
    found = session.execute(due, execution_options=_FRESH).one_or_none()
    return None if found is None else Taken(*found)


def plan(session: Session, row: Schedule, due_at: datetime | None, next_at: datetime | None) -> None:
    """What is fired next, and when; None pauses it."""
    row.due_at, row.next_at = due_at, next_at
    session.flush()


def record(session: Session, row: Schedule, due_at: datetime, outcome: Outcome) -> None:
    """What became of a due moment. One that waited has another outcome now; what was fired stays so."""
    statement = insert(ScheduleRun).values(tenant_id=row.tenant_id, schedule_id=row.id, due_at=due_at, **_written(outcome))
    told = {name: statement.excluded[name] for name in (*asdict(outcome), "at")}
    session.execute(statement.on_conflict_do_update(constraint="schedule_runs_once", set_=told, where=ScheduleRun.state == "waiting"))
    if outcome.state == "fired":
        row.fired_at = session.scalars(sa.select(sa.func.clock_timestamp())).one()


def ended(session: Session, row: Schedule, due_at: datetime) -> bool:
    """Whether this moment has its end already."""
    ended = sa.select(ScheduleRun.id).where(ScheduleRun.schedule_id == row.id, ScheduleRun.due_at == due_at, ScheduleRun.state != "waiting")
    return session.scalar(ended) is not None


def runs(session: Session, row: Schedule, *, limit: int, before: int | None = None) -> list[ScheduleRun]:
    """Newest first. `before` is the id of the last run of the page before."""
    asked = sa.select(ScheduleRun).where(ScheduleRun.tenant_id == row.tenant_id, ScheduleRun.schedule_id == row.id)
    if before is not None:
        asked = asked.where(ScheduleRun.id < before)
    return list(session.scalars(asked.order_by(ScheduleRun.id.desc()).limit(limit), execution_options=_FRESH))


def purge(session: Session, *, days: int, limit: int) -> int:
    """Forget runs of longer ago than that. How many."""
    return len(session.execute(_PURGE, {"days": days, "limit": limit}).all())


def _written(outcome: Outcome) -> dict[str, object]:
    """JSON's null and no value at all are two things."""
    return {name: sa.null() if value is None else value for name, value in asdict(outcome).items()}
