"""who was measured in a source before being known here is found by name, to be erased

Revision 0014, after 0013, 2026-11-30 15:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS jobs_of_nobody")
        op.create_index(
            "jobs_of_nobody",
            "jobs",
            ["tenant_id", sa.literal_column("(spec ->> 'entity'::text)")],
            postgresql_where=sa.text("kind = 'readiness' AND entity_id IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index("jobs_of_nobody", table_name="jobs")
