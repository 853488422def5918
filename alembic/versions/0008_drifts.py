"""how each model stands to the present, and what its version is compared with

Revision 0008, after 0007, 2026-11-30 11:10:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("reference", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "drifts",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("data_rev", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("error_ratio", sa.Double(), nullable=True),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("verdict IN ('steady', 'warning', 'drifting', 'unknown')", name=op.f("ck_drifts_verdict")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"], ["models.tenant_id", "models.id"], name=op.f("fk_drifts_tenant_id_model_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "version_id"],
            ["versions.tenant_id", "versions.id"],
            name=op.f("fk_drifts_tenant_id_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_drifts")),
    )
    op.create_index("drifts_of_version", "drifts", ["version_id"], unique=False)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS forecasts_by_origin")
        op.create_index("forecasts_by_origin", "forecasts", ["version_id", "data_until", "id"], postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index("forecasts_by_origin", table_name="forecasts")
    op.drop_index("drifts_of_version", table_name="drifts")
    op.drop_table("drifts")
    op.drop_column("versions", "reference")
