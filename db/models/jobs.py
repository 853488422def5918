"""Work that was asked for: jobs, the tries at them, and the requests that must not be taken twice."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Sequence,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json, made_with, new_id
from db.models.states import QUEUED, TERMINAL, transition_trigger

#: Kinds of job that write a version: at most one of them runs per model.
TRAINING_KINDS = ("train", "pretrain", "anomaly_train")
#: The kind of job that may be about somebody who is not known here, and so has no entity's row to hang on.
MEASURING_KIND = "readiness"
#: Handed out at each claim and never again: whoever holds the highest one may write, all others may not.
FENCES = Sequence("fence_seq", metadata=Base.metadata, data_type=BigInteger)


class Job(Base):
    """One asked-for piece of work. The row is the job; a message on the broker is only a doorbell for it."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("job"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=QUEUED)
    #: Rises on each transition; the trigger sees to it.
    rev: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    #: Last progress that a heartbeat wrote down.
    progress: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    spec: Mapped[Json]
    spec_hash: Mapped[str]
    #: Jobs with the same one can train as a cohort; NULL for those that cannot.
    shape_key: Mapped[str | None]
    #: What operators read in Flower: `user-42 rhr`.
    label: Mapped[str]
    entity_id: Mapped[int | None] = mapped_column(BigInteger)
    model_id: Mapped[str | None]
    parent_id: Mapped[str | None]
    #: Set on a parent only: how many children it began with, and how many have not ended.
    children: Mapped[int | None]
    pending_children: Mapped[int | None]
    #: Lower goes first within a tenant.
    priority: Mapped[int] = mapped_column(server_default=text("0"))
    queue: Mapped[str]
    #: Tries begun, and how many of them took their process down.
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    crashes: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    fence: Mapped[int | None] = mapped_column(BigInteger)
    #: `<worker>/<doorbell>` of the try that holds the lease.
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    available_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: The row is its own outbox: how often a doorbell was sent, and when last.
    dispatch_no: Mapped[int] = mapped_column(server_default=text("0"))
    dispatched_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    drain_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    result: Mapped[Json | None]
    #: A problem object.
    error: Mapped[Json | None]
    warnings: Mapped[list[Json]] = mapped_column(server_default=text("'[]'"))
    retry_of: Mapped[str | None]
    client_metadata: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        # Erasing an entity keeps the job rows and forgets whom they were about (the column list needs Postgres 15).
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="SET NULL (entity_id)"),
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="SET NULL (model_id)"),
        ForeignKeyConstraint(["tenant_id", "parent_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
        # A parent runs without a lease: nobody claims it, its children bring it to its end.
        CheckConstraint("(state = 'running' AND pending_children IS NULL) = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint("(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("pending_children BETWEEN 0 AND children", name="children"),
        Index(
            "single_flight",
            "model_id",
            "kind",
            "spec_hash",
            unique=True,
            # Asking again for what is being cancelled is a new wish.
            postgresql_where=text("state IN ('queued', 'running') AND parent_id IS NULL AND NOT cancel_requested"),
        ),
        Index(
            "one_running_train",
            "model_id",
            unique=True,
            postgresql_where=text("state = 'running' AND kind IN ('train', 'pretrain', 'anomaly_train')"),
        ),
        # Each tenant's line in a queue, in its order; and the jobs for which a bell was rung.
        Index("jobs_due", "queue", "tenant_id", "priority", "available_at", "id", postgresql_where=text("state = 'queued'")),
        Index("jobs_rung", "queue", "dispatched_at", postgresql_where=text("state = 'queued' AND dispatched_at IS NOT NULL")),
        Index(
            "jobs_cohort",
            "shape_key",
            "tenant_id",
            "priority",
            "available_at",
            "id",
            postgresql_where=text("state = 'queued' AND shape_key IS NOT NULL"),
        ),
        Index("jobs_running", "tenant_id", "queue", "lease_until", postgresql_where=text("state = 'running'")),
        Index("jobs_deadlines", "deadline_at", postgresql_where=text("state IN ('queued', 'running') AND deadline_at IS NOT NULL")),
        Index("jobs_cancels", "id", postgresql_where=text("cancel_requested AND state IN ('queued', 'running')")),
        Index("jobs_unfinished", "tenant_id", "queue", postgresql_where=text("state IN ('queued', 'running')")),
        # Partial also so that it can never serve the foreign keys that point here: on a fresh table the planner took it for them,
        # which made a batch of 10,000 take 11 s.
        Index("jobs_newest", "tenant_id", "created_at", "id", postgresql_where=text("parent_id IS NULL")),
        Index("jobs_items", "parent_id", "id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("jobs_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("jobs_of_model", "model_id", postgresql_where=text("model_id IS NOT NULL")),
        Index("jobs_of_entity", "entity_id", postgresql_where=text("entity_id IS NOT NULL")),
        # For who erases somebody that was measured in a source before being known here.
        Index(
            "jobs_of_nobody",
            "tenant_id",
            text("(spec ->> 'entity'::text)"),
            postgresql_where=text("kind = 'readiness' AND entity_id IS NULL"),
        ),
    )

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL


class Attempt(Base):
    """One try at a job, known by its fence."""

    __tablename__ = "attempts"
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tenant_id: Mapped[str]
    job_id: Mapped[str]
    number: Mapped[int]
    worker: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    ended_at: Mapped[datetime | None]
    #: succeeded, failed, cancelled, retried, drained, handed_back (for a newer release), crashed (process died), lost (lease ran out).
    outcome: Mapped[str | None]
    error: Mapped[Json | None]
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
        Index(None, "job_id", "number"),
    )


class IdempotencyKey(Base):
    """The answer first given to an Idempotency-Key, written in the transaction that wrote the job."""

    __tablename__ = "idempotency_keys"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    route: Mapped[str]
    key: Mapped[str]
    request_sha256: Mapped[str]
    job_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "route", "key"),
        ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE", initially="DEFERRED", deferrable=True
        ),
        Index(None, "created_at"),
        # For the cascade: without it each purged job looks at every key.
        Index(None, "tenant_id", "job_id"),
    )


#: What a tenant may hold and holds, and how many wait in a queue. The tenant's row stays locked until the transaction ends.
ROOM_FOR_JOBS = """
CREATE FUNCTION room_for_jobs(of_tenant text, in_queue text, OUT allowed integer, OUT held bigint, OUT waiting bigint)
LANGUAGE plpgsql AS $$
BEGIN
  SELECT max_unfinished INTO allowed FROM tenants WHERE id = of_tenant FOR NO KEY UPDATE;
  -- A statement of its own: what it counts must be what stands once the tenant's lock is ours.
  SELECT
    (SELECT count(*) FROM jobs WHERE tenant_id = of_tenant AND state IN ('queued', 'running') AND pending_children IS NULL),
    (SELECT count(*) FROM jobs WHERE queue = in_queue AND state = 'queued')
  INTO held, waiting;
END $$"""

made_with(Job.__table__, *transition_trigger(), ROOM_FOR_JOBS)
