"""The tables, the invariants that the database itself keeps as named indexes and one trigger, and the one function that it is asked by."""

from __future__ import annotations

import secrets
from base64 import b32encode
from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Text,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from ulid import ULID

Json = dict[str, Any]

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
UNFINISHED = (QUEUED, RUNNING)
TERMINAL = (SUCCEEDED, FAILED, CANCELLED)
#: Every allowed change of a job's state; the trigger `job_transition` refuses all others. A retry of a finished job is a new row.
TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        (QUEUED, QUEUED),  # dispatched, postponed
        (QUEUED, RUNNING),  # claimed
        (QUEUED, CANCELLED),
        (QUEUED, FAILED),  # deadline passed while waiting
        (RUNNING, RUNNING),  # heartbeat, progress
        (RUNNING, QUEUED),  # retry, reap, drain
        (RUNNING, SUCCEEDED),
        (RUNNING, FAILED),
        (RUNNING, CANCELLED),
    }
)
#: How a delivery stands: on its way, told, or given up after its last try.
PENDING, DELIVERED = "pending", "delivered"
#: What a job's row tells of its entity, and erasure takes away.
ABOUT_ENTITY = ("label", "spec", "spec_hash", "progress", "result", "error", "warnings", "client_metadata")
#: Kinds of job that write a version: at most one of them runs per model.
TRAINING_KINDS = ("train", "pretrain", "anomaly_train")
#: The kind of job that may be about somebody who is not known here, and so has no entity's row to hang on.
MEASURING_KIND = "readiness"


def new_id(prefix: str) -> str:
    """A public id such as `job_01J9…`: a ULID, so ids sort by time and cannot be guessed."""
    return f"{prefix}_{ULID()}"


def new_ids(prefix: str, count: int) -> list[str]:
    """So many at once, of one moment and in order: for the thousands of a batch, in a tenth of the time that they take one by one."""
    moment = str(ULID())[:_OF_MOMENT]
    drawn = b32encode(secrets.token_bytes(10 * count)).translate(_CROCKFORD).decode()
    return sorted(f"{prefix}_{moment}{drawn[at : at + _OF_CHANCE]}" for at in range(0, len(drawn), _OF_CHANCE))


#: Of a ULID's letters, ten tell the millisecond and sixteen are 80 random bits, in an alphabet that keeps the order of the numbers.
_OF_MOMENT, _OF_CHANCE = 10, 16
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True), Json: JSONB, list[Json]: JSONB, str: Text, float: Double, bytes: LargeBinary}  # noqa: RUF012


#: Handed out at each claim and never again: whoever holds the highest one may write, all others may not.
FENCES = Sequence("fence_seq", metadata=Base.metadata, data_type=BigInteger)


class Tenant(Base):
    """Owner of data."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("tnt"))
    name: Mapped[str] = mapped_column(unique=True)
    #: Unfinished jobs it may hold; more are answered 429.
    max_unfinished: Mapped[int]
    #: Jobs of it that may run at once in one queue, so that one tenant cannot take every worker. Each queue counts for itself: a cohort of
    #: trainings must not keep the tenant's predictions waiting.
    max_running: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A key `fk_<id>_<secret>`. Only the hash of the secret is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    secret_sha256: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("tenant_id", "id"),)


class Login(Base):
    """A browser that showed a key, and is let in as that key until the login ends. Only the hash of what its cookie holds is kept."""

    __tablename__ = "logins"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    key_id: Mapped[str]
    secret_sha256: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "key_id"], ["api_keys.tenant_id", "api_keys.id"], ondelete="CASCADE"),
        # For the cascade, and for whoever purges.
        Index("logins_of_key", "tenant_id", "key_id"),
        Index("logins_ended", "expires_at"),
    )


class Entity(Base):
    """A user, device, sensor, plant or variant. `name` is the id clients use."""

    __tablename__ = "entities"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    kind: Mapped[str | None]
    attributes: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    #: Counts ingests. It is part of the forecast cache's key, so new data makes old answers unreachable.
    data_rev: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (UniqueConstraint("tenant_id", "name"), UniqueConstraint("tenant_id", "id"))


class Channel(Base):
    """One named numeric measurement of an entity."""

    __tablename__ = "channels"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str]
    entity_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    unit: Mapped[str | None]
    #: What is better: `higher`, `lower`, or unknown.
    direction: Mapped[str | None]
    lower_bound: Mapped[float | None]
    upper_bound: Mapped[float | None]
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        UniqueConstraint("entity_id", "name"),
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("direction IN ('higher', 'lower')", name="direction"),
    )


class Observation(Base):
    """One value. A channel belongs to one entity, so the key is (entity, channel, timestamp)."""

    __tablename__ = "observations"
    channel_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    value: Mapped[float]
    tenant_id: Mapped[str]
    __table_args__ = (
        PrimaryKeyConstraint("channel_id", "at"),
        ForeignKeyConstraint(["tenant_id", "channel_id"], ["channels.tenant_id", "channels.id"], ondelete="CASCADE"),
    )


class Model(Base):
    """The lineage (tenant, entity, kind, name); its row is the lock under which versions are allotted."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("mdl"))
    tenant_id: Mapped[str]
    entity_id: Mapped[int] = mapped_column(BigInteger)
    #: `forecast`, `anomaly`, or `base`: a network for others to start from.
    kind: Mapped[str]
    #: Defaults to the target.
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        UniqueConstraint("entity_id", "kind", "name"),
        UniqueConstraint("tenant_id", "id"),
    )


class Version(Base):
    """One trained instance of a model. The row outlives its artefact, which pruning removes."""

    __tablename__ = "versions"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ver"))
    tenant_id: Mapped[str]
    model_id: Mapped[str]
    major: Mapped[int]
    minor: Mapped[int]
    patch: Mapped[int]
    active: Mapped[bool] = mapped_column(server_default=text("false"))
    job_id: Mapped[str]
    fence: Mapped[int] = mapped_column(BigInteger)
    recipe: Mapped[str | None]
    target: Mapped[str]
    spec: Mapped[Json]
    #: Hash of the whole spec, and of the part of it that consumers see: they decide which number of the version rises.
    spec_hash: Mapped[str]
    signature: Mapped[str]
    #: The forecaster that answers: the network, or the naive baseline it did not beat.
    served_by: Mapped[str]
    metrics: Mapped[Json]
    #: What its inputs and its errors were like while it was made: what later ones are compared with. Kilobytes that no list shows.
    reference: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True), deferred=True)
    gate: Mapped[Json]
    warnings: Mapped[list[Json]] = mapped_column(server_default=text("'[]'"))
    artefact_sha256: Mapped[str]
    artefact_bytes: Mapped[int] = mapped_column(BigInteger)
    #: What it learned from; None of a network that was imported.
    data_from: Mapped[datetime | None]
    data_until: Mapped[datetime | None]
    #: Name of the source that its training read, for what it forecasts to read it too; None is our own observations.
    source: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    pruned_at: Mapped[datetime | None]
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        UniqueConstraint("model_id", "major", "minor", "patch", name="versions_semver"),
        UniqueConstraint("job_id", "model_id", name="versions_one_per_job"),
        UniqueConstraint("tenant_id", "id"),
        Index("one_active", "model_id", unique=True, postgresql_where=text("active")),
        CheckConstraint("NOT (active AND pruned_at IS NOT NULL)", name="active_is_kept"),
    )

    @property
    def semver(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Activation(Base):
    """Each move of an active flag: who, when, why, from, to. Rows are only ever added."""

    __tablename__ = "activations"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str]
    model_id: Mapped[str]
    #: `publish`, `activate` or `rollback`.
    kind: Mapped[str]
    #: Semantic versions of this model.
    from_version: Mapped[str | None]
    to_version: Mapped[str]
    reason: Mapped[str | None]
    actor: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        Index(None, "model_id", "id"),
    )


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


class Forecast(Base):
    """A forecast as it was made, traced to the version and the data it was made from."""

    __tablename__ = "forecasts"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str]
    entity_id: Mapped[int] = mapped_column(BigInteger)
    version_id: Mapped[str]
    job_id: Mapped[str]
    target: Mapped[str]
    horizon: Mapped[int]
    level: Mapped[float]
    data_rev: Mapped[int] = mapped_column(BigInteger)
    data_until: Mapped[datetime]
    made_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: The forecast as clients read it.
    body: Mapped[Json]
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "version_id"], ["versions.tenant_id", "versions.id"], ondelete="CASCADE"),
        UniqueConstraint("version_id", "target", "data_rev", "horizon", "level", name="forecasts_one_per_question"),
        Index("forecasts_newest", "entity_id", "target", "made_at"),
        Index("forecasts_by_origin", "version_id", "data_until", "id"),
        Index("forecasts_made", "made_at"),
    )


class Drift(Base):
    """How the version that serves stands to the present, as it was last judged: one row per model."""

    __tablename__ = "drifts"
    model_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    #: That was judged. Another one serves since: nothing is known of it.
    version_id: Mapped[str]
    #: The entity's, when it was judged.
    data_rev: Mapped[int] = mapped_column(BigInteger)
    verdict: Mapped[str]
    #: Recent errors over the usual ones of the version; None where too few forecasts met what happened.
    error_ratio: Mapped[float | None]
    #: The numbers behind the verdict, as clients read them.
    findings: Mapped[Json]
    #: When this version was first given this verdict.
    since: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    judged_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "version_id"], ["versions.tenant_id", "versions.id"], ondelete="CASCADE"),
        CheckConstraint("verdict IN ('steady', 'warning', 'drifting', 'unknown')", name="verdict"),
        # For the cascade, and for whoever asks about the version that serves.
        Index("drifts_of_version", "version_id"),
    )


class Anomaly(Base):
    """A moment that a detector called unusual. Judged again, the same moment of the same model stays one row."""

    __tablename__ = "anomalies"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str]
    entity_id: Mapped[int] = mapped_column(BigInteger)
    model_id: Mapped[str]
    #: Of those that judged it, the last.
    version_id: Mapped[str]
    job_id: Mapped[str]
    at: Mapped[datetime]
    score: Mapped[float]
    severity: Mapped[str]
    #: What each channel adds to the score, as clients read it.
    contributions: Mapped[list[Json]]
    found_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "version_id"], ["versions.tenant_id", "versions.id"], ondelete="CASCADE"),
        UniqueConstraint("model_id", "at", name="anomalies_one_per_moment"),
        CheckConstraint("severity IN ('warning', 'critical')", name="severity"),
        Index("anomalies_newest", "entity_id", "at", "id"),
        # For the cascade: without it each version that goes looks at every anomaly.
        Index("anomalies_of_version", "version_id"),
        Index("anomalies_found", "found_at"),
    )


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


class Erasure(Base):
    """What an erased entity left in Redis, in ids that tell nothing of it. The row goes once Redis has forgotten."""

    __tablename__ = "erasures"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    #: The ids of its jobs, and of the batches that some of them are items of.
    jobs: Mapped[list[str]] = mapped_column(ARRAY(Text))
    batches: Mapped[list[str]] = mapped_column(ARRAY(Text))
    #: What forecasts of it answered.
    questions: Mapped[list[Json]]
    erased_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Receipt(Base):
    """That an entity was erased: when, by whom, and how much of it there was. It names nobody, and stays."""

    __tablename__ = "receipts"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ers"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    #: Of `<id>:<name>`: who knows the name can tell that it is this one, and nobody can look it up in a table of names.
    entity_sha256: Mapped[str]
    erased_by: Mapped[str]
    request_id: Mapped[str | None]
    #: How many rows of each table left, and how many that stay were scrubbed.
    erased: Mapped[Json]
    #: Of what Redis has yet to forget; the row of this id goes once it has.
    erasure_id: Mapped[int] = mapped_column(BigInteger)
    #: Addresses of artefacts that still lie on the disk.
    artefacts: Mapped[list[str]] = mapped_column(ARRAY(Text))
    erased_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: When the last store had followed.
    done_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        Index("receipts_undone", "id", postgresql_where=text("done_at IS NULL")),
    )


class AuditEntry(Base):
    """That somebody did something that a tenant must be able to trace. It names no entity, and the trigger `audit_stands` keeps it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: As `key.revoked`; `db.audit` lists them all.
    action: Mapped[str]
    #: Id of what it was done to: a key, a model, a receipt of an erasure, a webhook, a schedule.
    subject: Mapped[str]
    #: The key by its public part, or `operator`.
    actor: Mapped[str]
    #: None of what was done at the command line.
    request_id: Mapped[str | None]
    #: Ids, numbers of versions, scopes, ends of keys.
    about: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    __table_args__ = (UniqueConstraint("tenant_id", "id"), Index("audit_at", "at"))


class Webhook(Base):
    """An address of a tenant's that is told of what happens: which types of it, and the secret that signs the telling."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("whk"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    url: Mapped[str]
    #: Of the url: no host is sent more than a few at once, whoever they are for.
    host: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    #: Kept as it is, for every delivery is signed with it. After a rotation the former one signs beside it for a while.
    secret: Mapped[str]
    former_secret: Mapped[str | None]
    former_until: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (UniqueConstraint("tenant_id", "id"),)


class Delivery(Base):
    """Something that happened, on its way to one webhook. Written in the transaction that made it happen; the id is the message's."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    webhook_id: Mapped[str]
    #: Whom it is about, so that it leaves with the entity.
    entity_id: Mapped[int | None] = mapped_column(BigInteger)
    type: Mapped[str]
    #: Ids of what it is about, and nothing of what those hold.
    data: Mapped[Json]
    state: Mapped[str] = mapped_column(server_default=PENDING)
    #: Tries begun since it was written, or last asked for again.
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    #: When it is due; while a try is under way, when that counts as lost.
    next_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    tried_at: Mapped[datetime | None]
    #: Of the last try: what the receiver answered, or why there was no answer.
    status_code: Mapped[int | None]
    error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "entity_id"], ["entities.tenant_id", "entities.id"], ondelete="CASCADE"),
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        Index("deliveries_due", "webhook_id", "next_at", postgresql_where=text("state = 'pending'")),
        Index("deliveries_newest", "webhook_id", "created_at", "id"),
        Index("deliveries_made", "created_at"),
        # For the cascade: without it each erasure looks at every delivery.
        Index("deliveries_of_entity", "entity_id", postgresql_where=text("entity_id IS NOT NULL")),
    )


def transition_trigger() -> tuple[str, str]:
    """The function and the trigger that refuse any change of state not in TRANSITIONS and any change of a finished job.

    `rev` rises here and nowhere else. Losing the entity, and with it all that told of it (ABOUT_ENTITY), is the one change a finished row
    may still see: erasure.
    """
    about = ", ".join(f"'{column}'" for column in ABOUT_ENTITY)
    allowed = ", ".join(f"('{a}', '{b}')" for a, b in sorted(TRANSITIONS))
    terminal = ", ".join(f"'{state}'" for state in TERMINAL)
    function = f"""
CREATE FUNCTION job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  erasable text[] := ARRAY['entity_id', 'model_id'];
BEGIN
  IF OLD.state IN ({terminal}) THEN
    IF OLD.entity_id IS NOT NULL AND NEW.entity_id IS NULL THEN
      erasable := erasable || ARRAY[{about}];
    END IF;
    IF (to_jsonb(NEW) - erasable) IS DISTINCT FROM (to_jsonb(OLD) - erasable) THEN
      RAISE EXCEPTION 'job % is finished (%) and cannot change', OLD.id, OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF (OLD.state, NEW.state) NOT IN ({allowed}) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.state <> NEW.state OR OLD.cancel_requested <> NEW.cancel_requested THEN
    NEW.rev := OLD.rev + 1;
  ELSE
    NEW.rev := OLD.rev;
  END IF;
  RETURN NEW;
END $$"""
    trigger = "CREATE TRIGGER job_transition BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION job_transition()"
    return function, trigger


#: The setting by which the sweep of retention says, for its transaction, how many days entries are kept.
AUDIT_KEPT = "fleetcast.audit_kept_days"


def audit_trigger() -> tuple[str, str]:
    """The function and the trigger that refuse every change of an entry of the audit, and its deletion before its time.

    Deleted is what is older than the days that the transaction names (AUDIT_KEPT), and what a deleted tenant leaves.
    """
    function = f"""
CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND (
    OLD.at < clock_timestamp() - make_interval(days => nullif(current_setting('{AUDIT_KEPT}', true), '')::int)
    OR NOT EXISTS (SELECT FROM tenants WHERE id = OLD.tenant_id)
  ) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'entry % of the audit stands', OLD.id USING ERRCODE = 'check_violation';
END $$"""
    return function, "CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stands()"


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


for _table, _statements in ((Job.__table__, (*transition_trigger(), ROOM_FOR_JOBS)), (AuditEntry.__table__, audit_trigger())):
    for _statement in _statements:
        event.listen(_table, "after_create", DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
