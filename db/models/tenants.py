"""Whose everything is: tenants, their keys, and the browsers that showed one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, new_id


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
