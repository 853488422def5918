"""The execution loop against a real ledger: whatever a handler does, each job gets exactly one outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from db import entities, ledger
from ml.errors import NewerRelease
from tasks import execute, metrics, status
from tasks.execute import Work, backoff, run
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.road import job, tenant, work_off
from tests.support.scrape import counted
from tests.support.severed import cut

Act = Callable[[Work], None]


def handler(act: Act) -> execute.Handler:
    """A handler that does the same with each job in hand, as the real ones do."""

    def handle(_: Workshop, works: Sequence[Work]) -> None:
        for work in works:
            with work.outcome():
                act(work)

    return handle


def submit(shop: Workshop, asker: Asker, n: int = 1, *, shape: str | None = None, **changes: Any) -> list[str]:
    with shop.sessions.begin() as session:
        new = ledger.NewJob(
            tenant_id=asker.tenant_id,
            kind="train",
            queue="train",
            spec={},
            spec_hash="s",
            label="dev cpu",
            shape_key=shape,
            max_attempts=3,
            deadline_s=60.0,
        )
        return [ledger.submit(session, new._replace(spec_hash=str(i), **changes))[0].id for i in range(n)]


def execute_once(shop: Workshop, act: Act, job_id: str) -> None:
    run(shop, {"train": handler(act)}, job_id, f"{job_id}:1")


def succeed(work: Work) -> None:
    work.publish(lambda _: ({"done": True}, []))


def attempts(shop: Workshop, job_id: str) -> list[str]:
    with shop.sessions() as session:
        rows = session.execute(text("SELECT outcome FROM attempts WHERE job_id = :id ORDER BY fence"), {"id": job_id})
        return [row[0] for row in rows]


def test_a_bell_rung_twice_runs_the_job_once(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)
    ran: list[str] = []

    def act(work: Work) -> None:
        ran.append(work.job.id)
        run(shop, {"train": handler(act)}, job_id, f"{job_id}:2")  # the second bell, while the first is at work
        succeed(work)

    execute_once(shop, act, job_id)
    execute_once(shop, act, job_id)
    assert ran == [job_id]
    assert attempts(shop, job_id) == ["succeeded"]


def test_a_failing_handler_is_retried_until_its_attempts_are_used_up(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        raise RuntimeError("secret detail")

    deadline = time.monotonic() + 10
    while job(shop, acme, job_id).state == "queued" and time.monotonic() < deadline:
        work_off(shop, {"train": handler(act)})
    done = job(shop, acme, job_id)
    assert (done.state, done.attempt) == ("failed", 3)
    assert done.error is not None
    assert done.error["code"] == "internal"
    assert "secret detail" not in str(done.error), "what an exception says stays in the log"


def test_memory_exhausted_is_a_problem_of_its_own(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme, max_attempts=1)

    def act(work: Work) -> None:
        raise MemoryError

    execute_once(shop, act, job_id)
    error = job(shop, acme, job_id).error
    assert error is not None
    assert error["code"] == "out_of_memory"


def test_a_cancel_reaches_a_running_job_at_its_next_step(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        with shop.sessions.begin() as session:
            ledger.cancel(session, acme.tenant_id, job_id)
        _step_for(work, seconds=10)
        pytest.fail("the job went on")

    execute_once(shop, act, job_id)
    assert job(shop, acme, job_id).state == "cancelled"
    assert attempts(shop, job_id) == ["cancelled"]


def test_a_job_of_a_newer_release_goes_back_however_often_and_no_try_counts(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme, max_attempts=1)

    def act(work: Work) -> None:
        raise NewerRelease("The train job", 2, 1)

    with capture_logs() as logs:
        for _ in range(3):
            time.sleep(2 * shop.settings.retry_base_s)
            execute_once(shop, act, job_id)
    back = job(shop, acme, job_id)
    assert (back.state, back.attempt, back.error) == ("queued", 0, None)
    assert attempts(shop, job_id) == ["handed_back"] * 3
    assert [line["reason"] for line in logs if line["event"] == "job_of_newer_release"] == [
        "The train job was written by a newer release, in format 2; this one reads up to 1."
    ] * 3
    assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, "train", "handed_back") == 3
    time.sleep(2 * shop.settings.retry_base_s)
    execute_once(shop, succeed, job_id)
    assert job(shop, acme, job_id).state == "succeeded", "a newer worker has its one try"


def test_a_job_handed_back_is_not_due_at_once(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, retry_base_s=60.0))
    ran: list[str] = []

    def act(work: Work) -> None:
        ran.append(work.job.id)
        raise NewerRelease("The artefact", 2, 1)

    execute_once(shop, act, job_id)
    execute_once(shop, act, job_id)
    assert ran == [job_id]


def test_what_is_to_be_cancelled_is_not_handed_back(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        with shop.sessions.begin() as session:
            ledger.cancel(session, acme.tenant_id, job_id)
        raise NewerRelease("The train job", 2, 1)

    execute_once(shop, act, job_id)
    assert job(shop, acme, job_id).state == "cancelled"


def test_a_drained_worker_hands_the_job_back_and_the_try_does_not_count(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        with shop.sessions.begin() as session:
            assert ledger.drain(session, shop.settings.host) == 1
        _step_for(work, seconds=10)
        pytest.fail("the job went on")

    execute_once(shop, act, job_id)
    back = job(shop, acme, job_id)
    assert (back.state, back.attempt) == ("queued", 0)
    assert attempts(shop, job_id) == ["drained"]


def test_a_passed_deadline_ends_a_running_job(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme, deadline_s=0.5)
    execute_once(shop, lambda work: _step_for(work, seconds=10), job_id)
    done = job(shop, acme, job_id)
    assert done.state == "failed"
    assert done.error is not None
    assert done.error["code"] == "deadline_exceeded"


def test_a_worker_whose_lease_was_taken_writes_nothing(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        with shop.sessions.begin() as session:
            session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 hour' WHERE id = :id"), {"id": job_id})
            assert [m.job_id for m in ledger.reap(session, lease_s=0.0, error={})] == [job_id]
        succeed(work)
        pytest.fail("a stale fence published")

    execute_once(shop, act, job_id)
    back = job(shop, acme, job_id)
    assert (back.state, back.result) == ("queued", None)
    assert attempts(shop, job_id) == ["lost"]
    execute_once(shop, succeed, job_id)
    assert job(shop, acme, job_id).result == {"done": True}


def test_a_long_job_keeps_its_lease_and_a_stalled_one_loses_it(shop: Workshop) -> None:
    acme = tenant(shop)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, lease_s=1.2, stall_timeout_s=1.0))
    moving, hung = submit(shop, acme, 2)

    def reaped() -> list[str]:
        with shop.sessions.begin() as session:
            return [moved.job_id for moved in ledger.reap(session, lease_s=0.0, error={})]

    def keep_moving(work: Work) -> None:
        _step_for(work, seconds=3)
        assert reaped() == []
        succeed(work)

    def hang(work: Work) -> None:
        time.sleep(3)
        assert reaped() == [hung]
        succeed(work)

    execute_once(shop, keep_moving, moving)
    execute_once(shop, hang, hung)
    assert job(shop, acme, moving).state == "succeeded"
    assert job(shop, acme, hung).state == "queued"


def test_a_cohort_is_joined_and_a_failing_member_leaves_its_mates_alone(shop: Workshop) -> None:
    acme = tenant(shop)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, cohort_size=4))
    jobs = submit(shop, acme, 4, shape="same")
    seen: list[list[str]] = []

    def handle(_: Workshop, works: Sequence[Work]) -> None:
        seen.append([work.job.id for work in works])
        for work in works:
            with work.outcome():
                if work.job.id == jobs[2]:
                    raise MemoryError
                succeed(work)

    run(shop, {"train": handle}, jobs[0], f"{jobs[0]}:1")
    assert [sorted(cohort) for cohort in seen] == [sorted(jobs)]
    assert [job(shop, acme, job_id).state for job_id in jobs] == ["succeeded", "succeeded", "queued", "succeeded"]


def test_watchers_see_progress_before_a_heartbeat_writes_it_down(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        time.sleep(0.6)
        work.progress("fit", epoch=3, epochs=10, finish_at="2026-01-01T00:00:00Z")
        seen = status.read(shop.runtime, acme.tenant_id, job_id)
        assert seen["state"] == "running"
        assert seen["progress"] == {"phase": "fit", "epoch": 3, "epochs": 10}
        assert seen["estimated_finish_at"] == "2026-01-01T00:00:00Z"
        succeed(work)

    execute_once(shop, act, job_id)
    seen = status.read(shop.runtime, acme.tenant_id, job_id)
    assert (seen["state"], seen["terminal"], seen["result"]) == ("succeeded", True, {"done": True})


def test_an_erased_entity_stops_its_job_without_bringing_anything_back(shop: Workshop) -> None:
    acme = tenant(shop)
    with shop.sessions.begin() as session:
        entity = entities.put(session, acme.tenant_id, "gone")
    [job_id] = submit(shop, acme, entity_id=entity.id)

    def act(work: Work) -> None:
        with shop.sessions.begin() as session:
            entities.delete(session, acme.tenant_id, "gone")
        work.publish(lambda _: ({"forecast": "of the erased"}, []))
        pytest.fail("it was published")

    execute_once(shop, act, job_id)
    done = job(shop, acme, job_id)
    assert (done.state, done.result, done.error, done.spec) == ("cancelled", None, None, {})


def test_a_fault_outside_any_one_jobs_care_is_recorded_on_each_and_reaches_nobody_else(shop: Workshop) -> None:
    acme = tenant(shop)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, cohort_size=3))
    done, *others = submit(shop, acme, 3, shape="same")

    def handle(_: Workshop, works: Sequence[Work]) -> None:
        with works[0].outcome():
            succeed(works[0])
        raise MemoryError("while fitting all together")

    run(shop, {"train": handle}, done, f"{done}:1")
    assert [job(shop, acme, job_id).state for job_id in (done, *others)] == ["succeeded", "queued", "queued"]
    assert [attempts(shop, job_id) for job_id in others] == [["retried"], ["retried"]]


def test_a_kind_that_this_worker_does_not_know_is_left_to_one_that_does(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)
    run(shop, {}, job_id, f"{job_id}:1")
    assert job(shop, acme, job_id).state == "queued"


def test_a_heartbeat_outlives_a_postgres_that_is_read_only_for_a_while(shop: Workshop) -> None:
    acme = tenant(shop)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, lease_s=3.0))
    [job_id] = submit(shop, acme)

    url = shop.runtime.engine.url.set(drivername="postgresql")

    def read_only(admin: psycopg.Connection, state: str) -> None:
        admin.execute(f"ALTER DATABASE {url.database} SET default_transaction_read_only = {state}")
        shop.runtime.engine.dispose()  # connections opened from now on are so

    def act(work: Work) -> None:
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as admin:
            read_only(admin, "on")
            try:
                _step_for(work, seconds=1.5)
            finally:
                read_only(admin, "off")
        _step_for(work, seconds=3)
        succeed(work)

    execute_once(shop, act, job_id)
    assert job(shop, acme, job_id).state == "succeeded"
    assert attempts(shop, job_id) == ["succeeded"]


def test_a_row_held_by_somebody_else_costs_its_mates_no_heartbeat(shop: Workshop) -> None:
    acme = tenant(shop)
    first, second = submit(shop, acme, 2)
    with shop.sessions.begin() as session:
        claims = [claim for job_id in (first, second) if (claim := ledger.claim(session, job_id, "w/b", 30.0)) is not None]
    fences = {claim.job.id: claim.fence for claim in claims}
    with shop.sessions.begin() as holder:
        holder.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": first})
        began = time.monotonic()
        with shop.sessions.begin() as session:
            pulses = ledger.beat(session, fences, 3600.0)
        assert time.monotonic() - began < 2
    assert set(pulses) == {first, second}, "held is not lost"
    with shop.sessions() as session:
        query = text("SELECT id FROM jobs WHERE lease_until > clock_timestamp() + interval '1 minute'")
        assert [row[0] for row in session.execute(query)] == [second]


def test_a_publication_that_meets_a_lock_is_tried_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)
    monkeypatch.setattr(execute, "PUBLISH_PAUSES_S", (0.01, 0.01))
    tries = 0

    def write(session: Session) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        nonlocal tries
        tries += 1
        if tries < 3:
            session.execute(text("SET LOCAL statement_timeout = 20"))
            session.execute(text("SELECT pg_sleep(1)"))
        return {"tries": tries}, []

    execute_once(shop, lambda work: work.publish(write), job_id)
    done = job(shop, acme, job_id)
    assert (done.state, done.attempt, done.result) == ("succeeded", 1, {"tries": 3})


def test_a_try_that_runs_too_long_is_ended(shop: Workshop) -> None:
    acme = tenant(shop)
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, training_timeout_s=0.3))
    [job_id] = submit(shop, acme)
    execute_once(shop, lambda work: _step_for(work, seconds=5), job_id)
    done = job(shop, acme, job_id)
    assert done.error is not None
    assert done.error["code"] == "deadline_exceeded"
    assert "TRAINING_TIMEOUT" in done.error["detail"]


@pytest.mark.parametrize(("attempt", "most"), [(1, 5), (2, 10), (3, 20), (50, 900)])
def test_backoff_is_jittered_doubled_and_capped(attempt: int, most: float) -> None:
    waits = [backoff(attempt, 5, 900) for _ in range(200)]
    assert 0 <= min(waits) < most * 0.2
    assert most * 0.8 < max(waits) <= most


def test_a_postgres_that_is_away_for_a_moment_costs_a_heartbeat_and_nothing_else(shop: Workshop) -> None:
    acme = tenant(shop)
    [job_id] = submit(shop, acme)

    def act(work: Work) -> None:
        threading.Timer(0.2, shop.runtime.engine.dispose).start()
        cut(shop.runtime.engine)
        _step_for(work, seconds=2)
        succeed(work)

    execute_once(shop, act, job_id)
    assert job(shop, acme, job_id).state == "succeeded"


def _step_for(work: Work, *, seconds: float) -> None:
    """Report progress, batch by batch, until told to stop."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        work.progress("fit")
        time.sleep(0.05)
