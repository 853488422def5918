"""A parent ends with its last child, whoever that is, and a cancel reaches everything below it without a deadlock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from db import ledger
from db.errors import NotFound
from db.ledger import Claim
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once


def end(sessions: Sessions, claim: Claim, way: Callable[..., list[ledger.Moved]], *rest: Any) -> list[ledger.Moved]:
    with sessions.begin() as session:
        return way(session, claim.job_id, claim.fence, *rest)


def test_a_parent_ends_with_its_last_child(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, children = desk.batch(sessions, acme, 3)
    first, second, third = (desk.held(sessions, child) for child in children)
    assert [moved.job_id for moved in end(sessions, second, ledger.succeed, {})] == [second.job_id]
    assert [moved.job_id for moved in end(sessions, first, ledger.fail, desk.BAD)] == [first.job_id]
    assert desk.job(sessions, parent).pending_children == 1
    moved = end(sessions, third, ledger.cancelled)
    row = desk.job(sessions, parent)
    assert moved[1] == (parent, acme, row.rev, "succeeded", None)
    assert (row.state, row.rev, row.pending_children, row.error) == ("succeeded", 2, 0, None)
    assert row.result == {"total": 3, "succeeded": 1, "failed": 1, "cancelled": 1, "has_failures": True}
    assert row.finished_at is not None


def test_a_batch_that_succeeded_wholly_has_no_failures(sessions: Sessions) -> None:
    parent, [child] = desk.batch(sessions, desk.tenant(sessions), 1)
    end(sessions, desk.held(sessions, child), ledger.succeed, {})
    assert desk.job(sessions, parent).result == {"total": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "has_failures": False}


def test_a_batch_of_which_nothing_succeeded_has_failed(sessions: Sessions) -> None:
    parent, children = desk.batch(sessions, desk.tenant(sessions), 2)
    for child in children:
        end(sessions, desk.held(sessions, child), ledger.fail, desk.BAD)
    row = desk.job(sessions, parent)
    assert (row.state, row.pending_children) == ("failed", 0)
    assert row.error is not None
    assert (row.error["code"], row.error["type"], row.error["detail"][:6]) == ("batch_failed", "/problems/batch_failed", "0 of 2")
    assert row.result == {"total": 2, "succeeded": 0, "failed": 2, "cancelled": 0, "has_failures": True}


def test_a_child_that_is_tried_again_does_not_count_as_ended(sessions: Sessions) -> None:
    parent, [child] = desk.batch(sessions, desk.tenant(sessions), 1)
    claim = desk.held(sessions, child)
    with sessions.begin() as session:
        ledger.retry_later(session, child, claim.fence, desk.BAD, 0)
    assert desk.job(sessions, parent).pending_children == 1


@pytest.mark.parametrize("n", [2, 12])
def test_children_that_end_at_once_end_the_parent_once(sessions: Sessions, n: int) -> None:
    acme = desk.tenant(sessions)
    for _ in range(4):
        parent, children = desk.batch(sessions, acme, n)
        claims = [desk.held(sessions, child) for child in children]
        ways: list[tuple[Callable[..., list[ledger.Moved]], Any]] = [(ledger.succeed, {}), (ledger.fail, desk.BAD)] * n
        moved = at_once(*[partial(end, sessions, claim, way, rest) for claim, (way, rest) in zip(claims, ways, strict=False)])
        assert [job.job_id for each in moved for job in each].count(parent) == 1
        row = desk.job(sessions, parent)
        assert (row.state, row.pending_children, row.rev) == ("succeeded", 0, 2)
        assert row.result == {"total": n, "succeeded": n // 2, "failed": n // 2, "cancelled": 0, "has_failures": True}


def test_the_last_child_waits_for_the_one_before_it_and_counts_it(sessions: Sessions) -> None:
    parent, children = desk.batch(sessions, desk.tenant(sessions), 2)
    first, last = (desk.held(sessions, child) for child in children)
    moved = desk.behind(
        sessions,
        lambda session: ledger.succeed(session, first.job_id, first.fence, {}),
        lambda session: ledger.fail(session, last.job_id, last.fence, desk.BAD),
    )
    assert [job.job_id for job in moved] == [last.job_id, parent]
    assert desk.job(sessions, parent).result == {"total": 2, "succeeded": 1, "failed": 1, "cancelled": 0, "has_failures": True}


def test_a_child_that_rolls_back_leaves_the_parent_alone(sessions: Sessions) -> None:
    parent, children = desk.batch(sessions, desk.tenant(sessions), 2)
    first, last = (desk.held(sessions, child) for child in children)
    moved = desk.behind(
        sessions,
        lambda session: ledger.succeed(session, first.job_id, first.fence, {}),
        lambda session: ledger.fail(session, last.job_id, last.fence, desk.BAD),
        commit=False,
    )
    assert [job.job_id for job in moved] == [last.job_id]
    assert desk.job(sessions, parent).pending_children == 1
    end(sessions, first, ledger.succeed, {})
    assert desk.job(sessions, parent).state == "succeeded"


def test_a_parent_is_never_reaped_nor_expired(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, _ = desk.batch(sessions, acme, 1)
    desk.pass_by(sessions, parent, "deadline_at", 1)
    with sessions.begin() as session:
        assert ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST) == []
        assert ledger.expire(session, error=desk.LATE) == []
        assert ledger.finish_cancels(session) == []
    assert desk.job(sessions, parent).state == "running"


def test_sweeps_end_parents_too(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    (one, [late]), (two, [lost]) = desk.batch(sessions, acme, 1), desk.batch(sessions, acme, 1, max_attempts=1)
    desk.pass_by(sessions, late, "deadline_at", 1)
    desk.held(sessions, lost)
    desk.lapse(sessions, lost)
    with sessions.begin() as session:
        expired = ledger.expire(session, error=desk.LATE)
    with sessions.begin() as session:
        reaped = ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)
    assert [job.job_id for job in expired] == [late, one]
    assert [job.job_id for job in reaped] == [lost, two]
    assert [desk.job(sessions, parent).state for parent in (one, two)] == ["failed", "failed"]


def cancel(sessions: Sessions, tenant_id: str, job_id: str) -> tuple[str, bool]:
    with sessions.begin() as session:
        job = ledger.cancel(session, tenant_id, job_id)
        return job.state, job.cancel_requested


def test_a_queued_job_is_cancelled_at_once(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    assert cancel(sessions, acme, job_id) == ("cancelled", False)
    assert desk.claim(sessions, job_id) is None
    assert desk.job(sessions, job_id).rev == 2


def test_a_running_job_is_asked_to_stop(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    assert cancel(sessions, acme, claim.job_id) == ("running", True)
    rev = desk.job(sessions, claim.job_id).rev
    assert rev == 3, "clients see it as cancelling, so it is a new revision"
    assert cancel(sessions, acme, claim.job_id) == ("running", True)
    assert desk.job(sessions, claim.job_id).rev == rev


def test_a_finished_job_is_left_as_it_is(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    end(sessions, claim, ledger.succeed, {})
    assert cancel(sessions, acme, claim.job_id) == ("succeeded", False)


def test_anothers_job_is_not_found(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    job_id = desk.queued(sessions, acme)
    with pytest.raises(NotFound, match="job"):
        cancel(sessions, other, job_id)
    assert desk.job(sessions, job_id).state == "queued"


def test_a_cancel_behind_a_claim_stops_the_running_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    job = desk.behind(
        sessions,
        lambda session: ledger.claim(session, job_id, "gpu/1", desk.LEASE_S),
        lambda session: ledger.cancel(session, acme, job_id),
    )
    assert (job.state, job.cancel_requested) == ("running", True)


def test_a_cancel_behind_a_retry_stops_the_queued_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    job = desk.behind(
        sessions,
        lambda session: ledger.retry_later(session, claim.job_id, claim.fence, desk.BAD, 0),
        lambda session: ledger.cancel(session, acme, claim.job_id),
    )
    assert job.state == "cancelled"


def test_a_claim_behind_a_cancel_finds_nothing(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    assert (
        desk.behind(
            sessions,
            lambda session: ledger.cancel(session, acme, job_id),
            lambda session: ledger.claim(session, job_id, "gpu/1", desk.LEASE_S),
        )
        is None
    )
    assert desk.job(sessions, job_id).state == "cancelled"


def test_cancelling_a_batch_reaches_its_children(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [waiting, at_work, done] = desk.batch(sessions, acme, 3)
    _, [neighbour] = desk.batch(sessions, acme, 1)
    end(sessions, desk.held(sessions, done), ledger.fail, desk.BAD)
    claim = desk.held(sessions, at_work)
    assert cancel(sessions, acme, parent) == ("running", True)
    states = [(row.state, row.cancel_requested) for row in (desk.job(sessions, child) for child in (waiting, at_work, done, neighbour))]
    assert states == [("cancelled", False), ("running", True), ("failed", False), ("queued", False)]
    assert desk.job(sessions, parent).pending_children == 1
    end(sessions, claim, ledger.cancelled)
    row = desk.job(sessions, parent)
    assert (row.state, row.error) == ("cancelled", None)
    assert row.result == {"total": 3, "succeeded": 0, "failed": 1, "cancelled": 2, "has_failures": True}
    assert cancel(sessions, acme, parent) == ("cancelled", True)


def test_a_waiting_batch_is_cancelled_at_once(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, _ = desk.batch(sessions, acme, 3)
    assert cancel(sessions, acme, parent) == ("cancelled", True)
    assert desk.job(sessions, parent).pending_children == 0


def test_a_cancelled_batch_of_which_something_succeeded_has_succeeded(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [first, _] = desk.batch(sessions, acme, 2)
    end(sessions, desk.held(sessions, first), ledger.succeed, {})
    assert cancel(sessions, acme, parent) == ("succeeded", True)


def test_cancelling_the_last_child_ends_the_parent(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [child] = desk.batch(sessions, acme, 1)
    cancel(sessions, acme, child)
    assert desk.job(sessions, parent).state == "failed", "nobody asked to cancel the batch itself"


@pytest.mark.parametrize("at_work", [4, 8])
def test_a_cancel_racing_with_finishing_children(sessions: Sessions, at_work: int) -> None:
    """Eight children, some running; the cancel, a second one, and every end at once: no deadlock, and the counts are right."""
    acme = desk.tenant(sessions)
    for _ in range(5):
        parent, children = desk.batch(sessions, acme, 8)
        claims = [desk.held(sessions, child) for child in reversed(children[:at_work])]
        beats = {claim.job_id: claim.fence for claim in claims}

        def beat(beats: dict[str, int] = beats) -> None:
            with sessions.begin() as session:
                ledger.beat(session, beats, desk.LEASE_S)

        ends = [partial(end, sessions, claim, ledger.succeed, {}) for claim in claims]
        at_once(*ends, partial(cancel, sessions, acme, parent), partial(cancel, sessions, acme, parent), beat)
        row = desk.job(sessions, parent)
        cancelled = 8 - at_work
        assert (row.state, row.pending_children) == ("succeeded", 0)
        assert row.result == {"total": 8, "succeeded": at_work, "failed": 0, "cancelled": cancelled, "has_failures": False}
        with sessions.begin() as session:
            assert set(ledger.violations(session)) <= {"succeeded_training_without_version"}


def test_sweeps_racing_with_cancels_and_ends(sessions: Sessions) -> None:
    """Two batches whose children lapse, end, crash and are cancelled all at once: every row and every parent ends where it may."""
    acme = desk.tenant(sessions)
    for _ in range(4):
        batches = [desk.batch(sessions, acme, 6) for _ in range(2)]
        lapsed, finishing, crashing = [], [], []
        for _, children in batches:
            lapsed += [desk.held(sessions, child, "a/1") for child in children[:2]]
            finishing += [desk.held(sessions, child, "b/1") for child in children[2:4]]
            crashing += [desk.held(sessions, child, "c/1") for child in children[4:]]
        desk.lapse(sessions, *[claim.job_id for claim in lapsed])

        def crash() -> None:
            with sessions.begin() as session:
                ledger.crashed(session, "c/1", max_crashes=1, error=desk.LOST)

        def reap() -> None:
            with sessions.begin() as session:
                ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)

        at_once(
            *[partial(end, sessions, claim, ledger.fail, desk.BAD) for claim in finishing],
            *[partial(cancel, sessions, acme, parent) for parent, _ in batches],
            crash,
            reap,
            reap,
        )
        reap()  # what was locked just then
        for parent, children in batches:
            states = [desk.job(sessions, child).state for child in children]
            assert states[2:4] == ["failed", "failed"]
            assert set(states[:2] + states[4:]) <= {"cancelled", "failed"}
            row = desk.job(sessions, parent)
            assert (row.state, row.pending_children) == ("cancelled", 0)
            assert row.result is not None
            assert row.result["cancelled"] == states.count("cancelled")
