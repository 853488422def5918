"""Who has lost the fence writes nothing; who holds it learns what is wanted, and lets go in one of five ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from db import ledger
from db.errors import FenceLost
from db.session import Sessions
from tests.support import ledger as desk

WAYS_OUT: dict[str, Callable[[Session, str, int], Any]] = {
    "hold": ledger.hold,
    "succeed": lambda session, job_id, fence: ledger.succeed(session, job_id, fence, {}),
    "fail": lambda session, job_id, fence: ledger.fail(session, job_id, fence, desk.BAD),
    "cancelled": ledger.cancelled,
    "retry_later": lambda session, job_id, fence: ledger.retry_later(session, job_id, fence, desk.BAD, 0),
    "release": ledger.release,
}


def test_a_beat_renews_the_lease_and_writes_progress(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    one, two = desk.running(sessions, acme), desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.beat(session, {two.job_id: two.fence}, 60, {two.job_id: {"epoch": 1}})
    desk.lapse(sessions, one.job_id, two.job_id)
    with sessions.begin() as session:
        pulses = ledger.beat(session, {one.job_id: one.fence, two.job_id: two.fence}, 60, {one.job_id: {"epoch": 7}})
    assert pulses == {claim.job_id: ledger.Pulse(claim.job_id, claim.fence, False, False, False) for claim in (one, two)}
    rows = [desk.job(sessions, claim.job_id) for claim in (one, two)]
    assert [row.progress for row in rows] == [{"epoch": 7}, {"epoch": 1}], "without new progress the last one stays"
    assert [row.rev for row in rows] == [2, 2], "a beat is no transition"
    with sessions.begin() as session:
        assert ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST) == [], "a lapsed lease that was renewed is not reaped"


def test_a_beat_over_nothing_answers_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert ledger.beat(session, {}, 60) == {}


def test_a_row_that_another_holds_is_passed_over_and_not_lost(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    busy, free = desk.running(sessions, acme), desk.running(sessions, acme)
    desk.lapse(sessions, busy.job_id, free.job_id)
    before = [desk.job(sessions, claim.job_id).lease_until for claim in (busy, free)]
    with sessions.begin() as publisher:
        ledger.hold(publisher, busy.job_id, busy.fence)
        with sessions.begin() as session:
            assert set(ledger.beat(session, {claim.job_id: claim.fence for claim in (busy, free)}, 60)) == {busy.job_id, free.job_id}
    after = [desk.job(sessions, claim.job_id).lease_until for claim in (busy, free)]
    assert [then == now for then, now in zip(before, after, strict=True)] == [True, False]


def test_a_beat_hears_of_cancel_drain_and_deadline(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    unwanted, drained, late = (desk.running(sessions, acme, owner=owner) for owner in ("a/1", "b/1", "c/1"))
    desk.pass_by(sessions, late.job_id, "deadline_at", 1)
    with sessions.begin() as session:
        ledger.cancel(session, acme, unwanted.job_id)
        ledger.drain(session, "b")
        pulses = ledger.beat(session, {claim.job_id: claim.fence for claim in (unwanted, drained, late)}, 60)
    heard = [(pulse.cancel, pulse.drain, pulse.deadline_passed) for pulse in (pulses[c.job_id] for c in (unwanted, drained, late))]
    assert heard == [(True, False, False), (False, True, False), (False, False, True)]


def test_a_job_without_deadline_is_never_late(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions), deadline_s=None)
    with sessions.begin() as session:
        assert ledger.beat(session, {claim.job_id: claim.fence}, 60)[claim.job_id].deadline_passed is False


def lost_and_taken_again(sessions: Sessions, acme: str) -> tuple[str, int, int]:
    """A job, the fence of the worker that went silent, and the fence of the one that has it now."""
    old = desk.running(sessions, acme)
    desk.lapse(sessions, old.job_id)
    with sessions.begin() as session:
        ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)
    return old.job_id, old.fence, desk.held(sessions, old.job_id, "gpu/2").fence


def test_a_beat_under_a_lost_fence_is_not_answered(sessions: Sessions) -> None:
    job_id, stale, _ = lost_and_taken_again(sessions, desk.tenant(sessions))
    before = desk.job(sessions, job_id)
    with sessions.begin() as session:
        assert ledger.beat(session, {job_id: stale}, 999, {job_id: {"epoch": 99}}) == {}
    after = desk.job(sessions, job_id)
    assert (after.progress, after.lease_until) == (before.progress, before.lease_until)


def publish(sessions: Sessions, acme: str, let_go: Callable[[Session], Any]) -> None:
    """An effect (a row of the kind `effect`), and then the end of the job, in one transaction."""
    with sessions.begin() as session:
        ledger.submit(session, desk.new(acme, kind="effect"))
        let_go(session)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_is_written_under_a_lost_fence(sessions: Sessions, way: str) -> None:
    acme = desk.tenant(sessions)
    job_id, stale, valid = lost_and_taken_again(sessions, acme)
    before = desk.job(sessions, job_id)
    with pytest.raises(FenceLost) as refused:
        publish(sessions, acme, lambda session: WAYS_OUT[way](session, job_id, stale))
    assert (refused.value.job_id, refused.value.fence) == (job_id, stale)
    after = desk.job(sessions, job_id)
    assert (after.state, after.fence, after.rev) == ("running", valid, before.rev)
    with sessions.begin() as session:
        assert ledger.page(session, acme, kind="effect", limit=1) == [], "the effects of the transaction are gone with it"
    assert desk.attempts(sessions, job_id) == [(1, "lost"), (2, None)]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_finished_job_has_no_fence_to_hold(sessions: Sessions, way: str) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {"done": True})
    with pytest.raises(FenceLost), sessions.begin() as session:
        WAYS_OUT[way](session, claim.job_id, claim.fence)
    assert desk.job(sessions, claim.job_id).result == {"done": True}


def test_who_holds_a_job_cannot_be_reaped_before_the_commit(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    desk.lapse(sessions, claim.job_id)
    with sessions.begin() as publisher:
        assert ledger.hold(publisher, claim.job_id, claim.fence).id == claim.job_id
        with sessions.begin() as session:
            assert ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST) == []
        ledger.succeed(publisher, claim.job_id, claim.fence, {})
    assert desk.job(sessions, claim.job_id).state == "succeeded"


def test_success_keeps_result_and_warnings(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        [moved] = ledger.succeed(session, claim.job_id, claim.fence, {"version": "1.0.0"}, [{"code": "flat"}])
    row = desk.job(sessions, claim.job_id)
    assert moved == (row.id, row.tenant_id, row.rev, row.state, None)
    assert (row.state, row.rev, row.result, row.warnings, row.error) == ("succeeded", 3, {"version": "1.0.0"}, [{"code": "flat"}], None)
    assert (row.lease_owner, row.lease_until, row.fence) == (None, None, claim.fence)
    assert row.finished_at is not None
    assert desk.attempts(sessions, claim.job_id) == [(1, "succeeded")]


def test_failure_keeps_the_problem(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        ledger.fail(session, claim.job_id, claim.fence, desk.BAD)
    row = desk.job(sessions, claim.job_id)
    assert (row.state, row.error, row.result) == ("failed", desk.BAD, None)
    assert desk.attempts(sessions, claim.job_id) == [(1, "failed")]


def test_a_stopped_job_is_cancelled(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        ledger.cancelled(session, claim.job_id, claim.fence)
    assert desk.job(sessions, claim.job_id).state == "cancelled"
    assert desk.attempts(sessions, claim.job_id) == [(1, "cancelled")]


def test_a_transient_failure_waits_and_is_tried_until_the_tries_are_used_up(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions), max_attempts=2)
    with sessions.begin() as session:
        ledger.dispatched(session, [job_id])
    claim = desk.held(sessions, job_id)
    with sessions.begin() as session:
        assert ledger.retry_later(session, job_id, claim.fence, desk.BAD, 30) is True
        waits = text("SELECT extract(epoch FROM available_at - clock_timestamp())::float FROM jobs WHERE id = :id")
        assert 28 < session.execute(waits, {"id": job_id}).scalar_one() <= 30
    row = desk.job(sessions, job_id)
    assert (row.state, row.attempt, row.dispatched_at, row.error, row.lease_until) == ("queued", 1, None, None, None)
    assert desk.claim(sessions, job_id) is None
    desk.wake(sessions)
    claim = desk.held(sessions, job_id)
    with sessions.begin() as session:
        assert ledger.retry_later(session, job_id, claim.fence, desk.BAD, 30) is False
    row = desk.job(sessions, job_id)
    assert (row.state, row.attempt, row.error) == ("failed", 2, desk.BAD)
    assert desk.attempts(sessions, job_id) == [(1, "retried"), (2, "failed")]


def test_how_a_try_ended_stays_written(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.retry_later(session, claim.job_id, claim.fence, desk.BAD, 0)
        ledger.cancel(session, acme, claim.job_id)
    assert desk.job(sessions, claim.job_id).state == "cancelled"
    assert desk.attempts(sessions, claim.job_id) == [(1, "retried")]


@pytest.mark.parametrize("way", ["retry_later", "release"])
def test_what_is_to_be_cancelled_does_not_go_back_to_the_queue(sessions: Sessions, way: str) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.cancel(session, acme, claim.job_id)
        assert WAYS_OUT[way](session, claim.job_id, claim.fence) is not True
    assert desk.job(sessions, claim.job_id).state == "cancelled"


def test_a_cancel_that_commits_meanwhile_is_seen(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    went_back = desk.behind(
        sessions,
        lambda session: ledger.cancel(session, acme, claim.job_id),
        lambda session: ledger.retry_later(session, claim.job_id, claim.fence, desk.BAD, 0),
    )
    assert went_back is False
    assert desk.job(sessions, claim.job_id).state == "cancelled"


def test_work_that_is_done_when_the_cancel_comes_counts(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.cancel(session, acme, claim.job_id)
        ledger.succeed(session, claim.job_id, claim.fence, {})
    assert desk.job(sessions, claim.job_id).state == "succeeded"


def test_a_drained_try_is_not_counted(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme, max_attempts=1)
    for _ in range(3):
        claim = desk.held(sessions, job_id, "gpu/1")
        with sessions.begin() as session:
            assert ledger.drain(session, "gpu") == 1
            assert ledger.drain(session, "gpu") == 0, "it has heard it already"
            ledger.release(session, job_id, claim.fence)
    row = desk.job(sessions, job_id)
    assert (row.state, row.attempt, row.drain_requested, row.dispatched_at) == ("queued", 0, False, None)
    assert desk.attempts(sessions, job_id) == [(1, "drained")] * 3
    assert desk.claim(sessions, job_id) is not None


def test_a_job_left_to_another_is_due_after_the_pause_and_the_try_is_not_counted(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme, max_attempts=1)
    claim = desk.held(sessions, job_id, "old/1")
    with sessions.begin() as session:
        ledger.release(session, job_id, claim.fence, outcome="handed_back", delay_s=60.0)
    row = desk.job(sessions, job_id)
    assert (row.state, row.attempt) == ("queued", 0)
    assert desk.attempts(sessions, job_id) == [(1, "handed_back")]
    assert desk.claim(sessions, job_id) is None, "not due yet"


def test_a_drain_is_for_one_worker_only(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claims = [desk.running(sessions, acme, owner=owner) for owner in ("gpu/1", "gpu/2", "gpu-b/1", "gp%/1")]
    with sessions.begin() as session:
        assert ledger.drain(session, "gpu") == 2
    assert [desk.job(sessions, claim.job_id).drain_requested for claim in claims] == [True, True, False, False]


def test_a_crash_counts_for_all_jobs_of_that_process_and_no_others(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    first, second = desk.running(sessions, acme, owner="gpu/1"), desk.running(sessions, acme, owner="gpu/1")
    other = desk.running(sessions, acme, owner="gpu/2")
    done = desk.running(sessions, acme, owner="gpu/1")
    with sessions.begin() as session:
        ledger.succeed(session, done.job_id, done.fence, {})
        ledger.cancel(session, acme, second.job_id)
        moved = ledger.crashed(session, "gpu/1", max_crashes=3, error=desk.LOST)
    assert {(job.job_id, job.state, job.rev) for job in moved} == {(first.job_id, "queued", 3), (second.job_id, "cancelled", 4)}
    row = desk.job(sessions, first.job_id)
    assert (row.crashes, row.attempt, row.error, row.dispatched_at) == (1, 1, None, None)
    assert desk.job(sessions, other.job_id).state == "running"
    assert desk.attempts(sessions, first.job_id) == [(1, "crashed")]
    assert desk.claim(sessions, first.job_id) is not None, "due at once"


def test_a_crash_at_the_last_try_ends_the_job(sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions), max_attempts=1)
    with sessions.begin() as session:
        [moved] = ledger.crashed(session, "gpu/1", max_crashes=3, error=desk.LOST)
    assert moved.state == "failed"
    assert desk.job(sessions, claim.job_id).error == desk.LOST
