"""Due rows become doorbells: bounded, fair, rung again when lost, never lost when the broker or Postgres is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text

from tasks import submit as submitting
from tasks.dispatcher import Dispatcher
from tasks.orders import TrainOrder
from tasks.placing import Asker
from tasks.runtime import Runtime
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, tenant, wave
from tests.support.severed import cut


@pytest.fixture
def broker(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def dispatcher(runtime: Runtime, **changes: Any) -> Dispatcher:
    return Dispatcher(replace(runtime, settings=replace(runtime.settings, **changes)))


def order(shop: Workshop, asker: Asker, n: int, first: int = 0) -> list[str]:
    """n trainings of one entity that differ in their seed."""
    orders = [TrainOrder("device-metric", ("dev",), "cpu", overrides={**SMALL, "seed": seed}) for seed in range(first, first + n)]
    return [submitting.train(shop.runtime, asker, each).job.id for each in orders]


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    asker = tenant(shop)
    ingest(shop, asker, "dev", wave(200))
    return asker


def bells(broker: Redis, queue: str = "train") -> list[str]:
    """The ids rung for, first in line first, as they lie on the broker."""
    return [json.loads(raw)["headers"]["id"].split(":")[0] for raw in reversed(broker.lrange(queue, 0, -1))]


def test_a_message_carries_the_job_id_and_nothing_that_would_have_to_be_erased(shop: Workshop, broker: Redis, acme: Asker) -> None:
    [job_id] = order(shop, acme, 1)
    ringing = dispatcher(shop.runtime)
    assert ringing.dispatch_once() == 1
    message = json.loads(broker.lrange("train", 0, -1)[0])
    assert message["headers"]["task"] == "train"
    assert message["headers"]["argsrepr"] == job_id
    assert "dev" not in message["headers"]["argsrepr"], "whom it is about stands in Postgres alone"
    assert message["headers"]["id"] == f"{job_id}:1"
    assert acme.tenant_id not in json.dumps(message)
    ringing.close()


def test_the_window_bounds_what_lies_on_the_broker(shop: Workshop, broker: Redis, acme: Asker) -> None:
    jobs = order(shop, acme, 7)
    ringing = dispatcher(shop.runtime, dispatch_window=3)
    assert [ringing.dispatch_once() for _ in range(3)] == [3, 0, 0]
    assert bells(broker) == jobs[:3]
    broker.rpop("train", 2)  # a worker takes two
    assert ringing.dispatch_once() == 2
    ringing.close()


def test_bells_lost_with_redis_are_rung_again_and_those_in_a_slow_queue_are_not(shop: Workshop, broker: Redis, acme: Asker) -> None:
    jobs = order(shop, acme, 3)
    ringing = dispatcher(shop.runtime, redispatch_s=0.3)
    assert ringing.dispatch_once() == 3
    time.sleep(0.4)
    assert ringing.dispatch_once() == 0, "they still lie there: the worker is slow, nothing is lost"
    broker.flushdb()
    assert ringing.dispatch_once() == 3
    assert bells(broker) == jobs
    ringing.close()


def test_a_lost_bell_is_found_among_stale_ones(shop: Workshop, broker: Redis, acme: Asker) -> None:
    """Members of a cohort leave their bells behind: the list is longer than what waits, and one that waits is not in it."""
    jobs = order(shop, acme, 5)
    ringing = dispatcher(shop.runtime, redispatch_s=0.3)
    assert ringing.dispatch_once() == 5
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = ANY(:ids)"), {"ids": jobs[:4]})
    broker.lpop("train")  # the newest, which is the only one that still waits
    time.sleep(0.4)
    assert ringing.dispatch_once() == 1
    assert bells(broker)[-1] == jobs[4]
    ringing.close()


def test_a_broker_that_is_away_stamps_nothing(shop: Workshop, broker: Redis, acme: Asker) -> None:
    [job_id] = order(shop, acme, 1)
    away = dispatcher(shop.runtime, redis_url="redis://127.0.0.1:1/0")
    assert away.dispatch_once() == 0
    with shop.sessions() as session:
        stamps = session.execute(text("SELECT dispatch_no, dispatched_at FROM jobs WHERE id = :id"), {"id": job_id}).one()
    assert tuple(stamps) == (0, None)
    away.close()
    ringing = dispatcher(shop.runtime)
    assert ringing.dispatch_once() == 1
    ringing.close()


def test_ten_tenants_get_their_turn_beside_a_noisy_one(shop: Workshop, broker: Redis) -> None:
    noisy = tenant(shop, "noisy")
    ingest(shop, noisy, "dev", wave(200))
    order(shop, noisy, 50)
    quiet = {}
    for n in range(10):
        asker = tenant(shop, f"quiet-{n}")
        ingest(shop, asker, "dev", wave(200))
        quiet[asker.tenant_id] = order(shop, asker, 1)[0]
    ringing = dispatcher(shop.runtime, dispatch_window=15)
    assert ringing.dispatch_once() == 15
    first = bells(broker)
    assert set(quiet.values()) <= set(first), "every tenant with one job is rung for, though the noisy one came first with fifty"
    assert len(set(first) - set(quiet.values())) == 5
    ringing.close()


def test_two_dispatchers_at_once_ring_each_job_once(shop: Workshop, broker: Redis, acme: Asker) -> None:
    jobs = order(shop, acme, 30)
    pair = [dispatcher(shop.runtime), dispatcher(shop.runtime)]
    threads = [threading.Thread(target=one.dispatch_once) for one in pair for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bells(broker)) == sorted(jobs)
    for one in pair:
        one.close()


def test_the_loop_wakes_at_once_when_a_job_is_submitted(shop: Workshop, broker: Redis, acme: Asker) -> None:
    ringing = dispatcher(shop.runtime, dispatch_poll_s=30.0)
    stop = threading.Event()
    loop = threading.Thread(target=ringing.run, args=(stop,))
    loop.start()
    try:
        time.sleep(0.5)  # it has found nothing and waits
        began = time.monotonic()
        order(shop, acme, 1)
        while not broker.llen("train") and time.monotonic() - began < 5:
            time.sleep(0.005)
        assert time.monotonic() - began < 2, "it slept through the call"
    finally:
        stop.set()
        order(shop, acme, 1, first=99)  # the call that lets the loop see that it is to stop
        loop.join(timeout=10)
    assert not loop.is_alive()


def test_the_loop_outlives_a_postgres_that_drops_every_connection(shop: Workshop, broker: Redis, acme: Asker) -> None:
    ringing = dispatcher(shop.runtime, dispatch_poll_s=0.1)
    stop = threading.Event()
    loop = threading.Thread(target=ringing.run, args=(stop,))
    loop.start()
    try:
        time.sleep(0.3)
        cut(shop.runtime.engine)
        order(shop, acme, 1)
        deadline = time.monotonic() + 10
        while not broker.llen("train") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert broker.llen("train") == 1
    finally:
        stop.set()
        loop.join(timeout=10)
