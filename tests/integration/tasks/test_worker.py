"""A real Celery worker on the real broker: crashes counted, poison parked, cohorts, drains. Only the training itself is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db import ledger
from tasks import metrics, submit
from tasks.dispatcher import Dispatcher
from tasks.environment import environment, inherited
from tasks.orders import TrainOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.poisoned import PATIENT, POISON
from tests.support.road import SMALL, ingest, job, tenant, wave
from tests.support.scrape import counted

WORDS = ("--app", "tasks", "worker", "--include", "tests.support.poisoned", "--queues", "train", "--concurrency", "1")


@contextmanager
def worker(shop: Workshop, log: Path, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """A training worker and a dispatcher, until the block ends."""
    told = inherited() | environment(shop.settings) | changes
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *WORDS, "--without-gossip", "--without-mingle"], env=told, stdout=output, stderr=output
        )
    stop = threading.Event()
    loop = threading.Thread(target=Dispatcher(shop.runtime).run, args=(stop,))
    loop.start()
    try:
        yield process
    finally:
        stop.set()
        process.terminate()
        process.wait(90)  # how long it may take is asked by the test that is about it
        loop.join(10)


@pytest.fixture
def shop(shop: Workshop) -> Workshop:
    """With a lease longer than the 5 s in which Celery notices a dead child."""
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, lease_s=15.0))
    return shop


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    asker = tenant(shop)
    for n in range(4):
        ingest(shop, asker, f"dev-{n}", wave(200))
    return asker


def order(shop: Workshop, asker: Asker, entity: str, seed: int) -> str:
    overrides = {**SMALL, "seed": seed}
    return submit.train(shop.runtime, asker, TrainOrder("device-metric", (entity,), "cpu", overrides=overrides)).job.id


def ended(shop: Workshop, asker: Asker, ids: list[str], log: Path, seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {job_id: job(shop, asker, job_id) for job_id in ids}
        if all(each.terminal for each in found.values()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{[each.state for each in found.values()]}\n{log.read_text()[-3000:]}")


def test_a_poisonous_member_of_a_cohort_is_parked_and_its_mates_are_done(shop: Workshop, acme: Asker, tmp_path: Path) -> None:
    seeds = [1, POISON, 2, 3]
    ids = [order(shop, acme, f"dev-{n}", seed) for n, seed in enumerate(seeds)]
    log = tmp_path / "worker.log"
    with worker(shop, log, COHORT_SIZE="4"):
        found = ended(shop, acme, ids, log)
    assert [found[job_id].state for job_id in ids] == ["succeeded", "failed", "succeeded", "succeeded"]
    poison = found[ids[1]]
    assert poison.crashes == 3, log.read_text()[-8000:]
    assert poison.error["code"] == "worker_lost"
    with shop.sessions() as session:
        together = session.execute(text("SELECT count(DISTINCT job_id) FROM attempts GROUP BY worker ORDER BY 1 DESC")).scalar()
    assert together is not None
    assert together > 1, "they were taken up as a cohort"
    assert all(found[job_id].crashes <= 1 for job_id in ids if job_id != poison.id)
    assert counted(shop.runtime, metrics.WORKER_CRASHES) == 3
    assert counted(shop.runtime, metrics.JOBS_FAILED, "train", "worker_lost") == 1


def test_a_worker_told_to_stop_hands_back_and_ends(shop: Workshop, acme: Asker, tmp_path: Path) -> None:
    waiting = order(shop, acme, "dev-0", PATIENT)
    log = tmp_path / "worker.log"
    with worker(shop, log) as process:
        deadline = time.monotonic() + 30
        while job(shop, acme, waiting).state != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive(shop) == {("worker",): 1, ("dispatcher",): 1}
        os.kill(process.pid, signal.SIGTERM)
        process.wait(25)
    back = job(shop, acme, waiting)
    assert (back.state, back.attempt) == ("queued", 0)
    assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, "train", "drained") == 1, "what the child counted last was sent at its end"
    assert alive(shop) == {("dispatcher",): 1}


def test_a_kind_of_a_newer_release_waits_unclaimed_and_is_rung_again(shop: Workshop, acme: Asker, tmp_path: Path) -> None:
    with shop.sessions.begin() as session:
        new: dict[str, Any] = {"kind": "suppose", "queue": "train", "spec": {}, "spec_hash": "s", "label": "dev-0 cpu", "max_attempts": 1}
        unknown = ledger.submit(session, ledger.NewJob(tenant_id=acme.tenant_id, deadline_s=600.0, **new))[0].id
    known = order(shop, acme, "dev-0", 1)
    log = tmp_path / "worker.log"
    with worker(shop, log):
        assert ended(shop, acme, [known], log)[known].state == "succeeded", "it is in nobody's way"
        deadline = time.monotonic() + 60
        while job(shop, acme, unknown).dispatch_no < 3:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
    waiting = job(shop, acme, unknown)
    assert (waiting.state, waiting.attempt, waiting.fence) == ("queued", 0, None)
    assert "Received unregistered task of type 'suppose'" in log.read_text()


def alive(shop: Workshop) -> dict[tuple[str, ...], float]:
    reading = shop.runtime.meter.read()
    assert reading is not None
    return dict(reading.held[metrics.PROCESSES])
