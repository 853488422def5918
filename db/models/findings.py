"""What models came to: forecasts, verdicts about drift, anomalies."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json


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
