"""Reading the ledger: only what is the tenant's own, in a steady order, and numbers that mean something."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from db import ledger
from db.errors import NotFound
from db.ledger import QueueDepth
from db.models import Entity
from db.session import Sessions
from tests.support import ledger as desk


def test_a_job_is_found_by_its_owner_only(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    job_id = desk.queued(sessions, acme)
    with sessions.begin() as session:
        assert ledger.get(session, acme, job_id).id == job_id
        for tenant_id, name in ((other, job_id), (acme, "job_none")):
            with pytest.raises(NotFound, match=name):
                ledger.get(session, tenant_id, name)


def test_a_read_is_of_the_row_as_it_is_now(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    with sessions.begin() as session:
        assert ledger.get(session, acme, job_id).state == "queued"
        desk.held(sessions, job_id)
        assert ledger.get(session, acme, job_id).state == "running"


def test_pages_are_newest_first_and_complete(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    asked = [desk.queued(sessions, acme) for _ in range(5)]
    desk.queued(sessions, other)
    seen: list[str] = []
    before = None
    with sessions.begin() as session:
        while page := ledger.page(session, acme, limit=2, before=before):
            seen += [job.id for job in page]
            before = (page[-1].created_at, page[-1].id)
    assert seen == asked[::-1]


def test_pages_tell_apart_jobs_of_the_same_instant(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    asked = {desk.queued(sessions, acme) for _ in range(4)}
    seen: list[str] = []
    before = None
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET created_at = '2026-01-01'"))
        while page := ledger.page(session, acme, limit=1, before=before):
            seen += [job.id for job in page]
            before = (page[-1].created_at, page[-1].id)
    assert seen == sorted(asked, reverse=True)


def test_pages_can_be_narrowed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        entity = Entity(tenant_id=acme, name="user-42")
        session.add(entity)
        session.flush()
        whose = entity.id
    training, prediction = desk.running(sessions, acme).job_id, desk.queued(sessions, acme, kind="predict")
    parent, [item] = desk.batch(sessions, acme, 1, entity_id=whose)
    with sessions.begin() as session:
        assert {job.id for job in ledger.page(session, acme, limit=9)} == {training, prediction, parent}, "without items of batches"
        assert [job.id for job in ledger.page(session, acme, kind="predict", limit=9)] == [prediction]
        assert {job.id for job in ledger.page(session, acme, state="running", limit=9)} == {training, parent}
        assert [job.id for job in ledger.page(session, acme, entity_id=whose, limit=9)] == [item]


def test_items_come_in_their_order_page_by_page(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    parent, children = desk.batch(sessions, acme, 5)
    desk.batch(sessions, acme, 1)
    desk.held(sessions, children[3])
    with sessions.begin() as session:
        assert [job.id for job in ledger.items(session, acme, parent, limit=3)] == children[:3]
        assert [job.id for job in ledger.items(session, acme, parent, limit=3, after=children[2])] == children[3:]
        assert [job.id for job in ledger.items(session, acme, parent, state="running", limit=3)] == [children[3]]
        assert ledger.items(session, other, parent, limit=3) == []
        assert ledger.item_counts(session, parent) == {"queued": 4, "running": 1}


def test_queues_tell_how_full_they_are(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    oldest = desk.queued(sessions, acme)
    desk.batch(sessions, acme, 2)  # whose parent is in no queue
    desk.pass_by(sessions, oldest, "available_at", 90)
    desk.running(sessions, acme, queue="interactive")
    waiting = desk.running(sessions, acme, queue="batch")
    with sessions.begin() as session:
        ledger.retry_later(session, waiting.job_id, waiting.fence, desk.BAD, 60)
        batch, interactive, train = ledger.queues(session)
    assert (interactive, batch) == (QueueDepth("interactive", 0, 1, None), QueueDepth("batch", 1, 0, None))
    assert (train.queue, train.queued, train.running) == ("train", 3, 0)
    assert train.oldest_due_s is not None
    assert 90 <= train.oldest_due_s < 100


def test_the_position_counts_who_is_more_urgent_or_older(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    desk.queued(sessions, other)
    desk.queued(sessions, acme, queue="batch")
    mine = desk.queued(sessions, acme)
    desk.queued(sessions, acme)
    desk.queued(sessions, acme, priority=-1)
    claim = desk.running(sessions, acme, priority=-2)
    with sessions.begin() as session:
        assert ledger.position(session, ledger.get(session, acme, mine)) == 2
        assert ledger.position(session, ledger.get(session, acme, claim.job_id)) is None


def test_the_position_is_not_counted_for_ever(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    desk.batch(sessions, acme, 1100)
    last = desk.queued(sessions, acme)
    with sessions.begin() as session:
        assert ledger.position(session, ledger.get(session, acme, last)) == 1000


def ran(sessions: Sessions, tenant_id: str, seconds: float, *, ok: bool = True, **fields: str) -> None:
    claim = desk.running(sessions, tenant_id, **fields)
    desk.pass_by(sessions, claim.job_id, "started_at", seconds)
    with sessions.begin() as session:
        if ok:
            ledger.succeed(session, claim.job_id, claim.fence, {})
        else:
            ledger.fail(session, claim.job_id, claim.fence, desk.BAD)


def test_the_typical_time_is_the_median_of_recent_successes(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    for seconds in (900, 10, 20, 30):
        ran(sessions, acme, seconds)
    ran(sessions, acme, 5000, ok=False)
    ran(sessions, acme, 7000, kind="predict")
    with sessions.begin() as session:
        assert ledger.typical_seconds(session, last=3) == pytest.approx({"train": 20, "predict": 7000}, abs=1)
        assert ledger.typical_seconds(session)["train"] == pytest.approx(25, abs=1)


def test_throughput_counts_what_ended_lately_in_queues_that_were_busy(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        assert ledger.throughput(session) == {}
    for _ in range(4):
        ran(sessions, acme, 1, queue="interactive")
    for ok in (True, False, True, True, True, True):
        ran(sessions, acme, 1, ok=ok)
    with sessions.begin() as session:
        assert ledger.throughput(session) == {"train": pytest.approx(6)}
        assert ledger.throughput(session, over_s=0) == {}


def test_an_operator_finds_any_job_and_its_tries(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.retry_later(session, claim.job_id, claim.fence, desk.BAD, 0.0)
    desk.wake(sessions)
    again = desk.held(sessions, claim.job_id, "gpu/2")
    with sessions.begin() as session:
        assert ledger.find(session, claim.job_id).tenant_id == acme
        tries = ledger.attempts(session, claim.job_id)
        assert [(each.number, each.fence, each.outcome) for each in tries] == [(1, claim.fence, "retried"), (2, again.fence, None)]
        assert ledger.attempts(session, "job_none") == []
        with pytest.raises(NotFound, match="job_none"):
            ledger.find(session, "job_none")


def test_a_survey_is_of_every_tenant_and_leaves_out_what_was_retried(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    failed = [desk.running(sessions, tenant_id) for tenant_id in (acme, other, acme)]
    with sessions.begin() as session:
        for claim in failed:
            ledger.fail(session, claim.job_id, claim.fence, desk.LOST)
        ledger.retry(session, acme, failed[0].job_id, deadline_s=None)
    with sessions.begin() as session:
        found = ledger.survey(session, ledger.Sought(state="failed", not_retried=True), 9)
        assert [(job.id, tenant) for job, tenant in found] == [(failed[2].job_id, "acme"), (failed[1].job_id, "other")]
        assert len(ledger.survey(session, ledger.Sought(state="failed"), 9)) == 3
        assert [job.id for job, _ in ledger.survey(session, ledger.Sought(state="failed"), 1)] == [failed[2].job_id]
        assert ledger.survey(session, ledger.Sought(code="out_of_memory"), 9) == []
