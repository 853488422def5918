"""A healthy ledger breaks no invariant, and each one notices what it is there for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from db import ledger
from db.ledger import INVARIANTS, Claim
from db.models import Version
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import START


def violations(sessions: Sessions) -> dict[str, int]:
    with sessions.begin() as session:
        return ledger.violations(session, lease_s=desk.NO_PAUSE_S)


def publish(sessions: Sessions, claim: Claim, *, semver: tuple[int, int, int] = (1, 0, 0), **fields: Any) -> None:
    """The version and the end of its job, in one transaction."""
    given: dict[str, Any] = {
        "tenant_id": claim.tenant_id,
        "model_id": claim.job.model_id,
        "job_id": claim.job_id,
        "fence": claim.fence,
        "target": "rhr",
        "spec": {},
        "spec_hash": "h",
        "signature": "s",
        "served_by": "lstm",
        "metrics": {},
        "gate": {},
        "artefact_sha256": "0",
        "artefact_bytes": 1,
        "data_from": START,
        "data_until": START,
    }
    major, minor, patch = semver
    with sessions.begin() as session:
        session.add(Version(major=major, minor=minor, patch=patch, **(given | fields)))
        ledger.succeed(session, claim.job_id, claim.fence, {})


def tamper(sessions: Sessions, statement: str, **given: object) -> None:
    """Do what no code of ours does, past the trigger."""
    with sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement), given)


@pytest.fixture
def acme(sessions: Sessions) -> str:
    """A tenant whose ledger holds something in every state."""
    acme = desk.tenant(sessions)
    models = desk.models(sessions, acme, 2)
    for semver in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)):
        publish(sessions, desk.running(sessions, acme, model_id=models[0]), semver=semver)
    failed = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.fail(session, failed.job_id, failed.fence, desk.BAD)
    _, [first, second, _] = desk.batch(sessions, acme, 3)
    with sessions.begin() as session:
        ledger.cancel(session, acme, first)
    desk.held(sessions, second)
    desk.running(sessions, acme, model_id=models[1])
    desk.queued(sessions, acme)
    assert violations(sessions) == {}
    return acme


def test_an_empty_ledger_is_healthy(sessions: Sessions) -> None:
    assert violations(sessions) == {}


def test_a_training_without_a_version(sessions: Sessions, acme: str) -> None:
    [model] = desk.models(sessions, acme, 1)
    claim = desk.running(sessions, acme, model_id=model)
    with sessions.begin() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {})
    assert violations(sessions) == {"succeeded_training_without_version": 1}


def test_a_version_of_a_job_that_did_not_succeed(sessions: Sessions, acme: str) -> None:
    tamper(sessions, "UPDATE versions SET job_id = (SELECT id FROM jobs WHERE state = 'failed') WHERE (major, minor, patch) = (2, 0, 0)")
    broken = violations(sessions)
    assert broken["version_of_unsuccessful_job"] == 1
    assert broken["succeeded_training_without_version"] == 1


def test_a_version_written_under_a_stale_fence(sessions: Sessions, acme: str) -> None:
    [model] = desk.models(sessions, acme, 1)
    claim = desk.running(sessions, acme, model_id=model)
    publish(sessions, claim, fence=claim.fence - 1)
    assert violations(sessions) == {"version_under_stale_fence": 1}


def test_a_lease_that_nobody_reaps(sessions: Sessions, acme: str) -> None:
    desk.lapse(sessions, desk.running(sessions, acme).job_id)
    assert violations(sessions) == {"lease_not_reaped": 1}
    with sessions.begin() as session:
        assert ledger.violations(session, lease_s=60) == {}, "it lapsed only a second ago"


@pytest.mark.parametrize("semver", [(2, 0, 2), (2, 2, 0), (4, 0, 0), (3, 0, 1), (3, 1, 0)])
def test_a_gap_in_the_versions(sessions: Sessions, acme: str, semver: tuple[int, int, int]) -> None:
    with sessions.begin() as session:
        model = session.execute(text("SELECT DISTINCT model_id FROM versions")).scalar_one()
    publish(sessions, desk.running(sessions, acme, model_id=model), semver=semver)
    assert violations(sessions) == {"gap_in_versions": 1}


def test_more_than_the_tenant_may_hold_or_run(sessions: Sessions, acme: str) -> None:
    tamper(sessions, "UPDATE tenants SET max_unfinished = 1, max_running = 1")
    assert violations(sessions) == {"tenant_over_quota": 1, "tenant_over_running_cap": 1}


def test_a_running_job_without_an_open_attempt(sessions: Sessions, acme: str) -> None:
    claim = desk.running(sessions, acme)
    tamper(sessions, "UPDATE attempts SET ended_at = now() WHERE fence = :fence", fence=claim.fence)
    assert violations(sessions) == {"running_without_open_attempt": 1}


@pytest.mark.parametrize("pending", [0, 1, 3])
def test_a_parent_that_miscounts_its_children(sessions: Sessions, acme: str, pending: int) -> None:
    tamper(sessions, "UPDATE jobs SET pending_children = :pending WHERE children IS NOT NULL", pending=pending)
    assert violations(sessions) == {"parent_miscounts_children": 1}


def test_a_parent_that_ended_before_its_children(sessions: Sessions, acme: str) -> None:
    tamper(sessions, "UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE children IS NOT NULL")
    assert violations(sessions) == {"child_outlives_parent": 2}


def test_every_invariant_has_a_test_here() -> None:
    """Add yours above, and its name below."""
    assert set(INVARIANTS) == {
        "succeeded_training_without_version",
        "version_of_unsuccessful_job",
        "version_under_stale_fence",
        "lease_not_reaped",
        "gap_in_versions",
        "tenant_over_quota",
        "tenant_over_running_cap",
        "running_without_open_attempt",
        "parent_miscounts_children",
        "child_outlives_parent",
    }
