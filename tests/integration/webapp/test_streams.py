"""Event streams of the real process: gunicorn with gevent, many of them at once, clients that vanish, and a worker told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from tasks.lease import Lease
from tests.support.listening import Listener
from tests.support.served import Served, served
from tests.support.web import API, Caller, House

TRAIN = {"entity": "u", "recipe": "health-daily"}
#: Streams, and as many long polls, that are open at once.
MANY = 50


@pytest.fixture
def server(house: House, tmp_path: Path) -> Iterator[Served]:
    with served(house, tmp_path / "log", STREAM_HEARTBEAT_S="0.2") as running:
        yield running


@pytest.fixture
def http(server: Served, me: Caller) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {me.key}"}
    with httpx.Client(base_url=server.url + API, headers=headers, timeout=20, trust_env=False, limits=limits) as client:
        yield client


@pytest.fixture
def job(ready: Caller) -> str:
    found: str = ready.post("/models/train", TRAIN).json["id"]
    return found


@contextmanager
def listening(http: httpx.Client, job: str, last: str | None = None) -> Iterator[Listener]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with http.stream("GET", f"/jobs/{job}/events", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        with Listener(answer.iter_raw(), lambda: None) as listener:
            yield listener


def tell(house: House, job: str, epochs: int) -> Lease:
    """A worker's lease that has told of so many epochs."""
    claim = house.claim(job)
    held = Lease(house.runtime, [claim])
    for epoch in range(1, epochs + 1):
        held.progress(job, "fit", epoch=epoch)
        held.tell(job)
    return held


def test_a_stream_from_snapshot_to_end(house: House, ready: Caller, http: httpx.Client, job: str) -> None:
    with listening(http, job) as listener:
        listener.hears("snapshot")
        held = tell(house, job, 3)
        listener.until(lambda them: them.names.count("metric") == 3)
        house.publish(ready, job, claim=held._held[job].claim)
        listener.ends()
    assert listener.names[0] == "snapshot"
    assert listener.heard[-1].data == http.get(f"/jobs/{job}").json()
    places = [each.place for each in listener.heard]
    assert places == sorted(set(places))
    with listening(http, job, listener.heard[2].id) as again:
        again.ends()
    assert again.heard == listener.heard[3:]
    assert http.get(f"/jobs/{job}/events", headers={"Last-Event-ID": listener.heard[-1].id}).status_code == 204
    assert http.get("/jobs/job_none/events").status_code == 404


def test_many_watch_and_a_submission_is_answered(house: House, ready: Caller, http: httpx.Client, job: str) -> None:
    """On one process; and all who watch together hold one connection to Postgres at most, and mostly none."""
    polls: list[int] = []
    pollers = [threading.Thread(target=lambda: polls.append(http.get(f"/jobs/{job}?wait=20").status_code)) for _ in range(MANY)]
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(http, job)) for _ in range(MANY)]
        for thread in pollers:
            thread.start()
        for listener in listeners:
            listener.hears("snapshot")
        time.sleep(1.0)
        assert max(_busy(house) for _ in range(50)) <= 1
        begun = time.monotonic()
        other = http.post("/models/train", json=TRAIN | {"spec": {"epochs": 5}})
        assert (other.status_code, time.monotonic() - begun < 1) == (202, True)
        begun = time.monotonic()
        claim = house.claim(job)
        for listener in listeners:
            listener.hears("snapshot", "state")
        assert max(listener.at[-1] for listener in listeners) - begun < 2
        house.publish(ready, job, claim=claim)
        for listener in listeners:
            listener.ends()
            assert listener.names == ["snapshot", "state", "end"]
    for thread in pollers:
        thread.join(5)
    assert polls == [200] * MANY, "the change ended the long polls too"


_BUSY = text("""
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'fleetcast-web' AND state <> 'idle' AND datname = current_database()
""")


def _busy(house: House) -> int:
    """The web process's connections that are not idle."""
    time.sleep(0.01)
    with house.runtime.engine.connect() as connection:
        return int(connection.execute(_BUSY).scalar_one())


def test_clients_that_close_leave_their_places(house: House, ready: Caller, tmp_path: Path, job: str) -> None:
    with (
        served(house, tmp_path / "log", TENANT_MAX_STREAMS="2") as server,
        httpx.Client(base_url=server.url + API, headers={"Authorization": f"Bearer {ready.key}"}, timeout=20, trust_env=False) as http,
    ):
        path = f"/jobs/{job}/events"
        with http.stream("GET", path) as first, http.stream("GET", path) as second:
            assert (first.status_code, second.status_code) == (200, 200)
            assert http.get(path).status_code == 429
        deadline = time.monotonic() + 5  # long before the next heartbeat
        while True:
            with http.stream("GET", path) as again:
                if again.status_code == 200:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_server_told_to_stop_ends_its_streams_at_once(server: Served, http: httpx.Client, job: str) -> None:
    polls: list[int] = []
    polling = threading.Thread(target=lambda: polls.append(http.get(f"/jobs/{job}?wait=20").status_code))
    with listening(http, job) as listener:
        listener.hears("snapshot")
        polling.start()
        time.sleep(0.5)
        begun = time.monotonic()
        server.process.terminate()
        listener.ends(seconds=5)
        polling.join(5)
        assert time.monotonic() - begun < 3
    http.close()
    server.process.wait(15)
    assert time.monotonic() - begun < 10
    assert (listener.names, polls) == (["snapshot"], [200])
