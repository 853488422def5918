"""old forecasts are found by their age, to be purged

Revision 0016, after 0015, 2026-11-30 16:10:00
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS forecasts_made")
        op.create_index("forecasts_made", "forecasts", ["made_at"], postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index("forecasts_made", table_name="forecasts")
