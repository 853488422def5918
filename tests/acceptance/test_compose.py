"""The deployment of docker-compose.yml on this machine: every process under its own Redis user and the role of ours in Postgres.

A job's whole life among them, no secret in an environment, and health checks that tell who does not work.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis
from sqlalchemy import make_url

from ops.processes import usable_port
from tasks.environment import load
from tasks.queue import make_celery
from tests.support.client import Api
from tests.support.compose import Host, until
from tests.support.real import devices
from tests.support.role import apart

#: A whole fleet starts for it; by default the files are read (unit/ops/test_images.py) and the roles played (integration/ops/test_role.py).
pytestmark = pytest.mark.slow
PROCESSES = ("web", "dispatcher", "worker-interactive", "worker-train", "flower")
ORDER = {"recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 2, "hidden_size": 8}}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Redis runs and Postgres is migrated; no process does yet."""
    with apart(tmp_path_factory.mktemp("postgres")) as servers:
        ports = {"API_PORT": str(usable_port(0)), "FLOWER_PORT": str(usable_port(0))}
        scaled = {"RECONCILE_S": "1", "REDISPATCH_S": "3", "TIDY_S": "1", "CACHE_TIMEOUT_S": "1", "API_HOST": "127.0.0.1"}
        made = Host(tmp_path_factory.mktemp("compose"), servers.database_url, changes=ports | scaled)
        made.prepare()
        with made.redis():
            migrated = made.run("migrate", "migrate")
            assert migrated.returncode == 0, migrated.stderr
            yield made


@pytest.fixture(scope="module")
def fleet(host: Host) -> Iterator[Host]:
    """All processes, each as well as its own health check demands."""
    with ExitStack() as running:
        for service in PROCESSES:
            running.enter_context(host.up(service))
        for service in PROCESSES:
            until(lambda service=service: host.is_well(service), f"{service} is well: {host.log(service)[-2000:]}", 90)
        yield host


@pytest.fixture(scope="module")
def onlooker(host: Host) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(host.redis_url("onlooker"), decode_responses=True) as client:
        yield client


def test_a_job_lives_its_whole_life_and_nobody_is_refused_anything(fleet: Host, onlooker: redis.Redis) -> None:
    key = fleet.run("web", "keys", "create", "acme").stdout.strip()
    url = f"http://127.0.0.1:{fleet.changes['API_PORT']}"
    assert httpx.get(f"{url}/readyz").json()["ready"] is True
    entities = devices()
    with Api(url, key) as api:
        for name, channels in entities.items():
            api.send(name, channels)
        first, second, *_ = entities
        trained = api.done("/models/train", {**ORDER, "entity": first})
        assert onlooker.keys("fleetcast:*:job:*"), "its status is mirrored"
        api.done("/models/train", {**ORDER, "entities": [first, second]})
        question = {"entity": first, "target": "system.cpuUsage"}
        assert api.done("/predict", question)["result"]["forecast"]["cached"] is False
        assert api.post("/predict", question).json()["result"]["forecast"]["cached"] is True
        with api.http.stream("GET", f"/jobs/{trained['id']}/events") as events:
            assert any(line.startswith("event:") for line in events.iter_lines()), "what happened to it is told again"
        version = f"/models/{trained['result']['model']}/versions/1.0.0"
        assert api.http.get(f"{version}/artefact").status_code == 200, "read from the workers' folder"
        _flower_sees(fleet, trained["id"])
        assert api.http.delete(f"/entities/{first}").status_code < 300
    assert httpx.get(f"{url}/queues").status_code == 200
    assert "fleetcast_redis_up 1" in httpx.get(f"{url}/metrics").text
    for words in (["doctor"], ["keys", "list", "acme"], ["jobs", "ls"]):
        told = fleet.run("tools", *words)
        assert told.returncode == 0, told.stdout + told.stderr
    log = [(entry["username"], entry["reason"], entry["object"]) for entry in onlooker.acl_log()]
    assert log == [], "every process may do what it does"


def _flower_sees(fleet: Host, job: str) -> None:
    url = f"http://127.0.0.1:{fleet.changes['FLOWER_PORT']}"
    user, password = (fleet.secrets / "flower_basic_auth").read_text().split(":")
    assert httpx.get(f"{url}/api/workers").status_code == 401, "not without the password, which is in a file"
    with httpx.Client(base_url=url, auth=(user, password)) as flower:
        workers = flower.get("/api/workers", params={"refresh": "true"}).json()
        assert {name.split("@")[0] for name in workers} == {"interactive", "train"}
        assert all(worker["active_queues"] for worker in workers.values()), "they answered what it asked them"
        tasks = {(task["name"], task["args"]) for task in flower.get("/api/tasks").json().values()}
        assert ("train", job) in tasks
        lengths = flower.get("/api/queues/length").json()["active_queues"]
        assert {queue["name"] for queue in lengths} == {"interactive", "batch", "train"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc, where the system shows each process's environment")
@pytest.mark.parametrize("service", PROCESSES)
def test_no_secret_is_in_an_environment(fleet: Host, service: str) -> None:
    """Of none of its processes: the group holds workers' children too."""
    passwords = {make_url(file.read_text()).password for file in fleet.secrets.glob("*_url*")}
    passwords.add((fleet.secrets / "flower_basic_auth").read_text().partition(":")[2])
    group = [place for place in Path("/proc").glob("[0-9]*") if _group(place) == fleet.processes[service].pid]
    assert group
    for place in group:
        told = (place / "environ").read_text()
        assert "REDIS_URL_FILE=" in told
        assert not [password for password in passwords if str(password) in told]


def _group(place: Path) -> int:
    try:
        return os.getpgid(int(place.name))
    except ProcessLookupError:
        return 0


def test_a_worker_that_was_told_to_leave_a_queue_is_ill(fleet: Host) -> None:
    """By Flower's own user, who may speak to workers. It answers a ping all the while."""
    app = make_celery(replace(load({}), redis_url=fleet.redis_url("flower")))
    node = f"train@{socket.gethostname()}"
    try:
        app.control.cancel_consumer("train", destination=[node])
        until(lambda: not fleet.is_well("worker-train"), "it is ill", 30)
        assert f"{node} takes nothing from train any more" in fleet.asked("worker-train").stderr
        assert app.control.ping(destination=[node], timeout=5) == [{node: {"ok": "pong"}}]
    finally:
        app.control.add_consumer("train", destination=[node])
        app.close()
    until(lambda: fleet.is_well("worker-train"), "it is well again", 30)


def test_a_process_that_hangs_is_ill_and_one_that_goes_on_is_well_again(fleet: Host) -> None:
    """Stopped and not ended: its port is still open and its connections are still there. Only the dispatcher's deeds tell, after 13 s."""
    with ThreadPoolExecutor() as pool:
        for service in PROCESSES:
            os.killpg(fleet.processes[service].pid, signal.SIGSTOP)
        try:
            until(lambda: not any(pool.map(fleet.is_well, PROCESSES)), "all are ill", 40)
        finally:
            for service in PROCESSES:
                os.killpg(fleet.processes[service].pid, signal.SIGCONT)
        until(lambda: all(pool.map(fleet.is_well, PROCESSES)), "all are well again", 60)
