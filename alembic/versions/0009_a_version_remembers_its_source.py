"""a version remembers the source that its training read

Revision 0009, after 0008, 2026-11-30 11:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("source", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("versions", "source")
