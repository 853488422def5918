"""What is asked for again and again: schedules, whom they name, and what became of each due moment."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json, new_id


class Schedule(Base):
    """A job that is asked for again and again. Whom it names stands in `schedule_entities`: erasing an entity leaves no name here."""

    __tablename__ = "schedules"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("sch"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    #: Kind of the job that is asked for.
    kind: Mapped[str]
    #: The request as the client wrote it, and the order that it means; both without whom they are about.
    template: Mapped[Json]
    job_order: Mapped[Json]
    client_metadata: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    #: Whom it is about, looked up when it fires; null where they are named.
    selector: Mapped[Json | None]
    #: What must hold of an entity for it to be trained; null: nothing.
    conditions: Mapped[Json | None]
    cron: Mapped[str | None]
    every_s: Mapped[int | None] = mapped_column(BigInteger)
    time_zone: Mapped[str]
    #: {"from": "01:00", "to": "05:00"} by the clock of the time zone.
    open_hours: Mapped[Json | None]
    jitter_s: Mapped[int] = mapped_column(server_default=text("0"))
    #: What becomes of a run that nobody was there to fire: `once` or `skip`.
    missed: Mapped[str]
    #: The next run, and when it is fired (later than due by jitter, or because it is tried again). Null while paused.
    due_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    fired_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        UniqueConstraint("tenant_id", "name", name="schedules_name"),
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("(cron IS NULL) <> (every_s IS NULL)", name="cron_or_every"),
        CheckConstraint("(due_at IS NULL) = (next_at IS NULL)", name="paused"),
        CheckConstraint("missed IN ('once', 'skip')", name="missed"),
        Index("schedules_due", "next_at", postgresql_where=text("next_at IS NOT NULL")),
    )

    @property
    def paused(self) -> bool:
        return self.next_at is None


class ScheduleEntity(Base):
    """An entity that a schedule names, at its place in the list. It goes with the entity."""

    __tablename__ = "schedule_entities"
    tenant_id: Mapped[str]
    schedule_id: Mapped[str]
    entity_id: Mapped[int] = mapped_column(BigInteger)
    place: Mapped[int]
    __table_args__ = (
        PrimaryKeyConstraint("schedule_id", "entity_id"),
        ForeignKeyConstraint(["tenant_id", "schedule_id"], ["schedules.tenant_id", "schedules.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        # For the cascade: without it each erased entity looks at every schedule.
        Index("schedules_of_entity", "entity_id"),
    )


class ScheduleRun(Base):
    """What became of one due moment. `schedule_runs_once`: it is fired by one dispatcher, once, in the transaction that writes the job."""

    __tablename__ = "schedule_runs"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str]
    schedule_id: Mapped[str]
    due_at: Mapped[datetime]
    #: `fired`, `waiting` (tried again soon), `skipped` or `failed`.
    state: Mapped[str]
    #: Why it was not fired: `missed`, `nobody`, `none_due`, or the code of `error`, a problem object.
    reason: Mapped[str | None]
    error: Mapped[Json | None]
    job_id: Mapped[str | None]
    #: How many entities were meant, how many of them were due, and by which condition.
    entities: Mapped[int | None]
    due: Mapped[int | None]
    why: Mapped[Json | None]
    #: Runs due after this one that it stands for, since nobody was there to fire them.
    passed_over: Mapped[int] = mapped_column(server_default=text("0"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "schedule_id"], ["schedules.tenant_id", "schedules.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="SET NULL (job_id)"),
        UniqueConstraint("schedule_id", "due_at", name="schedule_runs_once"),
        CheckConstraint("state IN ('fired', 'waiting', 'skipped', 'failed')", name="state"),
        Index("schedule_runs_newest", "schedule_id", "id"),
        # For the cascade: without it each purged job looks at every run.
        Index("schedule_runs_of_job", "tenant_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        Index("schedule_runs_at", "at"),
    )
