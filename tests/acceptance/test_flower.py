"""Flower as operators get it: behind a password, changing nothing, and remembering what it saw when it is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from ops.processes import command_line
from tests.support.client import Api, House
from tests.support.real import devices


def until(met: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def pid(house: House) -> int:
    """As it is now: the supervisor restarts what dies."""
    return int(json.loads((Path(house.folder) / "up.json").read_text())["pids"]["flower"])


@pytest.fixture
def flower(house: House) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=house.flower, auth=(house.flower_user, house.flower_password)) as client:
        yield client


def listed(flower: httpx.Client) -> set[tuple[str, str]]:
    try:
        return {(task["name"], task["args"]) for task in flower.get("/api/tasks").json().values()}
    except httpx.TransportError:
        return set()


def saved_at(house: House) -> float:
    """When the state was last written down; 0 before the first time. Its files are renamed while they are looked at."""
    times = [0.0]
    for file in (Path(house.folder) / "flower-state").glob("flower.db*"):
        with suppress(FileNotFoundError):
            times.append(file.stat().st_mtime)
    return max(times)


@pytest.mark.parametrize("path", ["/", "/tasks", "/broker", "/api/tasks", "/api/workers"])
def test_nobody_looks_without_the_password(house: House, path: str) -> None:
    assert httpx.get(f"{house.flower}{path}").status_code == 401
    assert httpx.get(f"{house.flower}{path}", auth=(house.flower_user, "guess")).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/api/worker/shutdown/{worker}",
        "/api/worker/pool/restart/{worker}",
        "/api/worker/queue/add-consumer/{worker}?queue=x",
        "/api/task/async-apply/train",
        "/api/task/send-task/train",
        "/api/task/revoke/some-id",
    ],
)
def test_nobody_changes_anything_even_with_it(flower: httpx.Client, path: str) -> None:
    until(lambda: flower.get("/api/workers", params={"refresh": "true"}).json(), "it knows the workers")
    worker = next(iter(flower.get("/api/workers").json()))
    refused = flower.post(path.format(worker=worker), json={"args": []})
    assert (refused.status_code, refused.text) == (403, "Read only mode is enabled")


def test_what_it_saw_outlives_being_killed(api: Api, house: House, flower: httpx.Client) -> None:
    name, channels = next(iter(devices().items()))
    api.send(name, channels)
    order = {"entity": name, "recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 1, "hidden_size": 8}}
    seen = ("train", api.done("/models/train", order)["id"])
    until(lambda: seen in listed(flower), "it heard of the training")
    for _ in range(2):  # what it was writing just then may be of the moment before
        began = time.time()
        until(lambda: saved_at(house) > began, "it wrote it down")  # noqa: B023  # called at once
    secret, killed = (Path(house.folder) / "flower-state" / "cookie-secret").read_text(), pid(house)

    os.kill(killed, signal.SIGKILL)
    until(lambda: pid(house) != killed and listed(flower), "a new one answers", 60)
    assert seen in listed(flower)
    assert (Path(house.folder) / "flower-state" / "cookie-secret").read_text() == secret, "what the old one signed is still good"


def test_its_state_is_its_own_and_no_secret_is_on_its_command_line(house: House) -> None:
    state = Path(house.folder) / "flower-state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "cookie-secret").stat().st_mode & 0o777 == 0o600
    until(lambda: "--read_only=True" in command_line(pid(house)), "it has become Flower")
    words = command_line(pid(house))
    assert "--persistent=True" in words
    for secret in (house.flower_password, (state / "cookie-secret").read_text(), "redis://", "postgresql"):
        assert secret not in words
