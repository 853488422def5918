"""What is asked for is written down once, if there is room for it, whoever asks at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import ledger
from db.errors import Conflict, KeyReused, NotFound, OverQuota, Saturated
from db.ledger import NewJob
from db.models import IdempotencyKey, Job
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once


def count_jobs(sessions: Sessions) -> int:
    with sessions.begin() as session:
        return session.execute(select(func.count()).select_from(Job)).scalar_one()


def test_a_job_is_written_as_asked(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    new = desk.new(acme, model_id=model, priority=3, shape_key="s", client_metadata={"client": "ios"}, deadline_s=60.0)
    with sessions.begin() as session:
        job, deduplicated = ledger.submit(session, new)
    assert not deduplicated
    assert (job.state, job.rev, job.attempt, job.tenant_id, job.model_id, job.priority) == ("queued", 1, 0, acme, model, 3)
    assert (job.spec, job.client_metadata, job.shape_key, job.result, job.error) == ({"window": 30}, {"client": "ios"}, "s", None, None)
    assert job.deadline_at is not None
    assert abs(job.deadline_at - job.created_at - timedelta(seconds=60)) < timedelta(seconds=1)


def test_without_a_deadline_there_is_none(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    assert desk.job(sessions, desk.queued(sessions, acme, deadline_s=None)).deadline_at is None


def test_a_twin_is_answered_with_the_unfinished_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model, other] = desk.models(sessions, acme, 2)
    new = desk.new(acme, model_id=model, spec_hash="h")
    with sessions.begin() as session:
        first, _ = ledger.submit(session, new)
        twin, deduplicated = ledger.submit(session, new)
        assert (twin.id, deduplicated) == (first.id, True)
        for unlike in ({"model_id": other}, {"spec_hash": "i"}, {"kind": "backtest"}, {"model_id": None}):
            fields = {"model_id": model, "spec_hash": "h"} | unlike
            assert ledger.submit(session, desk.new(acme, **fields))[1] is False


def test_a_finished_job_is_nobodys_twin(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    first = desk.running(sessions, acme, model_id=model, spec_hash="h")
    with sessions.begin() as session:
        ledger.fail(session, first.job_id, first.fence, desk.BAD)
        second, deduplicated = ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))
    assert not deduplicated
    assert second.id != first.job_id


def test_asking_again_for_what_is_being_cancelled_is_a_new_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    first = desk.running(sessions, acme, model_id=model, spec_hash="h")
    with sessions.begin() as session:
        ledger.cancel(session, acme, first.job_id)
        second, deduplicated = ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))
        assert not deduplicated
        assert second.id != first.job_id
        third, deduplicated = ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))
        assert (third.id, deduplicated) == (second.id, True)


def test_items_of_batches_have_no_twins(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    desk.batch(sessions, acme, 2, model_id=model, spec_hash="h")
    with sessions.begin() as session:
        assert ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))[1] is False


def test_twins_asked_for_at_once_are_one_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)

    def ask() -> tuple[str, bool]:
        with sessions.begin() as session:
            job, deduplicated = ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))
            return job.id, deduplicated

    answers = at_once(*[ask] * 8)
    assert len({job_id for job_id, _ in answers}) == 1
    assert sorted(deduplicated for _, deduplicated in answers) == [False] + [True] * 7


def test_a_twin_that_ends_meanwhile_leaves_the_way_free(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    first = desk.running(sessions, acme, model_id=model, spec_hash="h")

    def finish(session: Session) -> None:
        ledger.succeed(session, first.job_id, first.fence, {})

    def ask(session: Session) -> tuple[Job, bool]:
        return ledger.submit(session, desk.new(acme, model_id=model, spec_hash="h"))

    second, deduplicated = desk.behind(sessions, finish, ask)
    assert not deduplicated
    assert second.id != first.job_id


def test_a_batch_is_a_running_parent_without_a_lease_and_queued_children(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [a, b] = desk.models(sessions, acme, 2)
    asked = [desk.new(acme, model_id=model, label=label, shape_key="s", priority=1) for model, label in ((b, "b"), (a, "a"))]
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, desk.new(acme, label="all"), asked)
        children = ledger.items(session, acme, parent.id, limit=10)
    assert (parent.state, parent.children, parent.pending_children, parent.lease_until) == ("running", 2, 2, None)
    assert parent.started_at is not None
    assert [(child.label, child.model_id, child.state, child.parent_id) for child in children] == [
        ("b", b, "queued", parent.id),
        ("a", a, "queued", parent.id),
    ]
    assert {(child.shape_key, child.priority, child.max_attempts, child.children) for child in children} == {("s", 1, 5, None)}
    assert all(child.spec == {"window": 30} and child.client_metadata == {} for child in children)
    assert all(child.deadline_at is not None and child.deadline_at > child.created_at for child in children)


def test_children_keep_their_order(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    labels = [f"user-{n}" for n in range(30)]
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, desk.new(acme), [desk.new(acme, label=label) for label in labels])
        assert [child.label for child in ledger.items(session, acme, parent.id, limit=99)] == labels


@pytest.mark.parametrize(
    "specs",
    [
        [{"a": 1, "b": {"c": [1, 2]}}] * 2,
        [{"a": 1, "b": 2}, {"a": 1}],
        [{"a": 1}, {"a": 1, "b": None}],
        [{"a": 1, "b": None}, {"a": 1, "b": 3}],
        [{"entity": "x"}, {"entity": "y"}],
        [{}, {"a": 1}],
    ],
    ids=str,
)
def test_each_item_has_its_own_spec_whatever_it_has_in_common(sessions: Sessions, specs: list[dict[str, object]]) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, desk.new(acme), [desk.new(acme, spec=spec, priority=n) for n, spec in enumerate(specs)])
    with sessions() as session:
        assert [(child.spec, child.priority) for child in ledger.items(session, acme, parent.id, limit=9)] == [
            (spec, n) for n, spec in enumerate(specs)
        ]


def test_an_empty_batch_is_refused(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session, pytest.raises(ValueError, match="at least one"):
        ledger.submit_batch(session, desk.new(acme), [])
    assert count_jobs(sessions) == 0


def test_ten_thousand_items_are_written_in_one_go(sessions: Sessions) -> None:
    """About one second on an idle machine; the bound leaves room for a busy one."""
    acme = desk.tenant(sessions)
    children = [desk.new(acme) for _ in range(10_000)]
    begun = time.perf_counter()
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, desk.new(acme), children)
    assert time.perf_counter() - begun < 20
    with sessions.begin() as session:
        assert ledger.item_counts(session, parent.id) == {"queued": 10_000}


def test_the_quota_counts_unfinished_jobs_but_no_parents(sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_unfinished=5)
    done = desk.running(sessions, acme)
    desk.batch(sessions, acme, 2)
    desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.succeed(session, done.job_id, done.fence, {})
        ledger.admit(session, acme, "train", 2, max_queue=100)
        with pytest.raises(OverQuota) as refused:
            ledger.admit(session, acme, "train", 3, max_queue=100)
    assert (refused.value.held, refused.value.allowed) == (3, 5)


def test_a_queue_is_saturated_by_whoever_waits_in_it(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    desk.queued(sessions, other)
    desk.queued(sessions, other)
    desk.running(sessions, other)
    desk.queued(sessions, other, queue="batch")
    with sessions.begin() as session:
        ledger.admit(session, acme, "train", 1, max_queue=3)
        with pytest.raises(Saturated) as refused:
            ledger.admit(session, acme, "train", 2, max_queue=3)
    assert refused.value.queue == "train"


def test_an_unknown_tenant_is_not_admitted(sessions: Sessions) -> None:
    with sessions.begin() as session, pytest.raises(NotFound, match="tenant"):
        ledger.admit(session, "tnt_none", "train", 1, max_queue=3)


def admit_and_submit(session: Session, new: NewJob) -> None:
    ledger.admit(session, new.tenant_id, new.queue, 1, max_queue=100)
    ledger.submit(session, new)


def place(session: Session, new: NewJob) -> None:
    ledger.place(session, new, max_queue=100)


@pytest.mark.parametrize("way", [admit_and_submit, place])
def test_the_quota_holds_for_those_who_ask_at_once(sessions: Sessions, way: Callable[[Session, NewJob], None]) -> None:
    acme = desk.tenant(sessions, max_unfinished=3)

    def ask() -> bool:
        try:
            with sessions.begin() as session:
                way(session, desk.new(acme))
        except OverQuota:
            return False
        return True

    assert sorted(at_once(*[ask] * 8)) == [False] * 5 + [True] * 3
    assert count_jobs(sessions) == 3


def test_a_job_is_placed_as_it_is_submitted_and_told_how_many_wait(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    [model] = desk.models(sessions, acme, 1)
    desk.queued(sessions, other)
    new = desk.new(acme, model_id=model, spec_hash="h", client_metadata={"client": "ios"}, deadline_s=60.0)
    with sessions.begin() as session:
        placed = ledger.place(session, new, max_queue=2)
    assert (placed.deduplicated, placed.waiting) == (False, 1)
    stored = desk.job(sessions, placed.job.id)
    columns = [column.key for column in inspect(Job).columns]
    assert [getattr(placed.job, name) for name in columns] == [getattr(stored, name) for name in columns]
    with sessions.begin() as session:
        again = ledger.place(session, new, max_queue=3)
    assert (again.job.id, again.deduplicated, again.waiting) == (placed.job.id, True, 2)


@pytest.mark.parametrize(("most", "max_queue", "refused"), [(1, 9, OverQuota), (9, 1, Saturated), (1, 1, OverQuota)])
def test_what_is_refused_is_not_placed(sessions: Sessions, most: int, max_queue: int, refused: type[Exception]) -> None:
    acme = desk.tenant(sessions, max_unfinished=most)
    desk.queued(sessions, acme)
    with pytest.raises(refused), sessions.begin() as session:
        ledger.place(session, desk.new(acme), max_queue=max_queue)
    assert count_jobs(sessions) == 1


def test_nothing_is_placed_for_an_unknown_tenant(sessions: Sessions) -> None:
    with sessions.begin() as session, pytest.raises(NotFound, match="tenant"):
        ledger.place(session, desk.new("tnt_none"), max_queue=3)


def ask_with_key(session: Session, new: NewJob, body: str = "sha", key: str = "k", route: str = "/train") -> tuple[str, bool]:
    """As the web process does it: the job's id, and whether the answer is a replay."""
    known = ledger.recall(session, new.tenant_id, route, key, body)
    if known is not None:
        return known.job.id, True
    job, _ = ledger.submit(session, new)
    ledger.remember(session, new.tenant_id, route, key, body, job.id)
    return job.id, False


def test_a_key_used_again_replays_its_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        first, replayed = ask_with_key(session, desk.new(acme))
        assert not replayed
    with sessions.begin() as session:
        assert ask_with_key(session, desk.new(acme)) == (first, True)
    assert count_jobs(sessions) == 1


def test_a_key_belongs_to_its_tenant_and_route(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")

    def ask_all() -> list[tuple[str, bool]]:
        with sessions.begin() as session:
            return [
                ask_with_key(session, desk.new(acme)),
                ask_with_key(session, desk.new(other)),
                ask_with_key(session, desk.new(acme), route="/predict"),
                ask_with_key(session, desk.new(acme), key="l"),
            ]

    asked = ask_all()
    assert len(set(asked)) == 4
    assert not any(replayed for _, replayed in asked)
    assert ask_all() == [(job_id, True) for job_id, _ in asked]


def test_a_key_with_another_body_is_refused(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        ask_with_key(session, desk.new(acme))
    with sessions.begin() as session, pytest.raises(KeyReused, match="'k'"):
        ask_with_key(session, desk.new(acme), body="other")


def test_a_key_may_be_answered_with_a_twin(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    twin = desk.queued(sessions, acme, model_id=model, spec_hash="h")
    for expected in ((twin, False), (twin, True)):
        with sessions.begin() as session:
            assert ask_with_key(session, desk.new(acme, model_id=model, spec_hash="h")) == expected


def test_a_concurrent_twin_waits_and_gets_the_same_job(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    firsts: list[tuple[str, bool]] = []
    second = desk.behind(
        sessions,
        lambda session: firsts.append(ask_with_key(session, desk.new(acme))),
        lambda session: ask_with_key(session, desk.new(acme)),
    )
    assert firsts == [(second[0], False)]
    assert second[1] is True
    assert count_jobs(sessions) == 1


def test_a_concurrent_twin_of_a_refused_request_is_the_first_itself(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    _, replayed = desk.behind(
        sessions,
        lambda session: ask_with_key(session, desk.new(acme)),
        lambda session: ask_with_key(session, desk.new(acme), body="other"),
        commit=False,
    )
    assert not replayed
    assert count_jobs(sessions) == 1


def test_a_key_without_a_job_cannot_be_committed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with pytest.raises(IntegrityError, match="idempotency_keys"), sessions.begin() as session:
        assert ledger.recall(session, acme, "/train", "k", "sha") is None
    with sessions.begin() as session:
        assert session.scalars(select(IdempotencyKey)).all() == []


def test_only_what_failed_or_was_cancelled_is_tried_again(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    waiting, done = desk.queued(sessions, acme), desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.succeed(session, done.job_id, done.fence, {})
        for job_id, code in ((waiting, "job_not_finished"), (done.job_id, "job_succeeded")):
            with pytest.raises(Conflict) as refused:
                ledger.retry(session, acme, job_id, deadline_s=60)
            assert refused.value.code == code


def assert_asks_the_same(new: Job, old: Job) -> None:
    for name in ("tenant_id", "kind", "queue", "spec", "spec_hash", "label", "model_id", "shape_key", "priority", "client_metadata"):
        assert getattr(new, name) == getattr(old, name), name
    assert new.max_attempts == old.max_attempts
    assert new.deadline_at is not None


def test_a_retry_is_a_new_job_that_asks_for_the_same(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    old = desk.running(sessions, acme, model_id=model, spec={"window": 7}, shape_key="s", client_metadata={"a": 1}, priority=2)
    with sessions.begin() as session:
        ledger.fail(session, old.job_id, old.fence, desk.BAD)
        new = ledger.retry(session, acme, old.job_id, deadline_s=60)
    assert (new.state, new.attempt, new.retry_of, new.error) == ("queued", 0, old.job_id, None)
    assert_asks_the_same(new, old.job)
    with sessions.begin() as session:
        assert ledger.retry(session, acme, old.job_id, deadline_s=60).id == new.id, "a second click is answered with the twin"


def test_anothers_job_cannot_be_tried_again(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    job_id = desk.queued(sessions, acme)
    with sessions.begin() as session, pytest.raises(NotFound, match="job"):
        ledger.retry(session, other, job_id, deadline_s=None)


def test_a_batch_is_tried_again_for_the_items_that_did_not_succeed(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [good, bad, unwanted] = desk.batch(sessions, acme, 3)
    with sessions.begin() as session:
        ledger.cancel(session, acme, unwanted)
    for child, end in ((good, ledger.succeed), (bad, ledger.fail)):
        claim = desk.held(sessions, child)
        with sessions.begin() as session:
            end(session, child, claim.fence, {})
    with sessions.begin() as session:
        again = ledger.retry(session, acme, parent, deadline_s=60)
        children = ledger.items(session, acme, again.id, limit=10)
    assert (again.retry_of, again.state, again.pending_children) == (parent, "running", 2)
    assert [child.retry_of for child in children] == [bad, unwanted]


def test_what_the_items_of_a_batch_asked_for_is_asked_again(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    models = desk.models(sessions, acme, 2)
    about: list[dict[str, Any]] = [{"shape_key": "s", "priority": 3, "client_metadata": {"a": 1}}, {"queue": "batch", "max_attempts": 9}]
    children = [
        desk.new(acme, label=f"n{n}", spec={"window": n}, spec_hash=f"h{n}", model_id=model, **fields)
        for n, (model, fields) in enumerate(zip(models, about, strict=True))
    ]
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, desk.new(acme, label="all", client_metadata={"b": 2}), children)
        ledger.cancel(session, acme, parent.id)
    with sessions.begin() as session:
        again = ledger.retry(session, acme, parent.id, deadline_s=60)
        assert_asks_the_same(again, parent)
        before, after = (ledger.items(session, acme, each, limit=10) for each in (parent.id, again.id))
        for old, new in zip(before, after, strict=True):
            assert (new.state, new.retry_of) == ("queued", old.id)
            assert_asks_the_same(new, old)


def test_a_batch_that_succeeded_wholly_is_not_tried_again(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, [child] = desk.batch(sessions, acme, 1)
    claim = desk.held(sessions, child)
    with sessions.begin() as session:
        ledger.succeed(session, child, claim.fence, {})
        with pytest.raises(Conflict) as refused:
            ledger.retry(session, acme, parent, deadline_s=60)
    assert refused.value.code == "job_succeeded"
