"""who did what, in rows that stand

The trigger guards the new table alone, which old code does not know.

Revision 0013, after 0012, 2026-11-30 14:50:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

AUDIT_FUNCTION = """
CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND (
    OLD.at < clock_timestamp() - make_interval(days => nullif(current_setting('fleetcast.audit_kept_days', true), '')::int)
    OR NOT EXISTS (SELECT FROM tenants WHERE id = OLD.tenant_id)
  ) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'entry % of the audit stands', OLD.id USING ERRCODE = 'check_violation';
END $$"""
AUDIT_TRIGGER = "CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stands()"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("about", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_audit_tenant_id_id")),
    )
    op.create_index("audit_at", "audit", ["at"], unique=False)
    op.execute(AUDIT_FUNCTION)
    op.execute(AUDIT_TRIGGER)


def downgrade() -> None:
    op.drop_table("audit")
    op.execute("DROP FUNCTION audit_stands()")
