"""The hub: whoever waits is woken by what is told, by what is looked up where nothing was told, and by a process that stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from db.session import make_engine
from ops.processes import wait_until
from tasks import status
from tasks.problems import problem
from tests.support.own_redis import own_server
from tests.support.web import Caller, House, days, make_house, make_runtime
from webapp import hub as room
from webapp.hub import EXTENSION, Hub

TRAIN = {"entity": "u", "recipe": "health-daily"}


@pytest.fixture
def job(ready: Caller) -> str:
    found: str = ready.post("/models/train", TRAIN).json["id"]
    return found


@pytest.fixture
def hub(house: House) -> Hub:
    found: Hub = house.app.extensions[EXTENSION]
    return found


def polled(caller: Caller, job: str, meanwhile: Callable[[], object], wait: int = 20) -> tuple[TestResponse, float]:
    """The answer of a long poll, and how long after the event it came."""
    own = Caller(caller.client.application.test_client(), caller.tenant_id, caller.key)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(own.get, f"/jobs/{job}?wait={wait}")
        time.sleep(0.7)
        meanwhile()
        done = time.monotonic()
        return answer.result(timeout=30), time.monotonic() - done


def test_who_waits_is_woken_by_what_is_told(house: House, ready: Caller, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FIRST_S", 60.0)
    monkeypatch.setattr(room, "SWEEP_S", 60.0)
    answer, seconds = polled(ready, job, lambda: house.claim(job))
    assert (answer.json["state"], seconds < 0.5) == ("running", True)


def test_what_was_never_told_is_looked_up(house: House, hub: Hub, ready: Caller, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_tell", lambda *_: None)
    answer, seconds = polled(ready, job, lambda: house.claim(job))
    assert (answer.json["state"], seconds < room.SWEEP_S + 0.5) == ("running", True)


def test_what_happens_soon_is_seen_soon(house: House, hub: Hub, ready: Caller, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast takes less time than it takes to join a hearing."""
    monkeypatch.setattr(hub, "_tell", lambda *_: None)
    soon = threading.Timer(0.03, house.claim, [job])
    soon.start()
    begun = time.monotonic()
    assert ready.get(f"/jobs/{job}?wait=20").json["state"] == "running"
    assert time.monotonic() - begun < 0.5
    soon.join()


def test_the_threads_come_and_go_with_those_who_wait(hub: Hub, ready: Caller, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LINGER_S", 0.2)
    assert hub._threads == {}, "nothing is opened before somebody waits"
    for _ in range(2):
        ready.get(f"/jobs/{job}?wait=0.1")
        assert set(hub._threads) == {"_listen", "_look"}
        assert hub.watched == 0
        deadline = time.monotonic() + 3
        while hub._threads:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_many_wait_for_one_job_and_for_many(house: House, ready: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [ready.post("/models/train", TRAIN | {"spec": {"seed": n}}).json["id"] for n in range(5)]

    def wait(n: int) -> str:
        caller = Caller(house.app.test_client(), ready.tenant_id, ready.key)
        state: str = caller.get(f"/jobs/{jobs[n % 5]}?wait=20").json["state"]
        return state

    begun = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        states = [pool.submit(wait, n) for n in range(40)]
        time.sleep(0.5)
        for job in jobs:
            ready.post(f"/jobs/{job}/cancel")
        assert {each.result(timeout=20) for each in states} == {"cancelled"}
    assert time.monotonic() - begun < 15, "well before they would have given up"
    found: Hub = house.app.extensions[EXTENSION]
    assert found.watched == 0


def test_a_job_that_is_purged_while_somebody_waits(house: House, ready: Caller, job: str) -> None:
    def purge() -> None:
        with house.runtime.sessions.begin() as session:
            session.connection().exec_driver_sql("DELETE FROM jobs WHERE id = %s", (job,))
        house.runtime.board.forget(ready.tenant_id, [job])

    answer, _ = polled(ready, job, purge)
    assert (answer.status_code, answer.json["code"]) == (404, "job_not_found")


def test_postgres_and_redis_away_while_somebody_waits(engine: Engine) -> None:
    """It is said in the end; who waits for a moment only does not hear of it."""
    with own_server() as server:
        house = make_house(make_runtime(engine, server.url))
        me = house.caller("mine")
        me.post("/entities/u/observations", {"observations": days(60)})
        job = me.post("/models/train", TRAIN).json["id"]
        nobody = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")

        def break_down() -> None:
            house.runtime.sessions.configure(bind=nobody)
            server.kill()

        answer, _ = polled(me, job, break_down, wait=4)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")


def test_a_redis_that_comes_back_is_heard_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_server() as server:
        house = make_house(make_runtime(engine, server.url))
        me = house.caller("mine")
        me.post("/entities/u/observations", {"observations": days(60)})
        job = me.post("/models/train", TRAIN).json["id"]
        found = status.read(house.runtime, me.tenant_id, job)
        hub: Hub = house.app.extensions[EXTENSION]
        with hub.watch(me.tenant_id, job, found, polls=False) as watcher:
            server.kill()
            time.sleep(1.0)
            server.start()
            time.sleep(2.0)
            house.claim(job)
            deadline = time.monotonic() + 2
            while not watcher.events:
                assert time.monotonic() < deadline
                watcher.wait(0.1)
            assert [each.event for each in watcher.events] == ["state"]


def test_who_joins_late_hears_of_what_others_heard_already(house: House, ready: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job moves between a poller's look and its joining, while others watch it: nothing more will be told."""
    job = ready.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json["id"]
    hub = house.app.extensions[EXTENSION]
    before = status.read(house.runtime, ready.tenant_id, job)
    with hub.watch(ready.tenant_id, job, before, polls=False) as other:
        house.fail(ready, job, problem("worker_lost", "Gone."))
        deadline = time.monotonic() + 5
        while not other.events and time.monotonic() < deadline:
            other.wait(0.1)
        begun = time.monotonic()
        with hub.watch(ready.tenant_id, job, before, polls=True) as late:
            while late.document is None and time.monotonic() < begun + 5:
                late.wait(0.1)
        assert late.document is not None
        assert late.document["state"] == "failed"
        assert time.monotonic() - begun < 1


def test_waits_have_seats(engine: Engine, redis_url: str) -> None:
    house = make_house(make_runtime(engine, redis_url, max_waits=2, tenant_max_waits=1))
    mine, other = house.caller("mine"), house.caller("another")
    for caller in (mine, other):
        caller.post("/entities/u/observations", {"observations": days(60)})
    jobs = {c.tenant_id: c.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json["id"] for c in (mine, other)}
    waiting = threading.Thread(target=lambda: mine.get(f"/jobs/{jobs[mine.tenant_id]}?wait=2"))
    waiting.start()
    hub = house.app.extensions[EXTENSION]
    assert wait_until(lambda: bool(hub.waits.taken), 2)
    begun = time.monotonic()
    second = Caller(house.app.test_client(), mine.tenant_id, mine.key)
    assert second.get(f"/jobs/{jobs[mine.tenant_id]}?wait=2").status_code == 200
    assert time.monotonic() - begun < 0.5, "a second one of the tenant is answered at once"
    other.get(f"/jobs/{jobs[other.tenant_id]}?wait=0.5")
    assert time.monotonic() - begun >= 0.5, "another tenant's waits"
    waiting.join()
    assert hub.waits.taken == 0
