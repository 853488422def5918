"""What must be true of the ledger at any moment, beyond what indexes, checks and the trigger already enforce."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

#: Each counts the rows that break it. Finished jobs are looked at for an hour after their end, so that the cost does not grow with history.
#: A bell rung long ago and not answered breaks nothing: it may lie behind a slow worker, which only the dispatcher can tell.
INVARIANTS: Mapping[str, str] = {
    # I3
    "succeeded_training_without_version": """
        SELECT count(*) FROM jobs WHERE finished_at > now() - interval '1 hour' AND state = 'succeeded'
          AND kind IN ('train', 'pretrain', 'import', 'anomaly_train') AND children IS NULL AND model_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM versions WHERE job_id = jobs.id)""",
    "version_of_unsuccessful_job": """
        SELECT count(*) FROM jobs JOIN versions ON versions.job_id = jobs.id
        WHERE state <> 'succeeded' AND (finished_at IS NULL OR finished_at > now() - interval '1 hour')""",
    # I4
    "version_under_stale_fence": """
        SELECT count(*) FROM jobs JOIN versions ON versions.job_id = jobs.id
        WHERE finished_at > now() - interval '1 hour' AND versions.fence IS DISTINCT FROM jobs.fence""",
    # I6
    "lease_not_reaped": """
        SELECT count(*) FROM jobs WHERE state = 'running' AND lease_until < clock_timestamp() - make_interval(secs => 2 * :lease_s)
          AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => 3 * :lease_s)""",
    # I8
    "gap_in_versions": """
        SELECT count(*) FROM (
          SELECT ROW(major, minor, patch) AS here, lag(major) OVER w AS a, lag(minor) OVER w AS b, lag(patch) OVER w AS c FROM versions
          WHERE model_id IN (SELECT model_id FROM jobs WHERE finished_at > now() - interval '1 hour')
          WINDOW w AS (PARTITION BY model_id ORDER BY major, minor, patch)
        ) AS steps WHERE a IS NOT NULL AND here NOT IN (ROW(a + 1, 0, 0), ROW(a, b + 1, 0), ROW(a, b, c + 1))""",
    # I10
    "tenant_over_quota": """
        SELECT count(*) FROM tenants JOIN LATERAL (
          SELECT count(*) AS n FROM jobs WHERE tenant_id = tenants.id AND state IN ('queued', 'running') AND pending_children IS NULL
        ) AS held ON held.n > tenants.max_unfinished""",
    "tenant_over_running_cap": """
        SELECT count(*) FROM (
          SELECT FROM jobs JOIN tenants ON tenants.id = tenant_id WHERE state = 'running' AND lease_until IS NOT NULL
          GROUP BY tenant_id, queue, max_running HAVING count(*) > max_running
        ) AS over""",
    "running_without_open_attempt": """
        SELECT count(*) FROM jobs WHERE state = 'running' AND lease_until IS NOT NULL
          AND NOT EXISTS (SELECT FROM attempts WHERE attempts.fence = jobs.fence AND attempts.job_id = jobs.id AND ended_at IS NULL)""",
    "parent_miscounts_children": """
        SELECT count(*) FROM jobs AS parent WHERE state = 'running' AND pending_children IS NOT NULL AND (
          pending_children = 0 OR pending_children <> (
            SELECT count(*) FROM jobs AS child WHERE child.parent_id = parent.id AND child.state IN ('queued', 'running')))""",
    "child_outlives_parent": """
        SELECT count(*) FROM jobs AS child JOIN jobs AS parent ON parent.id = child.parent_id
        WHERE child.state IN ('queued', 'running') AND parent.finished_at IS NOT NULL""",
}


def violations(session: Session, *, lease_s: float = 30.0) -> dict[str, int]:
    """The invariants that are broken and by how many rows; empty when all is well.

    Those about quotas also speak after a quota was lowered.
    """
    counts = {name: session.execute(text(sql), {"lease_s": lease_s}).scalar_one() for name, sql in INVARIANTS.items()}
    return {name: n for name, n in counts.items() if n}
