"""Whom and what observations are about: entities, their channels, the values."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json


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
