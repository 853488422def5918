"""What dies, and what happens to acknowledged jobs: nothing. Real processes, killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from tests.support.client import Api, Body, House
from tests.support.real import devices

#: Long enough to be caught in the middle.
LONG = {"epochs": 400, "patience": 200, "hidden_size": 64, "window": 50}
QUICK = {"epochs": 2, "hidden_size": 8}


@pytest.fixture(scope="module")
def device(api: Api) -> str:
    _, channels = next(iter(devices().items()))
    api.send("victim", channels)
    return "victim"


def order(entity: str, spec: Body) -> Body:
    return {"entity": entity, "recipe": "device-metric", "target": "system.cpuUsage", "activation": "always", "spec": spec}


def until(met: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def fitting(api: Api, job: Body) -> Callable[[], bool]:
    return lambda: api.get(f"/jobs/{job['id']}")["progress"].get("phase") == "fit"


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in listed.split()]


def pids(house: House) -> dict[str, int]:
    """As they are now: the supervisor restarts what dies."""
    found: dict[str, int] = json.loads((Path(house.folder) / "up.json").read_text())["pids"]
    return found


def rows(house: House, query: str, *values: object) -> list[tuple[object, ...]]:
    url = make_url(house.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def test_a_killed_child_costs_a_try_and_the_job_is_done_by_the_next(api: Api, house: House, device: str) -> None:
    job = api.submit("/models/train", order(device, {**LONG, "epochs": 60, "seed": 1}))
    until(fitting(api, job), "the training began")
    [child] = children(pids(house)["train"])
    os.kill(child, signal.SIGKILL)
    done = api.wait(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2)
    outcomes = rows(house, "SELECT outcome FROM attempts WHERE job_id = %s ORDER BY fence", job["id"])
    assert outcomes == [("crashed",), ("succeeded",)]
    assert rows(house, "SELECT count(*) FROM versions WHERE job_id = %s", job["id"]) == [(1,)]


@pytest.mark.slow
def test_a_killed_worker_loses_its_lease_and_the_job_is_done_by_the_next(api: Api, house: House, device: str) -> None:
    job = api.submit("/models/train", order(device, {**LONG, "epochs": 60, "seed": 2}))
    until(fitting(api, job), "the training began")
    os.killpg(pids(house)["train"], signal.SIGKILL)
    done = api.wait(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2)
    outcomes = rows(house, "SELECT outcome FROM attempts WHERE job_id = %s ORDER BY fence", job["id"])
    assert outcomes == [("lost",), ("succeeded",)]


def test_a_worker_told_to_stop_hands_its_job_back_within_25_seconds(api: Api, house: House, device: str) -> None:
    job = api.submit("/models/train", order(device, {**LONG, "epochs": 200, "seed": 3}))
    until(fitting(api, job), "the training began")
    worker = pids(house)["train"]
    began = time.monotonic()
    os.kill(worker, signal.SIGTERM)
    until(lambda: pids(house)["train"] != worker, "the worker stopped and was started again", 25)
    assert time.monotonic() - began < 25
    done = api.wait(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 1), "a drained try does not count"


def test_a_running_training_is_cancelled_at_its_next_batch(api: Api, device: str) -> None:
    job = api.submit("/models/train", order(device, {**LONG, "seed": 4}))
    until(fitting(api, job), "the training began")
    answer = api.ok(api.post(f"/jobs/{job['id']}/cancel", {}))
    assert answer["state"] in ("cancelling", "cancelled")
    assert api.wait(job, seconds=15)["state"] == "cancelled"
    retried = api.post(f"/jobs/{job['id']}/retry", {})
    assert retried.status_code == 202
    assert retried.json()["retry_of"] == job["id"]
    api.ok(api.post(f"/jobs/{retried.json()['id']}/cancel", {}))
    api.wait(retried.json())


def test_redis_emptied_while_jobs_wait_costs_time_and_no_job(api: Api, house: House, device: str) -> None:
    first = api.submit("/models/train", order(device, {**LONG, "epochs": 60, "seed": 5}))
    waiting = [api.submit("/models/train", order(device, {**QUICK, "seed": seed})) for seed in range(10, 14)]
    until(fitting(api, first), "the first training began")
    with redis.Redis.from_url(house.redis_url) as client:
        client.flushall()
    assert [api.wait(job)["state"] for job in (first, *waiting)] == ["succeeded"] * 5


def test_a_dispatcher_killed_and_messages_doubled_or_forged_change_nothing(api: Api, house: House, device: str) -> None:
    os.killpg(pids(house)["dispatcher"], signal.SIGKILL)
    job = api.submit("/models/train", order(device, {**QUICK, "seed": 20}))
    with redis.Redis.from_url(house.redis_url) as client:
        client.lpush("train", b'{"not": "a message"}')
    assert api.wait(job)["state"] == "succeeded"
    assert rows(house, "SELECT count(*) FROM versions WHERE job_id = %s", job["id"]) == [(1,)]


def test_submitting_goes_on_while_redis_is_gone(api: Api, house: House, device: str) -> None:
    with redis.Redis.from_url(house.redis_url) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)  # there, and never answering: the worst way to be gone
    try:
        began = time.monotonic()
        job = api.submit("/models/train", order(device, {**QUICK, "seed": 30}))
        assert api.get(f"/jobs/{job['id']}")["state"] == "queued"
        assert time.monotonic() - began < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    assert api.wait(job)["state"] == "succeeded"
