"""a version that was brought from elsewhere, whose data nobody here has seen

Revision 0005, after 0004, 2026-11-20 16:40:00
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("versions", "data_from", nullable=True)
    op.alter_column("versions", "data_until", nullable=True)


def downgrade() -> None:
    """Fails where a base was imported: its rows would have to go first."""
    op.alter_column("versions", "data_from", nullable=False)
    op.alter_column("versions", "data_until", nullable=False)
