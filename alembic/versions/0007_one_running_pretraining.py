"""a base, too, is learned by one training at a time

Revision 0007, after 0006, 2026-11-20 17:45:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _made_anew("'train', 'pretrain', 'anomaly_train'")


def downgrade() -> None:
    _made_anew("'train', 'anomaly_train'")


def _made_anew(kinds: str) -> None:
    op.drop_index("one_running_train", table_name="jobs")
    running = sa.text(f"state = 'running' AND kind IN ({kinds})")
    op.create_index("one_running_train", "jobs", ["model_id"], unique=True, postgresql_where=running)
