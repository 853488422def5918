"""Who is told of what happens: webhooks, and each message on its way to one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json, new_id

#: How a delivery stands: on its way, told, or given up after its last try.
PENDING, DELIVERED = "pending", "delivered"


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
