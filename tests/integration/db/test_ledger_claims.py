"""One claim per job, however often and by how many it is asked for, and never more than the tenant may run."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text

from db import ledger
from db.ledger import Claim
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once


def test_a_claim_starts_an_attempt_under_a_lease(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    claim = desk.held(sessions, job_id, "gpu/bell-1")
    row = desk.job(sessions, job_id)
    assert (claim.job_id, claim.tenant_id, claim.fence, claim.attempt) == (job_id, acme, row.fence, 1)
    assert (row.state, row.rev, row.attempt, row.lease_owner) == ("running", 2, 1, "gpu/bell-1")
    assert row.started_at is not None
    assert row.lease_until is not None
    assert abs((row.lease_until - row.started_at).total_seconds() - desk.LEASE_S) < 1
    assert desk.attempts(sessions, job_id) == [(1, None)]
    assert claim.job.state == "running", "the snapshot is of the job as claimed"


def test_a_bell_rung_twice_finds_nothing_to_claim(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    assert desk.claim(sessions, claim.job_id, "gpu/2") is None
    row = desk.job(sessions, claim.job_id)
    assert (row.fence, row.lease_owner, row.attempt) == (claim.fence, "gpu/1", 1)
    with sessions.begin() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {})
    assert desk.claim(sessions, claim.job_id) is None


def test_of_claimers_at_once_one_gets_the_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    for _ in range(5):
        job_id = desk.queued(sessions, acme)
        claims = at_once(*[partial(desk.claim, sessions, job_id, f"gpu/{n}") for n in range(6)])
        [won] = [claim for claim in claims if claim is not None]
        assert desk.job(sessions, job_id).fence == won.fence
        assert desk.attempts(sessions, job_id) == [(1, None)]


def test_a_claimer_behind_another_finds_nothing(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    second = desk.behind(
        sessions,
        lambda session: ledger.claim(session, job_id, "gpu/1", desk.LEASE_S),
        lambda session: ledger.claim(session, job_id, "gpu/2", desk.LEASE_S),
    )
    assert second is None
    assert desk.job(sessions, job_id).lease_owner == "gpu/1"


def test_every_claim_has_a_higher_fence(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    fences = []
    for _ in range(3):
        claim = desk.held(sessions, job_id)
        fences.append(claim.fence)
        with sessions.begin() as session:
            ledger.release(session, job_id, claim.fence)
    assert fences == sorted(set(fences))


@pytest.mark.parametrize(
    "change",
    [
        "available_at = clock_timestamp() + interval '1 minute'",
        "cancel_requested = true",
        "deadline_at = clock_timestamp() - interval '1 second'",
    ],
)
def test_not_every_queued_job_may_be_claimed(sessions: Sessions, change: str) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job_id})
    before = desk.job(sessions, job_id).available_at
    assert desk.claim(sessions, job_id) is None
    after = desk.job(sessions, job_id)
    assert (after.state, after.available_at) == ("queued", before), "and it is not postponed either"


def test_unknown_jobs_and_parents_are_never_claimed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, _ = desk.batch(sessions, acme, 1)
    assert desk.claim(sessions, parent) is None
    assert desk.claim(sessions, "job_none") is None
    assert desk.job(sessions, parent).lease_until is None


def assert_postponed(sessions: Sessions, job_id: str) -> None:
    with sessions.begin() as session:
        waits = text("SELECT extract(epoch FROM available_at - clock_timestamp())::float, dispatched_at, attempt FROM jobs WHERE id = :id")
        seconds, dispatched_at, attempt = session.execute(waits, {"id": job_id}).one()
    assert 3 < seconds <= 5
    assert (dispatched_at, attempt) == (None, 0)


def test_a_second_training_of_a_model_is_postponed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    first = desk.running(sessions, acme, model_id=model)
    second = desk.queued(sessions, acme, model_id=model)
    with sessions.begin() as session:
        ledger.dispatched(session, [second])
    assert desk.claim(sessions, second) is None
    assert_postponed(sessions, second)
    with sessions.begin() as session:
        ledger.succeed(session, first.job_id, first.fence, {})
    desk.wake(sessions)
    assert desk.claim(sessions, second) is not None


def test_a_prediction_runs_beside_a_training_of_its_model(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    desk.running(sessions, acme, model_id=model)
    assert desk.running(sessions, acme, model_id=model, kind="predict", queue="interactive")
    assert desk.running(sessions, acme, model_id=model, kind="predict", queue="interactive")


def test_trainings_of_one_model_claimed_at_once(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    waiting = [desk.queued(sessions, acme, model_id=model) for _ in range(5)]
    claims = at_once(*[partial(desk.claim, sessions, job_id) for job_id in waiting])
    assert len([claim for claim in claims if claim]) == 1


def test_the_running_cap_is_hard_and_counts_each_queue_for_itself(sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_running=2)
    desk.batch(sessions, acme, 1)  # a parent takes no place
    desk.running(sessions, acme)
    last = desk.running(sessions, acme)
    waiting = desk.queued(sessions, acme)
    assert desk.claim(sessions, waiting) is None
    assert_postponed(sessions, waiting)
    assert desk.running(sessions, acme, queue="interactive", kind="predict")
    assert desk.running(sessions, desk.tenant(sessions, "other"))
    with sessions.begin() as session:
        ledger.fail(session, last.job_id, last.fence, desk.BAD)
    desk.wake(sessions)
    assert desk.claim(sessions, waiting) is not None


def test_what_is_begun_where_it_was_written_takes_no_place(sessions: Sessions) -> None:
    """Until the commit nobody sees it, and then it has ended."""
    acme = desk.tenant(sessions, max_running=0)
    with sessions.begin() as session:
        job, _ = ledger.submit(session, desk.new(acme, kind="import", max_attempts=1))
        claim = ledger.begin(session, job.id, "web/1", desk.LEASE_S)
        with sessions() as elsewhere:
            assert ledger.page(elsewhere, acme, limit=10) == []
        ledger.succeed(session, job.id, claim.fence, {"base": "b"})
    row = desk.job(sessions, job.id)
    assert (row.state, row.rev, row.attempt, row.fence, row.lease_owner) == ("succeeded", 3, 1, claim.fence, None)
    assert row.started_at is not None
    assert row.finished_at is not None
    assert desk.attempts(sessions, job.id) == [(1, "succeeded")]


def test_the_running_cap_holds_for_claimers_at_once(sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_running=3)
    waiting = [desk.queued(sessions, acme) for _ in range(10)]
    claims = at_once(*[partial(desk.claim, sessions, job_id) for job_id in waiting])
    assert len([claim for claim in claims if claim]) == 3


def cohort(sessions: Sessions, leader: Claim, limit: int = 10) -> set[str]:
    with sessions.begin() as session:
        mates = ledger.join_cohort(session, leader, limit, "gpu/1", desk.LEASE_S)
    assert len({mate.fence for mate in mates} | {leader.fence}) == len(mates) + 1, "each has a fence of its own"
    return {mate.job_id for mate in mates}


def test_jobs_of_one_shape_join(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    models = desk.models(sessions, acme, 4)
    leader = desk.running(sessions, acme, shape_key="s", model_id=models[0])
    mates = {desk.queued(sessions, acme, shape_key="s", model_id=model) for model in models[1:]}
    assert cohort(sessions, leader) == mates
    for mate in mates:
        row = desk.job(sessions, mate)
        assert (row.state, row.lease_owner, row.attempt) == ("running", "gpu/1", 1)
        assert desk.attempts(sessions, mate) == [(1, None)]
    assert cohort(sessions, leader) == set()


@pytest.mark.parametrize(
    "unlike", [{"shape_key": "t"}, {"shape_key": None}, {"kind": "backtest"}, {"queue": "batch"}], ids=lambda unlike: next(iter(unlike))
)
def test_unlike_jobs_do_not_join(sessions: Sessions, unlike: dict[str, str | None]) -> None:
    acme = desk.tenant(sessions)
    leader = desk.running(sessions, acme, shape_key="s")
    desk.queued(sessions, acme, **{"shape_key": "s", **unlike})
    assert cohort(sessions, leader) == set()


def test_jobs_of_other_tenants_do_not_join(sessions: Sessions) -> None:
    leader = desk.running(sessions, desk.tenant(sessions), shape_key="s")
    desk.queued(sessions, desk.tenant(sessions, "other"), shape_key="s")
    assert cohort(sessions, leader) == set()


@pytest.mark.parametrize(
    "change",
    [
        "crashes = 1",
        "attempt = 2",
        "cancel_requested = true",
        "available_at = clock_timestamp() + interval '1 minute'",
        "deadline_at = clock_timestamp() - interval '1 second'",
    ],
)
def test_what_may_not_be_claimed_or_is_suspect_does_not_join(sessions: Sessions, change: str) -> None:
    acme = desk.tenant(sessions)
    leader = desk.running(sessions, acme, shape_key="s")
    other = desk.queued(sessions, acme, shape_key="s")
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": other})
    assert cohort(sessions, leader) == set()


def test_a_job_lost_once_with_its_machine_still_joins(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    lost = desk.running(sessions, acme, shape_key="s")
    desk.lapse(sessions, lost.job_id)
    with sessions.begin() as session:
        ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)
    assert cohort(sessions, desk.running(sessions, acme, shape_key="s")) == {lost.job_id}


@pytest.mark.parametrize("past", ["crashes = 1", "attempt = 2"])
def test_a_suspect_leader_runs_alone(sessions: Sessions, past: str) -> None:
    acme = desk.tenant(sessions)
    leader = desk.queued(sessions, acme, shape_key="s")
    desk.queued(sessions, acme, shape_key="s")
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {past} WHERE id = :id"), {"id": leader})
    assert cohort(sessions, desk.held(sessions, leader)) == set()


def test_one_job_per_model_joins_and_none_of_a_model_in_training(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [own, free, busy] = desk.models(sessions, acme, 3)
    desk.running(sessions, acme, model_id=busy)
    leader = desk.running(sessions, acme, shape_key="s", model_id=own)
    desk.queued(sessions, acme, shape_key="s", model_id=own)
    first = desk.queued(sessions, acme, shape_key="s", model_id=free)
    desk.queued(sessions, acme, shape_key="s", model_id=free)
    desk.queued(sessions, acme, shape_key="s", model_id=busy)
    assert cohort(sessions, leader) == {first}


def test_the_front_of_the_line_joins_first(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    leader = desk.running(sessions, acme, shape_key="s")
    late = [desk.queued(sessions, acme, shape_key="s") for _ in range(3)]
    urgent = desk.queued(sessions, acme, shape_key="s", priority=-1)
    assert cohort(sessions, leader, limit=2) == {urgent, late[0]}


def test_a_cohort_stays_within_the_running_cap(sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_running=3)
    leader = desk.running(sessions, acme, shape_key="s")
    for _ in range(5):
        desk.queued(sessions, acme, shape_key="s")
    assert len(cohort(sessions, leader)) == 2
    assert cohort(sessions, leader) == set()


def test_a_cohort_does_not_wait_for_what_another_holds(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    leader = desk.running(sessions, acme, shape_key="s")
    held, free = desk.queued(sessions, acme, shape_key="s"), desk.queued(sessions, acme, shape_key="s")
    with sessions.begin() as session:
        session.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": held})
        assert cohort(sessions, leader) == {free}


def test_leaders_at_once_share_the_jobs(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    leaders = [desk.running(sessions, acme, shape_key="s", owner=f"gpu/{n}") for n in range(3)]
    waiting = {desk.queued(sessions, acme, shape_key="s") for _ in range(9)}
    cohorts = at_once(*[partial(cohort, sessions, leader, 4) for leader in leaders])
    assert sum(map(len, cohorts)) == 9
    assert set().union(*cohorts) == waiting


def test_a_poisonous_member_fails_alone(sessions: Sessions) -> None:
    """The cohort of four dies with its process; each then runs by itself, and only the one that kills again is given up."""
    acme = desk.tenant(sessions)
    members = [desk.queued(sessions, acme, shape_key="s", deadline_s=None) for _ in range(4)]
    poison = members[2]
    leader = desk.held(sessions, members[0], "gpu/0")
    with sessions.begin() as session:
        ledger.join_cohort(session, leader, 10, "gpu/0", desk.LEASE_S)
        died = ledger.crashed(session, "gpu/0", max_crashes=3, error=desk.LOST)
    assert {(job.job_id, job.state) for job in died} == {(member, "queued") for member in members}
    for round_ in range(2):
        for member in members:
            if (claim := desk.claim(sessions, member, f"gpu/{member}")) is None:
                continue
            assert cohort(sessions, claim) == set(), f"alone in round {round_}"
            with sessions.begin() as session:
                if member == poison:
                    ledger.crashed(session, f"gpu/{member}", max_crashes=3, error=desk.LOST)
                else:
                    ledger.succeed(session, member, claim.fence, {})
    rows = [desk.job(sessions, member) for member in members]
    assert [row.state for row in rows] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert [row.crashes for row in rows] == [1, 1, 3, 1]
    assert rows[2].error == desk.LOST
    assert desk.attempts(sessions, poison) == [(1, "crashed"), (2, "crashed"), (3, "crashed")]
