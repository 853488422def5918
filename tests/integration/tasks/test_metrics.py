"""What workers, sweeps and the dispatcher count while they do their work."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import ledger
from db.errors import FenceLost
from tasks import metrics, submit
from tasks.dispatcher import Dispatcher
from tasks.execute import Work
from tasks.lease import Lease
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import reconcile_once
from tasks.worker import role
from tasks.workshop import Workshop
from tests.support.road import HANDLERS, SMALL, ingest, job, tenant, wave, work_off, workshop
from tests.support.scrape import counted

ORDER = TrainOrder("device-metric", ("dev",), target="cpu", overrides=SMALL, look_back_hours=9999)


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    asker = tenant(shop)
    ingest(shop, asker, "dev", wave(200))
    return asker


def ordered(shop: Workshop, asker: Asker, seed: int = 0) -> str:
    return submit.train(shop.runtime, asker, replace(ORDER, overrides={**SMALL, "seed": seed})).job.id


def sum_of(shop: Workshop, metric: Any, *labels: str) -> float:
    reading = shop.runtime.meter.read()
    assert reading is not None
    return reading.counted[metric][labels][-1]


def test_a_job_worked_off(shop: Workshop, acme: Asker) -> None:
    job_id = ordered(shop, acme)
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET available_at = available_at - interval '7 s' WHERE id = :id"), {"id": job_id})
    work_off(shop)
    submit.predict(shop.runtime, acme, PredictOrder(("dev",), ("cpu",)))
    work_off(shop)
    for kind in ("train", "predict"):
        assert counted(shop.runtime, metrics.JOBS_ENDED, kind, "succeeded") == 1
        assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, kind, "succeeded") == 1
        assert counted(shop.runtime, metrics.JOB_WAIT, kind) == counted(shop.runtime, metrics.JOB_RUN, kind) == 1
    assert 7 <= sum_of(shop, metrics.JOB_WAIT, "train") < 20
    assert 0 < sum_of(shop, metrics.JOB_RUN, "train") < 20
    assert counted(shop.runtime, metrics.COHORT_SIZE) == sum_of(shop, metrics.COHORT_SIZE) == 1
    assert everything_is_named(shop)


def everything_is_named(shop: Workshop) -> bool:
    """Nothing had to be called `other`."""
    reading = shop.runtime.meter.read()
    assert reading is not None
    return not [labels for series in reading.counted.values() for labels in series if "other" in labels]


def test_a_cohort_and_a_batch_with_failures(shop: Workshop) -> None:
    acme = tenant(shop)
    for n in range(3):
        ingest(shop, acme, f"dev-{n}", wave(200))
    ingest(shop, acme, "short", wave(20))
    shop.runtime = replace(shop.runtime, settings=replace(shop.settings, cohort_size=8))
    order = replace(ORDER, entities=("dev-0", "dev-1", "dev-2", "short"), batch=True)
    parent = submit.train(shop.runtime, acme, order).job.id
    work_off(shop)
    assert job(shop, acme, parent).state == "succeeded"
    ended = {state: counted(shop.runtime, metrics.JOBS_ENDED, "train", state) for state in ("succeeded", "failed", "cancelled")}
    assert ended == {"succeeded": 3, "failed": 1, "cancelled": 0}, "the batch itself is no work"
    assert counted(shop.runtime, metrics.JOBS_FAILED, "train", "insufficient_data") == 1
    assert (counted(shop.runtime, metrics.COHORT_SIZE), sum_of(shop, metrics.COHORT_SIZE)) == (1, 4)
    assert everything_is_named(shop)


def failing(_: Workshop, works: Sequence[Work]) -> None:
    for work in works:
        with work.outcome():
            raise RuntimeError("a fault of ours")


def test_a_job_tried_until_it_may_no_longer(shop: Workshop, acme: Asker) -> None:
    ordered(shop, acme)
    deadline = time.monotonic() + 20
    while not counted(shop.runtime, metrics.JOBS_FAILED, "train", "internal") and time.monotonic() < deadline:
        work_off(shop, {**HANDLERS, "train": failing})
    tries = shop.settings.max_attempts
    assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, "train", "retried") == tries - 1
    assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, "train", "exhausted") == 1
    assert counted(shop.runtime, metrics.JOBS_ENDED, "train", "failed") == counted(shop.runtime, metrics.JOB_RUN, "train") == 1
    assert counted(shop.runtime, metrics.JOB_WAIT, "train") == tries


@pytest.mark.parametrize("found_by", ["the work", "the outcome"])
def test_a_lost_lease(shop: Workshop, acme: Asker, found_by: str) -> None:
    def overtaken(_: Workshop, works: Sequence[Work]) -> None:
        [work] = works
        with work.outcome():
            with shop.sessions.begin() as session:
                ledger.release(session, work.job.id, work.claim.fence)
            raise FenceLost(work.job.id, work.claim.fence) if found_by == "the work" else RuntimeError("later")

    job_id = ordered(shop, acme)
    work_off(shop, {"train": overtaken}, most=1)
    assert job(shop, acme, job_id).state == "queued"
    assert counted(shop.runtime, metrics.ATTEMPTS_ENDED, "train", "fenced") == 1
    assert counted(shop.runtime, metrics.JOB_RUN, "train") == 0, "it has not ended"


def test_what_sweeps_end(shop: Workshop, acme: Asker) -> None:
    late, lapsed, stopped = (ordered(shop, acme, seed) for seed in range(3))
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET deadline_at = now() - interval '1 s' WHERE id = :id"), {"id": late})
    for job_id, cancel in ((lapsed, False), (stopped, True)):
        with shop.sessions.begin() as session:
            claim = ledger.claim(session, job_id, "gone/bell", 30.0)
            assert claim is not None
            if cancel:
                ledger.cancel(session, acme.tenant_id, job_id)
            session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job_id})
        deadline = time.monotonic() + 2 * shop.settings.lease_s  # nothing is reaped in the first lease after Postgres started
        while job(shop, acme, job_id).state == "running" and time.monotonic() < deadline:
            reconcile_once(shop.runtime)
            time.sleep(0.05)
    assert counted(shop.runtime, metrics.JOBS_FAILED, "train", "deadline_exceeded") == 1
    assert counted(shop.runtime, metrics.LEASES_REAPED, "train") == 1
    ended = {state: counted(shop.runtime, metrics.JOBS_ENDED, "train", state) for state in ("succeeded", "failed", "cancelled")}
    assert ended == {"succeeded": 0, "failed": 1, "cancelled": 1}


def test_bells(shop: Workshop, acme: Asker, redis_url: str) -> None:
    ordered(shop, acme)
    ringing = Dispatcher(replace(shop.runtime, settings=replace(shop.settings, redispatch_s=0.3)))
    assert ringing.dispatch_once() == 1
    assert (counted(shop.runtime, metrics.BELLS, "train"), counted(shop.runtime, metrics.BELLS_AGAIN, "train")) == (1, 0)
    with Redis.from_url(redis_url) as broker:
        broker.delete("train")
    time.sleep(0.4)
    assert ringing.dispatch_once() == 1
    assert (counted(shop.runtime, metrics.BELLS, "train"), counted(shop.runtime, metrics.BELLS_AGAIN, "train")) == (2, 1)
    ringing.close()


def test_a_publication_that_postgres_interrupts(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    ordered(shop, acme)
    once = iter([True])

    def hold(session: Session, job_id: str, fence: int) -> Any:
        if next(once, False):
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return held(session, job_id, fence)

    held = ledger.hold
    monkeypatch.setattr(ledger, "hold", hold)
    work_off(shop)
    assert counted(shop.runtime, metrics.PUBLICATIONS_REPEATED) == 1
    assert counted(shop.runtime, metrics.JOBS_ENDED, "train", "succeeded") == 1


def test_a_heartbeat_that_postgres_does_not_answer(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ordered(shop, acme)
    with shop.sessions.begin() as session:
        claim = ledger.claim(session, job_id, "here/bell", 3.0)
    assert claim is not None
    missed = threading.Event()

    def away(lease: Lease) -> None:
        missed.set()
        raise OperationalError("beat", {}, Exception("away"))

    monkeypatch.setattr(Lease, "_beat", away)
    with Lease(shop.runtime, [claim]):
        assert missed.wait(5)
    assert counted(shop.runtime, metrics.HEARTBEATS_MISSED) >= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card")
def test_memory_of_the_card(shop: Workshop) -> None:
    with workshop(replace(shop.settings, device="cuda")) as other:
        block = torch.empty(2**20, dtype=torch.uint8, device="cuda")
        assert other.runtime.meter.flush()
        reading = shop.runtime.meter.read()
        assert reading is not None
        [allocated], [reserved], [total] = (
            reading.held[metric].values() for metric in (metrics.DEVICE_ALLOCATED, metrics.DEVICE_RESERVED, metrics.DEVICE_TOTAL)
        )
        assert block.numel() <= allocated <= reserved <= total
        assert set(reading.held[metrics.DEVICE_TOTAL]) == {(shop.settings.host, "cuda:0")}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card")
def test_without_a_card_nothing_is_told_of_one(shop: Workshop) -> None:
    shop.runtime.serve(metrics.WORKER)
    assert shop.runtime.meter.flush()
    reading = shop.runtime.meter.read()
    assert reading is not None
    assert not {metrics.DEVICE_ALLOCATED, metrics.DEVICE_RESERVED, metrics.DEVICE_TOTAL} & reading.held.keys()
    assert metrics.PROCESSES in reading.held


@pytest.mark.parametrize(
    ("name", "is_a"),
    [("train@gpu-3", "train"), ("interactive@a", "interactive"), ("trainee", "worker"), ("web@a", "worker"), ("", "worker")],
)
def test_what_a_worker_is(name: str, is_a: str) -> None:
    assert role(name) == is_a
