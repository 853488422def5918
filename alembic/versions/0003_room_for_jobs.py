"""room for jobs: the tenant's lock and both counts of an admission in one call

Revision 0003, after 0002, 2026-11-20 15:40:00
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROOM_FOR_JOBS = """
CREATE FUNCTION room_for_jobs(of_tenant text, in_queue text, OUT allowed integer, OUT held bigint, OUT waiting bigint)
LANGUAGE plpgsql AS $$
BEGIN
  SELECT max_unfinished INTO allowed FROM tenants WHERE id = of_tenant FOR NO KEY UPDATE;
  -- A statement of its own: what it counts must be what stands once the tenant's lock is ours.
  SELECT
    (SELECT count(*) FROM jobs WHERE tenant_id = of_tenant AND state IN ('queued', 'running') AND pending_children IS NULL),
    (SELECT count(*) FROM jobs WHERE queue = in_queue AND state = 'queued')
  INTO held, waiting;
END $$"""


def upgrade() -> None:
    op.execute(ROOM_FOR_JOBS)


def downgrade() -> None:
    op.execute("DROP FUNCTION room_for_jobs")
