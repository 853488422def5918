"""What was trained: models, their versions, and each move of an active flag."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json, new_id


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
