"""What deeds leave behind: erasures that Redis has yet to follow, receipts, and the audit, which the trigger `audit_stands` keeps."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Json, made_with, new_id


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


made_with(AuditEntry.__table__, *audit_trigger())
