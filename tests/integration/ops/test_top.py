"""`fleetcast top`: what waits and what moves, live; it goes on while a server is away."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine

from db.session import make_engine
from ops import telling, top
from tasks.lease import Lease
from tests.integration.ops.conftest import Command
from tests.support.web import Caller, House, days, make_house, make_runtime

AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/none"


@pytest.fixture
def house(engine: Engine, redis_url: str) -> House:
    return make_house(make_runtime(engine, redis_url))


@pytest.fixture
def busy(house: House) -> Caller:
    """One training runs at its twelfth epoch, one waits."""
    me = house.caller("acme")
    me.post("/entities/pump/observations", {"observations": days(60)})
    first = me.post("/models/train", {"entity": "pump", "recipe": "health-daily"}).json["id"]
    held = Lease(house.runtime, [house.claim(first)])
    held.progress(first, "fit", fraction=0.1, epoch=12, epochs=60, train_loss=0.5, val_loss=0.6, best_epoch=12)
    held.tell(first)
    me.post("/models/train", {"entity": "pump", "recipe": "health-daily", "spec": {"epochs": 9}})
    return me


def test_a_program_is_told_all_of_it(fleetcast: Command, busy: Caller) -> None:
    told = fleetcast("top", "--once", "--json")
    assert told.exit_code == 0, told.output
    seen = json.loads(told.stdout)
    queue = {each["queue"]: each for each in seen["queues"]}
    assert queue.keys() == {"interactive", "batch", "train"}
    assert (queue["train"]["waiting"], queue["train"]["running"], queue["train"]["workers"]) == (1, 1, 1)
    assert queue["train"]["oldest_s"] >= 0
    [job] = seen["jobs"]
    assert (job["state"], job["progress"]["epoch"], job["tenant"], job["worker"]) == ("running", 12, "acme", "hand/1")
    assert seen["trouble"] == []


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_person_sees_it_in_a_terminal_of_any_width(house: House, busy: Caller, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(telling, "terminal_width", lambda: width)
    out = io.StringIO()
    Console(file=out, width=width).print(top.drawn(top.look(house.runtime), rows=5))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert any(line.startswith("running") and "12/60 epochs" in line for line in lines)


def test_where_nobody_looks_on_it_looks_once(fleetcast: Command, busy: Caller) -> None:
    told = fleetcast("top")
    assert (told.exit_code, told.stdout.count("12/60 epochs")) == (0, 1)
    assert "\x1b" not in told.stdout


def test_it_goes_on_while_a_server_is_away(house: House, busy: Caller) -> None:
    before = top.look(house.runtime)
    away = make_runtime(make_engine(AWAY), "redis://127.0.0.1:1/0")
    seen = top.look(away, before)
    assert (seen.jobs, seen.queues, seen.at) == (before.jobs, before.queues, before.at), "what was seen stays in sight"
    assert [sentence.split()[0] for sentence in seen.trouble] == ["Postgres", "Redis"]
    assert all("`fleetcast doctor`" in sentence for sentence in seen.trouble)


def test_a_script_is_told_by_the_status_that_nothing_was_seen(fleetcast: Command) -> None:
    told = fleetcast("top", "--once", "--json", DATABASE_URL=AWAY)
    assert told.exit_code == 1
    assert "Postgres does not answer" in json.loads(told.stdout)["trouble"][0]


def test_q_leaves_and_the_terminal_is_as_it_was(busy: Caller, migrated_url: str, redis_url: str, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    given = os.environ | {"DATABASE_URL": migrated_url, "REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen([sys.executable, "-m", "ops.cli", "top"], env=given, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        said = _until(mine, b"12/60 epochs")
        os.write(mine, b"q")
        said += _until(mine, b"\x1b[?1049l")
        assert process.wait(20) == 0
    os.close(mine)
    assert b"\x1b[?1049h" in said, "it takes the whole screen, and gives it back"
    assert b"Traceback" not in said


def _until(terminal: int, words: bytes, seconds: float = 60) -> bytes:
    said, deadline = b"", time.monotonic() + seconds
    while words not in said:
        assert time.monotonic() < deadline, said.decode(errors="replace")
        said += os.read(terminal, 65_536)
    return said
