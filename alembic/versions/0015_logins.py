"""logins to the dashboard

A key's id alone is unique already, so no row that old code writes can offend the new constraint on (tenant, id).

Revision 0015, after 0014, 2026-11-30 15:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
expands = True


def upgrade() -> None:
    op.create_unique_constraint(op.f("uq_api_keys_tenant_id_id"), "api_keys", ["tenant_id", "id"])
    op.create_table(
        "logins",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "key_id"],
            ["api_keys.tenant_id", "api_keys.id"],
            name=op.f("fk_logins_tenant_id_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
    )
    op.create_index("logins_of_key", "logins", ["tenant_id", "key_id"], unique=False)
    op.create_index("logins_ended", "logins", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_index("logins_ended", table_name="logins")
    op.drop_index("logins_of_key", table_name="logins")
    op.drop_table("logins")
    op.drop_constraint(op.f("uq_api_keys_tenant_id_id"), "api_keys", type_="unique")
