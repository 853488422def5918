"""what was called unusual: one row for each moment and model

Revision 0006, after 0005, 2026-11-20 17:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anomalies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("contributions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("severity IN ('warning', 'critical')", name=op.f("ck_anomalies_severity")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_anomalies_tenant_id_entity_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"], ["models.tenant_id", "models.id"], name=op.f("fk_anomalies_tenant_id_model_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "version_id"],
            ["versions.tenant_id", "versions.id"],
            name=op.f("fk_anomalies_tenant_id_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anomalies")),
        sa.UniqueConstraint("model_id", "at", name="anomalies_one_per_moment"),
    )
    op.create_index("anomalies_newest", "anomalies", ["entity_id", "at", "id"], unique=False)
    op.create_index("anomalies_of_version", "anomalies", ["version_id"], unique=False)
    op.create_index("anomalies_found", "anomalies", ["found_at"], unique=False)


def downgrade() -> None:
    op.drop_index("anomalies_found", table_name="anomalies")
    op.drop_index("anomalies_of_version", table_name="anomalies")
    op.drop_index("anomalies_newest", table_name="anomalies")
    op.drop_table("anomalies")
