"""one training can publish a version of several models: one per target of its network

Revision 0004, after 0003, 2026-11-20 16:00:00
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("versions_one_per_job", "versions", type_="unique")
    op.create_unique_constraint("versions_one_per_job", "versions", ["job_id", "model_id"])


def downgrade() -> None:
    """Fails where one job published several versions: their rows would have to go first."""
    op.drop_constraint("versions_one_per_job", "versions", type_="unique")
    op.create_unique_constraint("versions_one_per_job", "versions", ["job_id"])
