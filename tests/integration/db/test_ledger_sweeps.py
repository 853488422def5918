"""What got stuck is brought on, once, by however many sweepers; what is in good hands is left alone."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from db import ledger
from db.models import IdempotencyKey
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once

TEN_YEARS_S = 10 * 365 * 86_400.0


def reap(sessions: Sessions, lease_s: float = desk.NO_PAUSE_S, limit: int = 500) -> list[ledger.Moved]:
    with sessions.begin() as session:
        return ledger.reap(session, lease_s=lease_s, error=desk.LOST, limit=limit)


def expire(sessions: Sessions) -> list[ledger.Moved]:
    with sessions.begin() as session:
        return ledger.expire(session, error=desk.LATE)


def finish_cancels(sessions: Sessions) -> list[ledger.Moved]:
    with sessions.begin() as session:
        return ledger.finish_cancels(session)


def purge(sessions: Sessions, **how: int) -> dict[str, int]:
    with sessions.begin() as session:
        return ledger.purge(session, **({"job_days": 30, "idempotency_hours": 24} | how))


def test_a_lapsed_lease_brings_the_job_back(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    lost, held = desk.running(sessions, acme), desk.running(sessions, acme)
    desk.lapse(sessions, lost.job_id)
    assert reap(sessions) == [(lost.job_id, acme, 3, "queued", None)]
    row = desk.job(sessions, lost.job_id)
    assert (row.attempt, row.crashes, row.error, row.lease_owner, row.dispatched_at) == (1, 0, None, None, None)
    assert desk.attempts(sessions, lost.job_id) == [(1, "lost")]
    assert desk.job(sessions, held.job_id).state == "running"
    assert desk.claim(sessions, lost.job_id) is not None, "due at once"


def test_a_job_lost_at_its_last_try_has_failed(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions), max_attempts=1)
    desk.lapse(sessions, claim.job_id)
    assert [moved.state for moved in reap(sessions)] == ["failed"]
    assert desk.job(sessions, claim.job_id).error == desk.LOST
    assert desk.attempts(sessions, claim.job_id) == [(1, "lost")]


@pytest.mark.parametrize("sweep", [reap, finish_cancels])
def test_a_lost_job_that_is_to_be_cancelled_is_cancelled(sessions: Sessions, sweep: object) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.cancel(session, acme, claim.job_id)
    assert callable(sweep)
    assert sweep(sessions) == [], "its worker is alive and will see to it"
    desk.lapse(sessions, claim.job_id)
    assert [moved.state for moved in sweep(sessions)] == ["cancelled"]
    assert desk.job(sessions, claim.job_id).error is None


def test_nothing_is_reaped_for_one_lease_after_postgres_started(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    desk.lapse(sessions, claim.job_id)
    assert reap(sessions, lease_s=TEN_YEARS_S) == []
    assert desk.job(sessions, claim.job_id).state == "running"
    assert len(reap(sessions)) == 1


def test_sweepers_at_once_share_the_work(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    lost = [desk.running(sessions, acme).job_id for _ in range(12)]
    desk.lapse(sessions, *lost)
    reaped = at_once(*[lambda: reap(sessions, limit=4)] * 4)
    while more := reap(sessions, limit=4):
        reaped.append(more)
    assert sorted(moved.job_id for each in reaped for moved in each) == sorted(lost)
    assert max(map(len, reaped)) <= 4
    assert all(desk.attempts(sessions, job_id) == [(1, "lost")] for job_id in lost)


def test_a_queued_job_past_its_deadline_has_failed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    late, early, never = (desk.queued(sessions, acme, deadline_s=seconds) for seconds in (60.0, 60.0, None))
    desk.pass_by(sessions, late, "deadline_at", 1)
    assert expire(sessions) == [(late, acme, 2, "failed", None)]
    assert desk.job(sessions, late).error == desk.LATE
    assert [desk.job(sessions, job_id).state for job_id in (early, never)] == ["queued", "queued"]
    assert expire(sessions) == []


def test_a_running_job_past_its_deadline_is_left_to_its_worker_while_that_lives(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    desk.pass_by(sessions, claim.job_id, "deadline_at", 1)
    assert expire(sessions) == []
    desk.lapse(sessions, claim.job_id)
    assert [moved.state for moved in expire(sessions)] == ["failed"]
    assert desk.job(sessions, claim.job_id).error == desk.LATE
    assert desk.attempts(sessions, claim.job_id) == [(1, "failed")]


def test_a_queued_job_with_a_cancel_waiting_is_cancelled(sessions: Sessions) -> None:
    job_id, other = (desk.queued(sessions, owner) for owner in [desk.tenant(sessions)] * 2)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET cancel_requested = true WHERE id = :id"), {"id": job_id})
    assert [(moved.job_id, moved.state) for moved in finish_cancels(sessions)] == [(job_id, "cancelled")]
    assert desk.job(sessions, other).state == "queued"


def finished(sessions: Sessions, job_id: str, days: int) -> None:
    """Make it have ended so many days ago. The trigger, rightly, has to be told to look away."""
    with sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        moment = text("UPDATE jobs SET finished_at = now() - make_interval(days => :days) WHERE id = :id")
        session.execute(moment, {"days": days, "id": job_id})


def test_jobs_that_ended_long_ago_are_purged(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    old, recent = desk.running(sessions, acme), desk.running(sessions, acme)
    with sessions.begin() as session:
        for claim in (old, recent):
            ledger.succeed(session, claim.job_id, claim.fence, {})
    desk.running(sessions, acme)
    finished(sessions, old.job_id, 31)
    finished(sessions, recent.job_id, 29)
    assert purge(sessions) == {"jobs": 1, "idempotency_keys": 0}
    with sessions.begin() as session:
        assert {job.id for job in ledger.page(session, acme, state="succeeded", limit=9)} == {recent.job_id}
        assert len(ledger.page(session, acme, limit=9)) == 2
    assert desk.attempts(sessions, old.job_id) == []


def test_items_go_with_their_parent_and_not_before_it(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [first, second] = desk.batch(sessions, acme, 2)
    with sessions.begin() as session:
        ledger.cancel(session, acme, first)
    finished(sessions, first, 31)
    assert purge(sessions)["jobs"] == 0
    with sessions.begin() as session:
        ledger.cancel(session, acme, second)
    finished(sessions, parent, 31)
    assert purge(sessions)["jobs"] == 1
    with sessions.begin() as session:
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


def test_idempotency_keys_are_forgotten_after_their_time(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    with sessions.begin() as session:
        for key, hours in (("old", 25), ("new", 23)):
            assert ledger.recall(session, acme, "/train", key, "sha") is None
            ledger.remember(session, acme, "/train", key, "sha", job_id)
            session.execute(
                text("UPDATE idempotency_keys SET created_at = now() - make_interval(hours => :h) WHERE key = :k"), {"h": hours, "k": key}
            )
    assert purge(sessions) == {"jobs": 0, "idempotency_keys": 1}
    with sessions.begin() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


def test_a_purge_takes_no_more_than_its_limit(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    for _ in range(3):
        job_id = desk.queued(sessions, acme)
        with sessions.begin() as session:
            ledger.cancel(session, acme, job_id)
        finished(sessions, job_id, 31)
    assert [purge(sessions, limit=2)["jobs"] for _ in range(3)] == [2, 1, 0]
