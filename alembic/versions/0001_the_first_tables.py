"""the first tables

Revision 0001, after , 2026-11-20 09:12:53.583063
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


TRANSITION_FUNCTION = """
CREATE FUNCTION job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  erasable text[] := ARRAY['entity_id', 'model_id'];
BEGIN
  IF OLD.state IN ('succeeded', 'failed', 'cancelled') THEN
    IF OLD.entity_id IS NOT NULL AND NEW.entity_id IS NULL THEN
      erasable := erasable || ARRAY['label', 'spec', 'spec_hash', 'progress', 'result', 'error', 'warnings', 'client_metadata'];
    END IF;
    IF (to_jsonb(NEW) - erasable) IS DISTINCT FROM (to_jsonb(OLD) - erasable) THEN
      RAISE EXCEPTION 'job % is finished (%) and cannot change', OLD.id, OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF (OLD.state, NEW.state) NOT IN (('queued', 'cancelled'), ('queued', 'failed'), ('queued', 'queued'), ('queued', 'running'), ('running', 'cancelled'), ('running', 'failed'), ('running', 'queued'), ('running', 'running'), ('running', 'succeeded')) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.state <> NEW.state OR OLD.cancel_requested <> NEW.cancel_requested THEN
    NEW.rev := OLD.rev + 1;
  ELSE
    NEW.rev := OLD.rev;
  END IF;
  RETURN NEW;
END $$"""
TRANSITION_TRIGGER = "CREATE TRIGGER job_transition BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION job_transition()"


def upgrade() -> None:
    op.execute("CREATE SEQUENCE fence_seq AS bigint")
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("max_unfinished", sa.Integer(), nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "entities",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("data_rev", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_entities_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entities")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_entities_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_entities_tenant_id_name")),
    )
    op.create_table(
        "channels",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("direction", sa.Text(), nullable=True),
        sa.Column("lower_bound", sa.Double(), nullable=True),
        sa.Column("upper_bound", sa.Double(), nullable=True),
        sa.CheckConstraint("direction IN ('higher', 'lower')", name=op.f("ck_channels_direction")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_channels_tenant_id_entity_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("entity_id", "name", name=op.f("uq_channels_entity_id_name")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_channels_tenant_id_id")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_models_tenant_id_entity_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("entity_id", "kind", "name", name=op.f("uq_models_entity_id_kind_name")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_models_tenant_id_id")),
    )
    op.create_table(
        "activations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Text(), nullable=True),
        sa.Column("to_version", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"], ["models.tenant_id", "models.id"], name=op.f("fk_activations_tenant_id_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activations")),
    )
    op.create_index(op.f("ix_activations_model_id_id"), "activations", ["model_id", "id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("rev", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("spec_hash", sa.Text(), nullable=False),
        sa.Column("shape_key", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=True),
        sa.Column("model_id", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("children", sa.Integer(), nullable=True),
        sa.Column("pending_children", sa.Integer(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("dispatch_no", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("drain_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("retry_of", sa.Text(), nullable=True),
        sa.Column("client_metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'running' AND pending_children IS NULL) = (lease_until IS NOT NULL)", name=op.f("ck_jobs_lease")),
        sa.CheckConstraint("(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name=op.f("ck_jobs_finished")),
        sa.CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_state")),
        sa.CheckConstraint("pending_children BETWEEN 0 AND children", name=op.f("ck_jobs_children")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_jobs_tenant_id_entity_id"),
            ondelete="SET NULL (entity_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"],
            ["models.tenant_id", "models.id"],
            name=op.f("fk_jobs_tenant_id_model_id"),
            ondelete="SET NULL (model_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_jobs_tenant_id_parent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_jobs_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_jobs_tenant_id_id")),
    )
    op.create_index(
        "jobs_cancels", "jobs", ["id"], unique=False, postgresql_where=sa.text("cancel_requested AND state IN ('queued', 'running')")
    )
    op.create_index(
        "jobs_cohort",
        "jobs",
        ["shape_key", "tenant_id", "priority", "available_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND shape_key IS NOT NULL"),
    )
    op.create_index(
        "jobs_deadlines",
        "jobs",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running') AND deadline_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_due",
        "jobs",
        ["queue", "tenant_id", "priority", "available_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("jobs_finished", "jobs", ["finished_at"], unique=False, postgresql_where=sa.text("finished_at IS NOT NULL"))
    op.create_index("jobs_items", "jobs", ["parent_id", "id"], unique=False, postgresql_where=sa.text("parent_id IS NOT NULL"))
    op.create_index("jobs_newest", "jobs", ["tenant_id", "created_at", "id"], unique=False, postgresql_where=sa.text("parent_id IS NULL"))
    op.create_index("jobs_of_entity", "jobs", ["entity_id"], unique=False, postgresql_where=sa.text("entity_id IS NOT NULL"))
    op.create_index("jobs_of_model", "jobs", ["model_id"], unique=False, postgresql_where=sa.text("model_id IS NOT NULL"))
    op.create_index(
        "jobs_rung",
        "jobs",
        ["queue", "dispatched_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND dispatched_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_running", "jobs", ["tenant_id", "queue", "lease_until"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index(
        "jobs_unfinished", "jobs", ["tenant_id", "queue"], unique=False, postgresql_where=sa.text("state IN ('queued', 'running')")
    )
    op.create_index(
        "one_running_train",
        "jobs",
        ["model_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running' AND kind IN ('train', 'anomaly_train')"),
    )
    op.create_index(
        "single_flight",
        "jobs",
        ["model_id", "kind", "spec_hash"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running') AND parent_id IS NULL AND NOT cancel_requested"),
    )
    op.create_table(
        "observations",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "channel_id"],
            ["channels.tenant_id", "channels.id"],
            name=op.f("fk_observations_tenant_id_channel_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("channel_id", "at", name=op.f("pk_observations")),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("major", sa.Integer(), nullable=False),
        sa.Column("minor", sa.Integer(), nullable=False),
        sa.Column("patch", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("spec_hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("served_by", sa.Text(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("gate", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("artefact_sha256", sa.Text(), nullable=False),
        sa.Column("artefact_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("NOT (active AND pruned_at IS NOT NULL)", name=op.f("ck_versions_active_is_kept")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_id"], ["models.tenant_id", "models.id"], name=op.f("fk_versions_tenant_id_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("job_id", name="versions_one_per_job"),
        sa.UniqueConstraint("model_id", "major", "minor", "patch", name="versions_semver"),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_versions_tenant_id_id")),
    )
    op.create_index("one_active", "versions", ["model_id"], unique=True, postgresql_where=sa.text("active"))
    op.create_table(
        "attempts",
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_attempts_tenant_id_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("fence", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_job_id_number"), "attempts", ["job_id", "number"], unique=False)
    op.create_table(
        "forecasts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("data_rev", sa.BigInteger(), nullable=False),
        sa.Column("data_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entity_id"],
            ["entities.tenant_id", "entities.id"],
            name=op.f("fk_forecasts_tenant_id_entity_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "version_id"],
            ["versions.tenant_id", "versions.id"],
            name=op.f("fk_forecasts_tenant_id_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forecasts")),
        sa.UniqueConstraint("version_id", "target", "data_rev", "horizon", "level", name="forecasts_one_per_question"),
    )
    op.create_index("forecasts_newest", "forecasts", ["entity_id", "target", "made_at"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_idempotency_keys_tenant_id_job_id"),
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_idempotency_keys_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_index(op.f("ix_idempotency_keys_tenant_id_job_id"), "idempotency_keys", ["tenant_id", "job_id"], unique=False)
    op.execute(TRANSITION_FUNCTION)
    op.execute(TRANSITION_TRIGGER)


def downgrade() -> None:
    op.drop_index(op.f("ix_idempotency_keys_tenant_id_job_id"), table_name="idempotency_keys")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("forecasts_newest", table_name="forecasts")
    op.drop_table("forecasts")
    op.drop_index(op.f("ix_attempts_job_id_number"), table_name="attempts")
    op.drop_table("attempts")
    op.drop_index("one_active", table_name="versions", postgresql_where=sa.text("active"))
    op.drop_table("versions")
    op.drop_table("observations")
    op.drop_index(
        "single_flight",
        table_name="jobs",
        postgresql_where=sa.text("state IN ('queued', 'running') AND parent_id IS NULL AND NOT cancel_requested"),
    )
    op.drop_index(
        "one_running_train", table_name="jobs", postgresql_where=sa.text("state = 'running' AND kind IN ('train', 'anomaly_train')")
    )
    op.drop_index("jobs_unfinished", table_name="jobs", postgresql_where=sa.text("state IN ('queued', 'running')"))
    op.drop_index("jobs_of_model", table_name="jobs", postgresql_where=sa.text("model_id IS NOT NULL"))
    op.drop_index("jobs_of_entity", table_name="jobs", postgresql_where=sa.text("entity_id IS NOT NULL"))
    op.drop_index("jobs_newest", table_name="jobs", postgresql_where=sa.text("parent_id IS NULL"))
    op.drop_index("jobs_running", table_name="jobs", postgresql_where=sa.text("state = 'running'"))
    op.drop_index("jobs_rung", table_name="jobs", postgresql_where=sa.text("state = 'queued' AND dispatched_at IS NOT NULL"))
    op.drop_index("jobs_items", table_name="jobs", postgresql_where=sa.text("parent_id IS NOT NULL"))
    op.drop_index("jobs_finished", table_name="jobs", postgresql_where=sa.text("finished_at IS NOT NULL"))
    op.drop_index("jobs_due", table_name="jobs", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index(
        "jobs_deadlines", table_name="jobs", postgresql_where=sa.text("state IN ('queued', 'running') AND deadline_at IS NOT NULL")
    )
    op.drop_index("jobs_cancels", table_name="jobs", postgresql_where=sa.text("cancel_requested AND state IN ('queued', 'running')"))
    op.drop_index("jobs_cohort", table_name="jobs", postgresql_where=sa.text("state = 'queued' AND shape_key IS NOT NULL"))
    op.drop_table("jobs")
    op.drop_index(op.f("ix_activations_model_id_id"), table_name="activations")
    op.drop_table("activations")
    op.drop_table("models")
    op.drop_table("channels")
    op.drop_table("entities")
    op.drop_table("api_keys")
    op.drop_table("tenants")
    op.execute("DROP FUNCTION job_transition()")
    op.execute("DROP SEQUENCE fence_seq")
