"""What a command becomes: its words, its environment, and what is told when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ops import run
from ops.cli import main

#: What Flower makes of the file that it is told to run.
READ = """
import json, sys
import flower.options
from tornado.options import options
options.parse_config_file(sys.argv[1])
print(json.dumps([options.basic_auth, options.cookie_secret]))
"""
SERVERS = {"DATABASE_URL": "postgresql+psycopg://u:hunter2@h/d", "REDIS_URL": "redis://:hunter2@h/0"}


class Became:
    """What the process would have become."""

    words: list[str]
    environment: dict[str, str]

    def __call__(self, _program: str, words: list[str], environment: dict[str, str]) -> None:
        self.words, self.environment = words, environment


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> Became:
    taken = Became()
    monkeypatch.setattr(os, "execve", taken)
    return taken


def fleetcast(*words: str, **environment: Any) -> Result:
    return CliRunner().invoke(main, list(words), env={name: str(value) for name, value in environment.items()})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "flower state"


def flower(state: Path, **environment: str) -> Result:
    given = {"REDIS_URL": SERVERS["REDIS_URL"], "FLOWER_BASIC_AUTH": "o:hunter2", "FLOWER_FOLDER": str(state)}
    return fleetcast("flower", **given | environment)


def test_flower_may_change_nothing_and_keeps_its_state(became: Became, state: Path) -> None:
    assert flower(state, FLOWER_URL_PREFIX="flower", FLOWER_MAX_TASKS="500").exit_code == 0
    options = {"--read_only=True", "--persistent=True", "--xheaders", f"--db={state}/flower.db", "--state_save_interval=10000"}
    options |= {"--max_tasks=500", "--purge_offline_workers=300", "--url_prefix=flower", f"--conf={run.FLOWER_CONF}"}
    assert options <= set(became.words)
    assert not any("hunter2" in word for word in became.words), "every user of the machine can read a command line"
    assert became.environment["FLOWER_BASIC_AUTH"] == "o:hunter2"


def test_flowers_cookie_secret_is_made_once_and_kept(became: Became, state: Path) -> None:
    flower(state)
    first = (state / "cookie-secret").read_text()
    assert len(first) > 64
    flower(state)
    assert (state / "cookie-secret").read_text() == first
    assert first not in " ".join((*became.words, *became.environment.values()))


def test_flower_reads_its_secrets_from_where_they_lie(became: Became, state: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("o:swordfish,p:other\n")
    flower(state, FLOWER_BASIC_AUTH="", FLOWER_BASIC_AUTH_FILE=str(tmp_path / "password"))
    assert not any("swordfish" in value for value in became.environment.values())
    told = subprocess.run([sys.executable, "-P", "-c", READ, str(run.FLOWER_CONF)], env=became.environment, capture_output=True, text=True)
    assert json.loads(told.stdout) == [["o:swordfish", "p:other"], (state / "cookie-secret").read_text()], told.stderr


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755, 0o710])
def test_a_folder_open_to_others_is_refused_and_left_as_it_is(became: Became, state: Path, mode: int) -> None:
    state.mkdir()
    state.chmod(mode)
    told = flower(state)
    assert told.exit_code == 1
    assert "others can enter it; `chmod 700` it, or name a folder of this user's own" in told.output
    assert state.stat().st_mode & 0o7777 == mode
    assert not hasattr(became, "words")
    state.chmod(0o700)
    assert flower(state).exit_code == 0


def test_a_folder_that_cannot_be_had_is_told(became: Became, state: Path) -> None:
    state.write_text("a file in the way")
    told = flower(state)
    assert told.exit_code == 1
    assert f"FLOWER_FOLDER={str(state)!r}: File exists; name a folder of this user's own" in told.output


@pytest.mark.parametrize("given", ["", "only-a-user"])
def test_flower_without_a_password_does_not_start(became: Became, state: Path, given: str) -> None:
    told = flower(state, FLOWER_BASIC_AUTH=given)
    assert told.exit_code == 1
    assert "set `user:password`" in told.output
    assert not hasattr(became, "words")


def test_flower_knows_no_database(became: Became, state: Path) -> None:
    """It shows what the broker tells: its container is given no way to the rows."""
    assert flower(state, DATABASE_URL="").exit_code == 0
    assert became.environment["DATABASE_URL"] == ""


@pytest.mark.parametrize(
    ("device", "card", "start"), [("cuda", False, "spawn"), ("auto", True, "spawn"), ("auto", False, "fork"), ("cpu", True, "fork")]
)
def test_a_worker_that_may_use_a_card_starts_its_children_afresh(
    became: Became, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, card: bool, start: str
) -> None:
    monkeypatch.setattr(run, "NVIDIA", tmp_path if card else tmp_path / "none")
    assert fleetcast("worker", "train", **SERVERS, DEVICE=device).exit_code == 0
    words = became.words
    assert words[words.index("--pool-start-method") + 1] == start
    assert words[words.index("--concurrency") + 1] == "1"


def test_secrets_in_files_reach_the_process_and_neither_its_words_nor_its_environment(became: Became, tmp_path: Path) -> None:
    """As a container is given them."""
    for name, url in SERVERS.items():
        (tmp_path / name).write_text(f"{url}\n")
    assert fleetcast("web", **{f"{name}_FILE": tmp_path / name for name in SERVERS}, **dict.fromkeys(SERVERS, "")).exit_code == 0
    assert {name: became.environment[f"{name}_FILE"] for name in SERVERS} == {name: str(tmp_path / name) for name in SERVERS}
    assert not any("hunter2" in word for word in (*became.words, *became.environment.values()))
