"""What fails, by its real cause: what the client reads, whether it is tried again, and what operators see."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import safetensors.torch
import torch
from sqlalchemy import text

from db import registry
from db.audit import By
from db.models import Version
from db.sources import stored
from ml import trainer
from ml.networks import build
from ml.shelf import MANIFEST, WEIGHTS, folder
from ml.spec import ModelSpec
from tasks import metrics, submit
from tasks import train as training
from tasks.alarms import DetectOrder, WatchOrder
from tasks.execute import Work, run
from tasks.imports import ImportOrder, import_base
from tasks.jobs import WhatIfJob
from tasks.lease import Lease
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.reconcile import Patrol, reconcile_once
from tasks.workshop import Workshop
from tests.support.road import HANDLERS, SMALL, START, ingest, job, tenant, wave, work_off
from tests.support.scrape import counted
from tests.support.severed import cut
from tests.support.starved import answer, can_mount

ORDER = TrainOrder("device-metric", ("dev",), "cpu", overrides=SMALL, look_back_hours=9999)
WATCH = WatchOrder("dev", channels=("cpu",))
#: Of a version, on the rows that it learned from.
LOOK_BACK = BacktestOrder("dev", target="cpu", begin=START + timedelta(hours=300))
SPEC = ModelSpec(targets=("cpu",), **SMALL)  # type: ignore[arg-type]
PREDICT = PredictOrder(("dev",), ("cpu",))


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """A tenant with a device."""
    asker = tenant(shop)
    ingest(shop, asker, "dev", wave(400))
    return asker


def tried(shop: Workshop, job_id: str) -> list[tuple[str, str | None]]:
    """How each try ended, and of which problem."""
    with shop.sessions() as session:
        rows = session.execute(text("SELECT outcome, error ->> 'code' FROM attempts WHERE job_id = :id ORDER BY fence"), {"id": job_id})
        return [(row[0], row[1]) for row in rows]


def rung(shop: Workshop, submitted: Submitted, handlers: Any = HANDLERS) -> None:
    """One bell, one try."""
    run(shop, handlers, submitted.job.id, f"{submitted.job.id}:1")


def trained(shop: Workshop, asker: Asker, order: TrainOrder = ORDER) -> Version:
    """The version that serves."""
    done = job(shop, asker, submit.train(shop.runtime, asker, order).job.id)
    work_off(shop)
    done = job(shop, asker, done.id)
    assert done.state == "succeeded", done.error
    assert done.result is not None
    with shop.sessions() as session:
        return registry.version(session, asker.tenant_id, done.result["model"], done.result["version"])


# What a try meets, and whether there is another.


def _numpy_takes_too_much(_: Work) -> None:
    np.ones(2**50)


def _torch_takes_too_much(_: Work) -> None:
    torch.empty(2**50, dtype=torch.uint8)


def _postgres_hangs_up(work: Work) -> None:
    with work.shop.sessions() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def _the_source_hangs_up(work: Work) -> None:
    """Between two questions, and observations are read past SQLAlchemy."""
    with work.shop.sessions() as session:
        cut_off = session.connection().connection.driver_connection
        assert isinstance(cut_off, psycopg.Connection)
        with pytest.raises(psycopg.OperationalError):
            cut_off.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        stored.fetch(session, 1, ["cpu"])


def _nothing_moves(_: Work) -> None:
    times = np.datetime64("2026-01-01", "ms") + np.arange(400) * np.timedelta64(3_600_000, "ms")
    trainer.prepare("dev", {"cpu": (times, np.full(400, 20.0))}, SPEC)


def _our_own_mistake(_: Work) -> None:
    raise ZeroDivisionError("secret detail")


MET: dict[str, tuple[Callable[[Work], None], str, bool]] = {
    "numpy's memory": (_numpy_takes_too_much, "out_of_memory", True),
    "torch's memory": (_torch_takes_too_much, "out_of_memory", True),
    "Postgres": (_postgres_hangs_up, "source_unavailable", True),
    "the source": (_the_source_hangs_up, "source_unavailable", True),
    "the data": (_nothing_moves, "flatline_detected", False),
    "a mistake": (_our_own_mistake, "internal", True),
}


@pytest.mark.parametrize("name", MET)
def test_what_a_try_meets_is_typed_and_counted_and_tried_again_where_that_may_help(shop: Workshop, acme: Asker, name: str) -> None:
    act, code, again = MET[name]
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, max_attempts=2))
    submitted = submit.train(shop.runtime, acme, ORDER)

    def handle(_: Workshop, works: Sequence[Work]) -> None:
        for work in works:
            with work.outcome():
                act(work)

    rung(shop, submitted, {"train": handle})
    first = job(shop, acme, submitted.job.id)
    assert (first.state, tried(shop, first.id)) == (("queued", [("retried", code)]) if again else ("failed", [("failed", code)]))
    deadline = time.monotonic() + 10
    while not job(shop, acme, first.id).terminal and time.monotonic() < deadline:
        work_off(shop, {"train": handle})
    error = job(shop, acme, first.id).error
    assert error is not None
    assert (error["code"], error["retryable"], error["type"]) == (code, again, f"/problems/{code}")
    assert error["hint"].endswith(".")
    assert "secret detail" not in str(error)
    assert counted(shop.runtime, metrics.ATTEMPTS_FAILED, "train", code) == len(tried(shop, first.id)) == (2 if again else 1)
    assert counted(shop.runtime, metrics.JOBS_FAILED, "train", code) == 1


def test_a_job_that_its_handler_forgets_is_not_left_to_its_lease(shop: Workshop, acme: Asker) -> None:
    submitted = submit.train(shop.runtime, acme, ORDER)
    rung(shop, submitted, {"train": lambda *_: None})
    assert tried(shop, submitted.job.id) == [("retried", "internal")]


# Memory.


def test_a_training_whose_process_may_take_no_more_memory_is_tried_elsewhere(shop: Workshop, acme: Asker) -> None:
    """Its process lives on: it says what happened, and the next worker does it."""
    large = {**SMALL, "hidden_size": 256, "window": 128, "batch_size": 256}
    ingest(shop, acme, "large", wave(4000))
    order = replace(ORDER, entities=("large",), overrides=large)
    submitted = submit.train(shop.runtime, acme, order)
    answer(shop, submitted.job.id, spare=192 * 2**20)
    assert tried(shop, submitted.job.id) == [("retried", "out_of_memory")]
    assert job(shop, acme, submitted.job.id).state == "queued"


def _cohort(shop: Workshop, asker: Asker, size: int = 4) -> list[str]:
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, cohort_size=size, retry_base_s=600.0))
    for n in range(size):
        ingest(shop, asker, f"dev-{n}", wave(400, level=20.0 + n))
    names = tuple(f"dev-{n}" for n in range(size))
    batch = submit.train(shop.runtime, asker, replace(ORDER, entities=names, batch=True)).job.id
    with shop.sessions() as session:
        return list(session.scalars(text("SELECT id FROM jobs WHERE parent_id = :id ORDER BY label"), {"id": batch}))


def _a_device_that_holds(monkeypatch: pytest.MonkeyPatch, allowed: Callable[[Sequence[trainer.Case]], bool]) -> list[int]:
    """A stand-in for a card's memory, since the card at hand may be none: the sizes that were tried on it."""
    tries: list[int] = []

    def fit(cases: Sequence[trainer.Case], *rest: Any, **more: Any) -> Any:
        tries.append(len(cases))
        if not allowed(cases):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return trainer.fit(cases, *rest, **more)

    monkeypatch.setattr(training, "fit", fit)
    return tries


def test_a_cohort_too_large_for_the_device_goes_on_in_halves(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    members = _cohort(shop, acme)
    tries = _a_device_that_holds(monkeypatch, lambda cases: len(cases) < 3)
    run(shop, HANDLERS, members[0], f"{members[0]}:1")
    assert tries == [4, 2, 2]
    assert [tried(shop, member) for member in members] == [[("succeeded", None)]] * 4


def test_a_member_too_large_by_itself_parks_nobody_else(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    members = _cohort(shop, acme)
    _a_device_that_holds(monkeypatch, lambda cases: all(case.series.entity != "dev-2" for case in cases))
    run(shop, HANDLERS, members[0], f"{members[0]}:1")
    ended = [tried(shop, member) for member in members]
    assert ended == [[("succeeded", None)], [("succeeded", None)], [("retried", "out_of_memory")], [("succeeded", None)]]


def test_memory_that_runs_out_in_the_middle_costs_no_member_that_is_done(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, as on a CPU: the second one's judgement takes too much, once."""
    acme = tenant(shop)
    members = _cohort(shop, acme, 3)
    judge, seen = trainer.judge, []

    def judged(case: trainer.Case, *rest: Any) -> Any:
        seen.append(case.series.entity)
        if len(seen) == 2:
            np.ones(2**50)
        return judge(case, *rest)

    monkeypatch.setattr(trainer, "judge", judged)
    run(shop, HANDLERS, members[0], f"{members[0]}:1")
    assert [tried(shop, member) for member in members] == [[("succeeded", None)]] * 3
    assert len(seen) == 4


# The disk of artefacts.

DISKS = {"full": "size=8k", "for reading only": "ro,size=1m"}


@pytest.mark.parametrize("disk", ["full", pytest.param("for reading only", marks=pytest.mark.slow)])
def test_a_disk_that_takes_nothing_publishes_nothing_and_costs_a_try(shop: Workshop, acme: Asker, tmp_path: Path, disk: str) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a disk of their own")
    submitted = submit.train(shop.runtime, acme, ORDER)
    assert answer(shop, submitted.job.id, disk=DISKS[disk]) == [], "neither half an artefact nor what it was written into"
    assert tried(shop, submitted.job.id) == [("retried", "storage_full")]
    with shop.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM versions")) == 0
        error = session.scalar(text("SELECT error FROM attempts"))
    assert (error["status"], error["retryable"]) == (507, True)
    work_off(shop)
    assert job(shop, acme, submitted.job.id).state == "succeeded", "once there is room"


def test_operators_see_how_much_room_is_left(shop: Workshop) -> None:
    """Before the folder is made, too."""
    reading = shop.runtime.meter.read()
    assert reading is not None
    [free], [total] = (list(reading.held[metric].values()) for metric in (metrics.STORAGE_FREE, metrics.STORAGE_TOTAL))
    assert 0 < free < total


# Training.


def test_a_training_that_leaves_the_numbers_fails_at_once(shop: Workshop, acme: Asker) -> None:
    """From a base whose weights are numbers, and whose products are none."""
    loud = {name: torch.full_like(tensor, 3e38) for name, tensor in build(SPEC).state_dict().items()}
    import_base(shop.runtime, acme.tenant_id, ImportOrder("loud", SPEC, safetensors.torch.save(loud), activation="always"), "test")
    submitted = submit.train(shop.runtime, acme, replace(ORDER, base=BaseOrder(name="loud"), overrides={**SMALL, "epochs": 3}))
    work_off(shop)
    done = job(shop, acme, submitted.job.id)
    assert tried(shop, done.id) == [("failed", "training_diverged")]
    assert done.error is not None
    assert (done.error["retryable"], done.error["epoch"]) == (False, 1)


def test_a_job_whose_work_hangs_is_taken_over_and_the_late_one_writes_nothing(shop: Workshop, acme: Asker) -> None:
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, lease_s=1.2, stall_timeout_s=1.0))
    submitted = submit.train(shop.runtime, acme, ORDER)
    free, ended = threading.Event(), threading.Event()

    def hang(_: Workshop, works: Sequence[Work]) -> None:
        with works[0].outcome():
            free.wait(30)
            works[0].publish(lambda _: ({"by": "the late one"}, []))

    def late() -> None:
        rung(shop, submitted, {"train": hang})
        ended.set()

    threading.Thread(target=late).start()
    deadline = time.monotonic() + 20
    while not reconcile_once(shop.runtime)["reaped"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    work_off(shop)
    free.set()
    assert ended.wait(20)
    assert tried(shop, submitted.job.id) == [("lost", "worker_lost"), ("succeeded", None)]
    result = job(shop, acme, submitted.job.id).result
    assert result is not None
    assert result["version"] == "1.0.0"
    assert counted(shop.runtime, metrics.LEASES_REAPED, "train") == 1


# The source.


@pytest.mark.parametrize("asked", ["train", "predict"])
def test_a_source_that_goes_away_in_the_middle_costs_a_try(shop: Workshop, acme: Asker, asked: str) -> None:
    """Postgres ends the connection that waits for observations."""
    trained(shop, acme)
    submitted = submit.predict(shop.runtime, acme, PREDICT) if asked == "predict" else submit.train(shop.runtime, acme, ORDER)
    worker = threading.Thread(target=rung, args=(shop, submitted))
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%observations%'")
    with shop.sessions.begin() as locked, shop.sessions() as looking:
        locked.execute(text("LOCK TABLE observations IN ACCESS EXCLUSIVE MODE"))
        worker.start()
        deadline = time.monotonic() + 20
        while not looking.scalar(waiting):
            assert time.monotonic() < deadline
            looking.rollback()
            time.sleep(0.02)
        ended = text(str(waiting).replace("count(*)", "pg_terminate_backend(pid)"))
        looking.execute(ended)
    worker.join(20)
    assert tried(shop, submitted.job.id) == [("retried", "source_unavailable")]
    cut(shop.runtime.engine)
    work_off(shop)
    assert job(shop, acme, submitted.job.id).state == "succeeded"


# Damaged artefacts.

HARMS: dict[str, Callable[[Path], object]] = {
    "a byte flipped": lambda at: (at / WEIGHTS).write_bytes(_flipped((at / WEIGHTS).read_bytes())),
    "cut short": lambda at: (at / WEIGHTS).write_bytes((at / WEIGHTS).read_bytes()[:-1]),
    "no weights": lambda at: (at / WEIGHTS).unlink(),
    "no manifest": lambda at: (at / MANIFEST).unlink(),
    "gone": lambda at: at.rename(at.with_name("elsewhere")),
}


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def harm(shop: Workshop, version: Version, how: Callable[[Path], object]) -> Path:
    """As a disk would, while no worker has the version in memory."""
    shop._loaded.clear()
    at = folder(shop.settings.model_dir, version.artefact_sha256)
    how(at)
    return at


@pytest.mark.parametrize("how", HARMS)
def test_a_prediction_refuses_a_damaged_version_and_a_rollback_answers(shop: Workshop, acme: Asker, how: str) -> None:
    first = trained(shop, acme)
    second = trained(shop, acme, replace(ORDER, overrides={**SMALL, "seed": 2}, activation="always"))
    harm(shop, second, HARMS[how])
    submitted = submit.predict(shop.runtime, acme, PREDICT)
    work_off(shop)
    done = job(shop, acme, submitted.job.id)
    assert tried(shop, done.id) == [("failed", "artefact_corrupt")], "another try would read the same"
    assert done.error is not None
    assert done.error["retryable"] is False
    assert re.search(rf"{second.semver}: roll back with POST /models/{second.model_id}/rollback", done.error["hint"])
    assert counted(shop.runtime, metrics.ARTEFACTS_CORRUPT) == 1
    with shop.sessions() as session:
        assert registry.version(session, acme.tenant_id, second.model_id, second.semver).active, "nothing is switched in silence"
    with shop.sessions.begin() as session:
        registry.rollback(session, acme.tenant_id, second.model_id, reason="damaged", by=By("test"))
    answered = submit.predict(shop.runtime, acme, PREDICT)
    work_off(shop)
    done = job(shop, acme, answered.job.id)
    assert done.result is not None, done.error
    assert done.result["forecast"]["served_by"]["version"] == first.semver


ASKED: dict[str, Callable[[Workshop, Asker, Version], Submitted]] = {
    "predict": lambda shop, asker, _: submit.predict(shop.runtime, asker, PREDICT),
    "what_if": lambda shop, asker, _: submit.what_if(
        shop.runtime,
        asker,
        WhatIfJob("dev", "cpu", scenarios=({"name": "more", "changes": [{"channel": "cpu", "op": "add", "value": 1.0}]},)),
    ),
    "backtest": lambda shop, asker, _: submit.backtest(shop.runtime, asker, LOOK_BACK),
    "train": lambda shop, asker, version: submit.train(
        shop.runtime, asker, replace(ORDER, base=BaseOrder(model=version.model_id, version=version.semver))
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_whoever_needs_a_damaged_version_fails_as_such(shop: Workshop, acme: Asker, kind: str) -> None:
    version = trained(shop, acme)
    harm(shop, version, HARMS["a byte flipped"])
    submitted = ASKED[kind](shop, acme, version)
    work_off(shop)
    assert tried(shop, submitted.job.id) == [("failed", "artefact_corrupt")]


def test_a_detection_refuses_a_damaged_detector(shop: Workshop, acme: Asker) -> None:
    submitted = submit.watch(shop.runtime, acme, WATCH)
    work_off(shop)
    result = job(shop, acme, submitted.job.id).result
    assert result is not None
    with shop.sessions() as session:
        version = registry.version(session, acme.tenant_id, result["model"], result["version"])
    harm(shop, version, HARMS["no manifest"])
    detection = submit.detect(shop.runtime, acme, DetectOrder("dev"))
    work_off(shop)
    assert tried(shop, detection.job.id) == [("failed", "artefact_corrupt")]


def test_a_damaged_version_does_not_stand_in_its_successors_way_and_is_told(shop: Workshop, acme: Asker) -> None:
    damaged = trained(shop, acme)
    harm(shop, damaged, HARMS["cut short"])
    after = trained(shop, acme, replace(ORDER, overrides={**SMALL, "seed": 2}))
    assert [check["name"] for check in after.gate["checks"]] == ["skill"], "there was nobody to compare it with"
    assert counted(shop.runtime, metrics.ARTEFACTS_CORRUPT) == 1


@pytest.mark.parametrize("how", [how for how in HARMS if how != "gone"])
def test_who_makes_a_damaged_artefact_again_mends_it(shop: Workshop, acme: Asker, how: str) -> None:
    """The same network, imported again."""
    order = ImportOrder("base", SPEC, safetensors.torch.save(build(SPEC).state_dict()), activation="always")
    version, _ = import_base(shop.runtime, acme.tenant_id, order, "test")
    at = harm(shop, version, HARMS[how])
    again, known = import_base(shop.runtime, acme.tenant_id, order, "test")
    assert (known, again.id) == (True, version.id)
    shop.base(again)
    assert not list(shop.settings.model_dir.glob(".tmp-*"))
    assert {path.name for path in at.iterdir()} == {WEIGHTS, MANIFEST}


# Told to go.


@pytest.fixture
def fleet(shop: Workshop) -> Asker:
    asker = tenant(shop)
    for n in range(3):
        ingest(shop, asker, f"dev-{n}", wave(400, level=20.0 + n))
    ingest(shop, asker, "dev", wave(400))
    trained(shop, asker)
    submit.watch(shop.runtime, asker, WATCH)
    work_off(shop)
    return asker


BASE = PretrainOrder("base", "device-metric", ("dev-0", "dev-1", "dev-2"), target="cpu", overrides=SMALL, look_back_hours=9999)
STARTED: dict[str, Callable[[Workshop, Asker], Submitted]] = {
    "train": lambda shop, asker: submit.train(shop.runtime, asker, replace(ORDER, overrides={**SMALL, "seed": 3})),
    "pretrain": lambda shop, asker: submit.pretrain(shop.runtime, asker, BASE),
    "backtest of a recipe": lambda shop, asker: submit.backtest(
        shop.runtime, asker, BacktestOrder("dev", recipe="device-metric", target="cpu", folds=2, overrides=SMALL)
    ),
    "backtest of a version": lambda shop, asker: submit.backtest(shop.runtime, asker, LOOK_BACK),
    "detector": lambda shop, asker: submit.watch(shop.runtime, asker, WATCH),
    "detection": lambda shop, asker: submit.detect(shop.runtime, asker, DetectOrder("dev")),
    "prediction": lambda shop, asker: submit.predict(shop.runtime, asker, PREDICT),
}
#: Phases in which a job listens. What is not here lasts milliseconds and ends at the next phase's beginning.
LONG = {
    ("train", "fit"),
    ("train", "judge"),
    ("pretrain", "fetch"),
    ("pretrain", "fit"),
    ("backtest of a recipe", "fit"),
    ("backtest of a version", "forecast"),
    ("detector", "fit"),
    ("detection", "detect"),
}
PHASES = [
    *[("train", phase) for phase in ("fetch", "prepare", "fit", "judge")],
    *[("pretrain", phase) for phase in ("fetch", "fit")],
    *[("backtest of a recipe", phase) for phase in ("fetch", "fit")],
    *[("backtest of a version", phase) for phase in ("fetch", "forecast")],
    *[("detector", phase) for phase in ("fetch", "fit")],
    *[("detection", phase) for phase in ("fetch", "detect")],
    ("prediction", "fetch"),
]


@pytest.mark.parametrize(("kind", "phase"), PHASES)
def test_a_job_told_to_go_lets_go_within_the_phase_it_is_in(
    shop: Workshop, fleet: Asker, monkeypatch: pytest.MonkeyPatch, kind: str, phase: str
) -> None:
    shop._loaded.clear()
    submitted = STARTED[kind](shop, fleet)
    seen: list[str] = []
    progress = Lease.progress

    def noted(lease: Lease, job_id: str, name: str, **figures: Any) -> None:
        progress(lease, job_id, name, **figures)
        seen.append(name)

    def told(work: Work, name: str, **figures: Any) -> None:
        work.lease.progress(work.job.id, name, **figures)
        work.lease.check(work.job.id)
        if name == phase:
            work.lease._held[work.job.id].drain = True

    monkeypatch.setattr(Lease, "progress", noted)
    monkeypatch.setattr(Work, "progress", told)
    rung(shop, submitted)
    assert tried(shop, submitted.job.id) == [("drained", None)]
    back = job(shop, fleet, submitted.job.id)
    assert (back.state, back.attempt) == ("queued", 0)
    later = seen[seen.index(phase) + 1 :]
    if (kind, phase) in LONG:
        assert set(later) <= {phase}, "it was not heard before the next phase"
    else:
        assert len(set(later) - {phase}) <= 1


def test_a_cohort_told_to_go_is_handed_back_whole(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    members = _cohort(shop, acme)
    progress = Work.progress

    def told(work: Work, name: str, **figures: Any) -> None:
        progress(work, name, **figures)
        if name == "fit":
            for held in work.lease._held.values():
                held.drain = True

    monkeypatch.setattr(Work, "progress", told)
    run(shop, HANDLERS, members[0], f"{members[0]}:1")
    assert [tried(shop, member) for member in members] == [[("drained", None)]] * 4


# Who looks after the others.


def test_a_round_that_breaks_of_what_nobody_foresaw_ends_its_process(shop: Workshop) -> None:
    """A dispatcher that goes on without its rounds would leave what died running for ever."""
    told, rounds = threading.Event(), 0

    def broken() -> None:
        nonlocal rounds
        rounds += 1
        raise ZeroDivisionError

    patrol = Patrol("broken", broken, every_s=0.01, rest_s=0.01, told=told)
    patrol.run()
    assert told.is_set()
    assert rounds == 1
