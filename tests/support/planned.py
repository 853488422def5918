"""Schedules for tests: a tenant with devices, a schedule of theirs, and ways to make its time come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from db import entities, observations, schedules, tenants
from db.models import Job, Schedule, ScheduleRun, Version
from db.observations import Row
from tasks.orders import TrainOrder
from tasks.runtime import Runtime
from tasks.schedules import NewSchedule, make
from tasks.templates import Order
from tests.support.web import START

TRAIN = TrainOrder("device-metric", ("dev-1",), "cpu", batch=True)


def owner(runtime: Runtime, name: str = "acme", **limits: int) -> str:
    with runtime.sessions.begin() as session:
        return tenants.create_tenant(session, name, **{"max_unfinished": 20_000, "max_running": 100} | limits).id


def devices(runtime: Runtime, tenant_id: str, *names: str, rows: int = 120) -> None:
    """With so many hours of cpu each."""
    with runtime.sessions.begin() as session:
        for name in names:
            entity = entities.put(session, tenant_id, name, kind="device")
            hours = (Row("cpu", START + timedelta(hours=n), 20.0 + n % 7) for n in range(rows))
            observations.upsert(session, entity, hours)


def planned(runtime: Runtime, tenant_id: str, name: str = "nightly", order: Order = TRAIN, kind: str = "train", **about: Any) -> Schedule:
    given: dict[str, Any] = {"every_s": 3600} if "cron" not in about else {}
    return make(runtime, tenant_id, NewSchedule(name, kind, order, {}, **given | about))


_COPIES = """
WITH copied AS (
  INSERT INTO schedules (id, tenant_id, name, kind, template, job_order, every_s, time_zone, missed, due_at, next_at)
  SELECT s.id || n, tenant_id, s.name || n, kind, template, job_order, every_s, time_zone, missed, due_at, next_at
  FROM schedules s, generate_series(1, :number) AS n WHERE s.id = :id RETURNING id, tenant_id)
INSERT INTO schedule_entities (tenant_id, schedule_id, entity_id, place)
SELECT c.tenant_id, c.id, e.entity_id, e.place FROM copied c, schedule_entities e WHERE e.schedule_id = :id
"""


def copies(runtime: Runtime, row: Schedule, number: int) -> None:
    """So many more of it, under other names."""
    with runtime.sessions.begin() as session:
        session.execute(sa.text(_COPIES), {"id": row.id, "number": number})


def come(runtime: Runtime, *, ago_s: float = 1.0, **where: Any) -> None:
    """Let the next run be due so many seconds ago."""
    moment = sa.func.clock_timestamp() - timedelta(seconds=ago_s)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Schedule).where(Schedule.next_at.is_not(None)).filter_by(**where).values(due_at=moment, next_at=moment))


def runs(runtime: Runtime, row: Schedule) -> list[ScheduleRun]:
    """Newest first."""
    with runtime.sessions() as session:
        return schedules.runs(session, row, limit=1000)


def seen(runtime: Runtime, row: Schedule) -> Schedule:
    """As it stands now."""
    with runtime.sessions() as session:
        return schedules.get(session, row.tenant_id, row.id)


def jobs(runtime: Runtime, **where: Any) -> list[Job]:
    """Those that are no items, in the order in which they were made."""
    with runtime.sessions() as session:
        return list(session.scalars(sa.select(Job).filter_by(parent_id=None, **where).order_by(Job.id)))


def items(runtime: Runtime, job: Job) -> list[str]:
    """The entities of a batch, in its order."""
    with runtime.sessions() as session:
        return [child.spec["entity"] for child in session.scalars(sa.select(Job).filter_by(parent_id=job.id).order_by(Job.id))]


def age(runtime: Runtime, hours: float, **where: Any) -> None:
    """Let versions be so old."""
    made = sa.func.clock_timestamp() - timedelta(hours=hours)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Version).filter_by(**where).values(created_at=made))


def settle_jobs(runtime: Runtime) -> None:
    """Let everything that waits be over: cancelled, with its parents."""
    ended: Mapping[str, Any] = {"state": "cancelled", "finished_at": sa.func.clock_timestamp()}
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Job).where(Job.state == "queued").values(ended))
        session.execute(sa.update(Job).where(Job.state == "running").values({**ended, "pending_children": 0}))
