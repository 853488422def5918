"""Schedules fire each due moment once, whoever dies and however many look; what cannot be fired is told, and nothing is made up twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, text

from db import entities, schedules
from db.errors import Conflict, NotFound
from db.models import Schedule, ScheduleRun, Tenant
from ml.errors import SpecInvalid
from tasks.alarms import DetectOrder, WatchOrder
from tasks.firing import fire_due, fire_now
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, TrainOrder
from tasks.reconcile import tidy_once
from tasks.runtime import Runtime
from tasks.schedules import pause
from tests.support.planned import TRAIN, come, copies, devices, items, jobs, owner, planned, runs, seen
from tests.support.web import make_runtime

ROOT = Path(__file__).parents[3]
EVERYONE = {"kind": "device"}


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Runtime:
    return make_runtime(engine, redis_url)


@pytest.fixture
def acme(runtime: Runtime) -> str:
    """A tenant with a device of five days."""
    tenant_id = owner(runtime)
    devices(runtime, tenant_id, "dev-1")
    return tenant_id


def changed(runtime: Runtime, **settings: Any) -> Runtime:
    return replace(runtime, settings=replace(runtime.settings, **settings))


def test_what_is_due_is_fired_and_the_next_run_planned(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, metadata={"asked by": "night"})
    assert fire_due(runtime) == 0, "its first run is an hour from now"
    come(runtime)
    assert fire_due(runtime) == 1
    [job], [run] = jobs(runtime), runs(runtime, row)
    assert (run.state, run.job_id, run.entities, run.due) == ("fired", job.id, 1, 1)
    assert (job.kind, job.client_metadata, items(runtime, job)) == ("train", {"asked by": "night"}, ["dev-1"])
    after = seen(runtime, row)
    assert after.due_at == row.created_at + timedelta(hours=1)
    assert after.fired_at is not None
    assert fire_due(runtime) == 0


def test_four_at_once_fire_a_hundred_schedules_once_each(runtime: Runtime, acme: str) -> None:
    copies(runtime, planned(runtime, acme), 99)
    come(runtime)
    fired: list[int] = []
    threads = [threading.Thread(target=lambda: fired.append(fire_due(runtime))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(fired) == 100
    assert len([count for count in fired if count]) > 1, "they worked beside each other"
    assert len(jobs(runtime)) == 100
    with runtime.sessions() as session:
        rows = schedules.page(session, acme, limit=200)
    assert [len(runs(runtime, row)) for row in rows] == [1] * 100


CHILD = """
import sys
from pathlib import Path
from tests.chaos import points
points.POINTS = [points.Point(sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6] == "after")]
points.install(Path(sys.argv[1]))
from tasks.runtime import open_runtime
from tasks.firing import fire_due
from tasks.settings import Settings
fire_due(open_runtime(Settings(database_url=sys.argv[2], redis_url="redis://127.0.0.1:1/0"), "dispatcher"))
"""


@pytest.mark.parametrize(
    ("module", "function", "when", "committed"),
    [
        ("db.schedules", "record", "after", 0),
        ("tasks.firing", "_fire_next", "after", 1),
    ],
)
def test_a_dispatcher_that_dies_in_the_middle_fires_it_once(
    runtime: Runtime, acme: str, migrated_url: str, tmp_path: Path, module: str, function: str, when: str, committed: int
) -> None:
    """The job is written before the record, and both before the COMMIT."""
    row = planned(runtime, acme)
    come(runtime)
    (tmp_path / "point").touch()
    words = [str(tmp_path), migrated_url, "point", module, function, when]
    died = subprocess.run([sys.executable, "-c", CHILD, *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(jobs(runtime)) == committed
    assert fire_due(runtime) == 1 - committed
    assert len(jobs(runtime)) == 1
    assert [run.state for run in runs(runtime, row)] == ["fired"]


def test_a_moment_that_was_fired_is_never_fired_again(runtime: Runtime, acme: str) -> None:
    """Though a hand moves the schedule back to it."""
    row = planned(runtime, acme)
    come(runtime)
    fire_due(runtime)
    [run] = runs(runtime, row)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Schedule).values(due_at=run.due_at, next_at=run.due_at))
    assert fire_due(runtime) == 1
    assert len(jobs(runtime)) == 1
    assert seen(runtime, row).due_at == row.created_at + timedelta(hours=1)
    with pytest.raises(sa.exc.IntegrityError), runtime.sessions.begin() as session:
        session.add(ScheduleRun(tenant_id=acme, schedule_id=row.id, due_at=run.due_at, state="fired"))


DOWN_S = 3 * 3600 + 600


@pytest.mark.parametrize(
    ("missed", "told", "asked"), [("once", ("fired", None, 3), 1), ("skip", ("skipped", "missed", 3), 0)], ids=["once", "skip"]
)
def test_what_was_missed_while_nobody_was_there(runtime: Runtime, acme: str, missed: str, told: tuple[Any, ...], asked: int) -> None:
    """Due three hours and ten minutes ago, and every hour since."""
    row = planned(runtime, acme, missed=missed)
    with runtime.sessions.begin() as session:
        anchor = sa.func.now() - timedelta(seconds=DOWN_S + 3600)
        due = anchor + timedelta(hours=1)
        session.execute(sa.update(Schedule).values(created_at=anchor, due_at=due, next_at=due))
    assert fire_due(runtime) == 1
    [run] = runs(runtime, row)
    assert (run.state, run.reason, run.passed_over) == told
    assert len(jobs(runtime)) == asked
    after = seen(runtime, row)
    assert after.due_at == after.created_at + 5 * timedelta(hours=1), "from now on it goes on as ever"


def test_a_restart_is_not_a_miss(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, missed="skip")
    come(runtime, ago_s=runtime.settings.schedule_grace_s - 20)
    fire_due(runtime)
    assert [(run.state, run.passed_over) for run in runs(runtime, row)] == [("fired", 0)]


def test_what_was_missed_waits_for_the_window_and_is_one_with_what_is_due_then(runtime: Runtime, acme: str) -> None:
    with runtime.sessions() as session:
        now = session.scalar(sa.select(sa.func.clock_timestamp()))
    assert now is not None
    begin, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (5, 6))
    row = planned(runtime, acme, open_hours={"from": begin, "to": end})
    opening = seen(runtime, row).due_at
    assert opening is not None
    come(runtime, ago_s=7200)
    fire_due(runtime)
    assert [(run.state, run.reason) for run in runs(runtime, row)] == [("waiting", "window_shut")]
    assert seen(runtime, row).next_at == opening
    assert jobs(runtime) == []
    with runtime.sessions.begin() as session:  # the hour has come
        hours = {"from": f"{now - timedelta(minutes=30):%H:%M}", "to": f"{now + timedelta(minutes=30):%H:%M}"}
        session.execute(sa.update(Schedule).values(next_at=sa.func.clock_timestamp(), open_hours=hours))
    fire_due(runtime)
    assert [run.state for run in runs(runtime, row)] == ["fired"]
    assert len(jobs(runtime)) == 1


def test_without_room_it_is_tried_again_and_told_meanwhile(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme)
    _allow(runtime, acme, 0)
    come(runtime)
    fire_due(runtime)
    [run] = runs(runtime, row)
    assert (run.state, run.reason) == ("waiting", "quota_exceeded")
    assert run.error is not None
    assert run.error["retryable"] is True
    waiting = seen(runtime, row)
    assert waiting.due_at == run.due_at
    assert waiting.next_at is not None
    _allow(runtime, acme, 10)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Schedule).values(next_at=sa.func.clock_timestamp()))
    fire_due(runtime)
    [run] = runs(runtime, row)
    assert (run.state, run.reason, run.error) == ("fired", None, None)
    assert run.job_id == jobs(runtime)[0].id


def test_without_room_until_the_next_run_it_gives_way(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, every_s=60)
    _allow(runtime, acme, 0)
    come(runtime)
    fire_due(changed(runtime, schedule_retry_s=120.0))
    assert [(run.state, run.reason) for run in runs(runtime, row)] == [("failed", "quota_exceeded")]
    assert seen(runtime, row).due_at == row.created_at + timedelta(seconds=60)


def _allow(runtime: Runtime, tenant_id: str, jobs: int) -> None:
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Tenant).where(Tenant.id == tenant_id).values(max_unfinished=jobs))


def test_a_selector_is_looked_up_when_it_fires(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, order=replace(TRAIN, entities=()), selector=EVERYONE)
    devices(runtime, acme, "dev-0", "dev-2")
    come(runtime)
    fire_due(runtime)
    assert items(runtime, *jobs(runtime)) == ["dev-0", "dev-1", "dev-2"]
    assert runs(runtime, row)[0].entities == 3


def test_more_than_a_batch_may_hold_fails_with_its_reason(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, order=replace(TRAIN, entities=()), selector=EVERYONE)
    devices(runtime, acme, "dev-0", "dev-2")
    come(runtime)
    fire_due(changed(runtime, max_batch=2))
    [run] = runs(runtime, row)
    assert (run.state, run.reason) == ("failed", "validation_failed")
    assert run.error is not None
    assert "one batch may hold 2" in run.error["detail"]


def test_an_erased_entity_is_left_out_and_leaves_no_name_behind(runtime: Runtime, acme: str, engine: Engine) -> None:
    devices(runtime, acme, "dev-0", "somebody")
    named = planned(runtime, acme, order=replace(TRAIN, entities=("somebody", "dev-1")))
    watch = planned(runtime, acme, "watch", WatchOrder("somebody", channels=("cpu",)), "anomaly_train")
    lonely = planned(runtime, acme, "lonely", BacktestOrder("somebody", "cpu"), "backtest")
    fire_now(runtime, acme, lonely.id)
    assert "somebody" in str(runs(runtime, lonely)[0].error), "it has no version: the problem tells of whom"
    with runtime.sessions.begin() as session:
        entities.delete(session, acme, "somebody")
    come(runtime)
    assert fire_due(runtime) == 3
    assert items(runtime, *jobs(runtime)) == ["dev-1"]
    assert [(run.state, run.reason) for run in runs(runtime, named)] == [("fired", None)]
    for row in (watch, lonely):
        assert next((run.state, run.reason) for run in runs(runtime, row)) == ("skipped", "nobody")
    for table in ("schedules", "schedule_runs"):
        with engine.connect() as connection:
            assert connection.execute(text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%somebody%'")).scalar_one() == 0
    come(runtime)
    assert fire_due(runtime) == 3, "and so it goes on, without an end and without an error"


def test_what_a_newer_release_wrote_waits_for_one(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Schedule).values(job_order=row.job_order | {"v": 99}))
    come(runtime)
    fire_due(runtime)
    assert [(run.state, run.reason) for run in runs(runtime, row)] == [("waiting", "newer_release")]


def test_a_time_zone_that_is_gone_fails_and_rests(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme)
    with runtime.sessions.begin() as session:
        session.execute(sa.update(Schedule).values(time_zone="Mars/Olympus"))
    come(runtime)
    assert fire_due(runtime) == 1
    assert [(run.state, run.reason) for run in runs(runtime, row)] == [("failed", "validation_failed")]
    assert seen(runtime, row).paused


def test_paused_it_rests_and_resumed_it_goes_on_from_then(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, paused=True)
    assert fire_due(runtime) == 0
    assert (row.due_at, row.paused) == (None, True)
    resumed = pause(runtime, acme, row.id, paused=False)
    assert resumed.due_at == row.created_at + timedelta(hours=1)
    assert pause(runtime, acme, row.id, paused=False).due_at == resumed.due_at
    come(runtime)
    assert pause(runtime, acme, row.id, paused=True).paused
    assert fire_due(runtime) == 0
    assert fire_now(runtime, acme, row.id).state == "fired", "by hand it fires all the same"
    assert seen(runtime, row).paused


def test_by_hand_without_room_it_has_failed_since_nobody_comes_back(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme)
    _allow(runtime, acme, 0)
    assert fire_now(runtime, acme, row.id).state == "failed"
    assert seen(runtime, row).due_at == row.due_at


def test_of_single_jobs_the_twin_that_is_under_way_is_the_runs_job(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, order=replace(TRAIN, batch=False))
    for _ in range(2):
        come(runtime)
        fire_due(runtime)
    assert [run.job_id for run in runs(runtime, row)] == [jobs(runtime)[0].id] * 2


REFUSED: Mapping[str, tuple[str, Any, type[Exception]]] = {
    "an entity that is not there": ("train", TrainOrder("device-metric", ("nobody",), "cpu", batch=True), NotFound),
    "one of many": ("train", TrainOrder("device-metric", ("dev-1", "nobody"), "cpu", batch=True), NotFound),
    "a recipe that is not there": ("train", TrainOrder("dream", ("dev-1",), batch=True), SpecInvalid),
    "a spec out of bounds": ("train", TrainOrder("device-metric", ("dev-1",), "cpu", overrides={"window": 0}, batch=True), SpecInvalid),
    "a base that is not there": ("train", TrainOrder("device-metric", ("dev-1",), "cpu", base=BaseOrder(name="b"), batch=True), NotFound),
    "a version that is not there": ("backtest", BacktestOrder("dev-1", "cpu", version="9.9.9"), NotFound),
    "a channel that is not there": ("anomaly_train", WatchOrder("dev-1", channels=("dream",)), SpecInvalid),
}


@pytest.mark.parametrize(("kind", "order", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_route_refuses_is_refused_when_it_is_made(runtime: Runtime, acme: str, kind: str, order: Any, error: type) -> None:
    with pytest.raises(error):
        planned(runtime, acme, kind=kind, order=order)
    with runtime.sessions() as session:
        assert schedules.page(session, acme, limit=1) == []


PASSES: Mapping[str, tuple[str, Any]] = {
    "no version yet": ("predict", PredictOrder(("dev-1",), ("cpu",), batch=True)),
    "nothing to judge with": ("anomaly_detect", DetectOrder("dev-1")),
    "too little to train": ("train", TrainOrder("device-metric", ("new",), "cpu")),
}


@pytest.mark.parametrize(("kind", "order"), PASSES.values(), ids=PASSES.keys())
def test_what_passes_by_itself_does_not_stand_in_the_way(runtime: Runtime, acme: str, kind: str, order: Any) -> None:
    devices(runtime, acme, "new", rows=3)
    row = planned(runtime, acme, kind=kind, order=order)
    assert jobs(runtime) == [], "what was asked for to try it is taken back"
    assert not row.paused


def test_a_name_is_given_once_and_there_are_so_many(runtime: Runtime, acme: str) -> None:
    planned(runtime, acme)
    with pytest.raises(Conflict, match="already"):
        planned(runtime, acme)
    other = owner(runtime, "other")
    devices(runtime, other, "dev-1")
    planned(runtime, other)
    with pytest.raises(Conflict, match="as many as a tenant may"):
        planned(changed(runtime, tenant_max_schedules=1), acme, "second")


def test_old_runs_are_forgotten_and_purged_jobs_leave_their_run(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme)
    for _ in range(2):
        come(runtime)
        fire_due(runtime)
    old = runs(runtime, row)[1]
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE schedule_runs SET at = at - interval '91 days' WHERE id = :id"), {"id": old.id})
        session.execute(text("DELETE FROM jobs"))
    assert tidy_once(runtime)["schedule_runs"] == 1
    assert [(run.state, run.job_id) for run in runs(runtime, row)] == [("fired", None)]
