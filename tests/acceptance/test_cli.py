"""The house as an operator handles it: up, status, down, with real processes, stopped, killed and left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from ops import keeper, stack
from ops.house import read
from ops.processes import command_line
from tests.acceptance.conftest import SCALED, command
from tests.support.client import House
from tests.support.servers import Servers, database


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "my house"
    yield place
    keeper.down(place)
    stack.remove(place)


def until(met: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def status(folder: Path) -> House:
    told = command("status", "--json", "--folder", str(folder))
    assert told.returncode == 0, told.stderr
    return House(**json.loads(told.stdout))


def pids(folder: Path) -> dict[str, int]:
    running = read(folder)
    assert running is not None
    return running.pids


def live(folder: Path) -> list[str]:
    """Every process that stands in this folder or serves it."""
    lines = {pid.name: command_line(int(pid.name)) for pid in Path("/proc").glob("[0-9]*")}
    return [f"{pid}: {line}" for pid, line in lines.items() if str(folder) in line or _stands_in(pid, folder)]


def _stands_in(pid: str, folder: Path) -> bool:
    try:
        return bool(command_line(int(pid))) and Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


class Foreground:
    """`fleetcast up` as a person runs it, and what it says."""

    def __init__(self, folder: Path, **environment: str) -> None:
        given = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "ops.cli", "up", "--folder", str(folder)],
            env=given | SCALED | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell's background job ignores Ctrl-C, and so would all it starts: these tests may run in one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.said)

    def end(self) -> int:
        """Ctrl-C, and the exit status."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()


def test_up_in_the_foreground_until_ctrl_c(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = str(busy.getsockname()[1])
        person = Foreground(folder, API_PORT=taken, FLOWER_PORT=taken)
        until(lambda: person.has_said("Ctrl-C stops everything") or person.process.poll() is not None, "it is up", 60)
    house = status(folder)
    assert f":{taken}" not in house.url + house.flower, "a busy port gives way"
    assert person.has_said(f"Port {taken} is taken, so the API listens at {house.url} instead"), person.said
    assert httpx.get(f"{house.url}/readyz").json()["ready"] is True
    assert set(house.pids) == {"supervisor", "web", "dispatcher", "interactive", "train", "flower"}

    second = command("up", "--folder", str(folder))
    assert second.returncode == 1
    assert "It already runs from" in second.stderr
    assert "`fleetcast down`" in second.stderr

    _commands_find_its_servers(folder, house, tmp_path)
    _what_dies_is_started_again(folder, house)

    began = time.monotonic()
    assert person.end() == 0, person.said
    assert time.monotonic() - began < 20
    assert person.has_said("flower ended with status")
    assert live(folder) == []
    assert not (folder / "up.json").exists()
    told = command("status", "--folder", str(folder))
    assert told.returncode == 1
    assert "Start it with `fleetcast up`." in told.stderr


def _commands_find_its_servers(folder: Path, house: House, tmp_path: Path) -> None:
    (tmp_path / "pump.csv").write_text("at,flow\n2026-01-01T00:00Z,1\n2026-01-01T01:00Z,2\n")
    told = command("import", str(tmp_path / "pump.csv"), "--folder", str(folder))
    assert told.returncode == 0, told.stderr
    assert "2 rows of 1 entity, channel flow." in told.stdout
    key = command("keys", "create", "development", "--folder", str(folder)).stdout.strip()
    held = httpx.get(f"{house.url}/api/v1/entities/pump/observations", headers={"Authorization": f"Bearer {key}"})
    assert [row["value"] for row in held.json()["data"]] == [1, 2]
    assert command("doctor", "--folder", str(folder)).returncode == 0


def _what_dies_is_started_again(folder: Path, house: House) -> None:
    os.kill(house.pids["flower"], signal.SIGKILL)
    until(lambda: pids(folder)["flower"] != house.pids["flower"], "Flower is a new process", 15)
    assert pids(folder)["train"] == house.pids["train"], "the others are left alone"


@pytest.mark.slow
def test_what_a_killed_up_leaves_behind_is_ended_by_the_next_up_and_by_down(folder: Path) -> None:
    assert command("up", "--detach", "--folder", str(folder), **SCALED).returncode == 0
    before, left = _kill_supervisor(folder)
    told = command("status", "--folder", str(folder))
    assert told.returncode == 1
    assert "End them with `fleetcast down`." in told.stderr

    assert command("up", "--detach", "--folder", str(folder), **SCALED).returncode == 0
    assert not any(command_line(pid) for pid in left)
    assert "Ended train, left behind by an `up` that was killed." in (folder / "up.log").read_text()

    again, left = _kill_supervisor(folder)
    assert (again.database_url, again.redis_url, again.key) == (before.database_url, before.redis_url, before.key)
    assert command("down", "--folder", str(folder)).stdout == "Stopped.\n"
    assert not any(command_line(pid) for pid in left)
    assert live(folder) == []
    assert keeper.down(folder) is False


def _kill_supervisor(folder: Path) -> tuple[House, list[int]]:
    """The house as it was, and those who live on without it."""
    house = status(folder)
    supervisor, left = house.pids["supervisor"], [pid for name, pid in house.pids.items() if name != "supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not command_line(supervisor), "the supervisor is gone")
    assert all(command_line(pid) for pid in left)
    return house, left


@pytest.mark.slow
def test_given_servers_are_used_and_outlive_the_house(folder: Path, live: Servers) -> None:
    broker = f"{live.redis_url.rsplit('/', 1)[0]}/9"
    with database(live.database_url) as url:
        begun = command("up", "--detach", "--folder", str(folder), **SCALED, DATABASE_URL=url, REDIS_URL=broker)
        assert begun.returncode == 0, begun.stderr
        house = status(folder)
        assert (house.database_url, house.redis_url) == (url, broker)
        assert httpx.get(f"{house.url}/readyz").json()["ready"] is True
        assert not (folder / "state.json").exists(), "no embedded server was made"
        assert keeper.down(folder)
        assert not command_line(house.pids["web"])
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (1,)
        with redis.Redis.from_url(broker) as client:
            assert client.ping()


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis does not answer"),
        ({"DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x"}, "Postgres does not answer"),
    ],
)
def test_a_given_server_that_is_away_is_told_and_nothing_left_running(
    folder: Path, live: Servers, servers: dict[str, str], told: str
) -> None:
    given = {"DATABASE_URL": live.database_url, "REDIS_URL": live.redis_url} | servers
    begun = command("up", "--folder", str(folder), **SCALED, **given)
    assert begun.returncode == 1
    assert told in begun.stderr
    assert "Traceback" not in begun.stderr
    assert read(folder) is None
    assert keeper.down(folder) is False
