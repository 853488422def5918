"""jobs that are asked for again and again, whom they name, and what became of each run

Revision 0011, after 0010, 2026-11-30 11:00:00
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(astext_type=sa.Text())
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _make_schedules()
    _make_entities()
    _make_runs()


def _make_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("template", _JSON, nullable=False),
        sa.Column("job_order", _JSON, nullable=False),
        sa.Column("client_metadata", _JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("selector", _JSON, nullable=True),
        sa.Column("conditions", _JSON, nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("every_s", sa.BigInteger(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("open_hours", _JSON, nullable=True),
        sa.Column("jitter_s", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("missed", sa.Text(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("next_at", _MOMENT, nullable=True),
        sa.Column("fired_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("(cron IS NULL) <> (every_s IS NULL)", name=op.f("ck_schedules_cron_or_every")),
        sa.CheckConstraint("(due_at IS NULL) = (next_at IS NULL)", name=op.f("ck_schedules_paused")),
        sa.CheckConstraint("missed IN ('once', 'skip')", name=op.f("ck_schedules_missed")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_schedules_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_schedules_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name="schedules_name"),
    )
    op.create_index("schedules_due", "schedules", ["next_at"], unique=False, postgresql_where=sa.text("next_at IS NOT NULL"))


def _make_entities() -> None:
    op.create_table(
        "schedule_entities",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedules.tenant_id", "schedules.id"],
            name=op.f("fk_schedule_entities_tenant_id_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_schedule_entities_tenant_id_entity_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "entity_id", name=op.f("pk_schedule_entities")),
    )
    op.create_index("schedules_of_entity", "schedule_entities", ["entity_id"], unique=False)


def _make_runs() -> None:
    op.create_table(
        "schedule_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error", _JSON, nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("entities", sa.Integer(), nullable=True),
        sa.Column("due", sa.Integer(), nullable=True),
        sa.Column("why", _JSON, nullable=True),
        sa.Column("passed_over", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("at", _MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("state IN ('fired', 'waiting', 'skipped', 'failed')", name=op.f("ck_schedule_runs_state")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedules.tenant_id", "schedules.id"],
            name=op.f("fk_schedule_runs_tenant_id_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_schedule_runs_tenant_id_job_id"),
            ondelete="SET NULL (job_id)",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_runs")),
        sa.UniqueConstraint("schedule_id", "due_at", name="schedule_runs_once"),
    )
    op.create_index("schedule_runs_newest", "schedule_runs", ["schedule_id", "id"], unique=False)
    op.create_index(
        "schedule_runs_of_job", "schedule_runs", ["tenant_id", "job_id"], unique=False, postgresql_where=sa.text("job_id IS NOT NULL")
    )
    op.create_index("schedule_runs_at", "schedule_runs", ["at"], unique=False)


def downgrade() -> None:
    for table in ("schedule_runs", "schedule_entities", "schedules"):
        op.drop_table(table)
