"""The note a running house leaves, and what commands make of it."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ops import house, ports, up
from ops.house import House, HouseError
from tasks.settings import Settings, SettingsError

HERE = House("http://h:1", "fk_1", "http://h:1/docs", "http://h:2", "operator", "p", "postgresql+psycopg://here", "redis://here", "/f", {})


@pytest.fixture(autouse=True)
def no_servers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)


def test_a_house_is_read_only_while_it_is_kept(tmp_path: Path) -> None:
    house.note(tmp_path, HERE)
    assert house.read(tmp_path) is None, "what a killed one has left does not count"
    with house.keeping(tmp_path):
        assert house.read(tmp_path) == HERE
        house.forget(tmp_path)
        assert house.read(tmp_path) is None
    assert not house.is_kept(tmp_path)


def test_the_note_holds_a_key_and_is_private(tmp_path: Path) -> None:
    house.note(tmp_path, HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["up.json"]
    assert (tmp_path / "up.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://h:1"}'])
def test_a_note_that_is_none_means_nothing_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    with house.keeping(tmp_path):
        assert house.read(tmp_path) is None


def test_one_keeper_at_a_time_and_the_second_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "LOOK_S", 0.05)
    with (
        house.keeping(tmp_path),
        pytest.raises(HouseError, match=r"already runs from .*`fleetcast status`.*`fleetcast down`"),
        house.keeping(tmp_path),
    ):
        pass


def test_a_killed_keeper_keeps_nothing(tmp_path: Path) -> None:
    keep = "with house.keeping(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    code = f"import sys, time; from pathlib import Path; from ops import house\n{keep}"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        assert house.is_kept(tmp_path)
        keeper.kill()
    assert not house.is_kept(tmp_path)


def test_servers_left_blank_are_those_of_the_running_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house.note(tmp_path, HERE)
    with house.keeping(tmp_path):
        found = house.served(tmp_path)
        assert (found.database_url, found.redis_url) == (HERE.database_url, HERE.redis_url)
        monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://mine")
        assert house.served(tmp_path).database_url == "postgresql+psycopg://mine", "given ones win"


def test_without_any_server_the_next_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL='': name the server, or start one: `fleetcast up`"):
        house.served(tmp_path)


def test_with_both_servers_named_no_folder_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://mine")
    monkeypatch.setenv("REDIS_URL", "redis://mine")
    monkeypatch.setattr(house, "default_folder", lambda: pytest.fail("a user without a home needs none"))
    assert house.served(None).redis_url == "redis://mine"


def test_a_busy_port_gives_way_to_another_and_no_two_are_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        first, second, third = ports.free_ports("127.0.0.1", taken, taken, 0)
        assert len({taken, first, second, third}) == 4
    assert ports.free_ports("127.0.0.1", taken) == [taken]


def test_a_port_that_is_taken_is_told_with_the_one_that_was_taken_instead() -> None:
    made = replace(HERE, url="http://h:43211", flower="http://h:5555")
    [line] = up.gave_way(replace(Settings(), api_port=8000, flower_port=5555), made)
    assert line == "Port 8000 is taken, so the API listens at http://h:43211 instead (API_PORT names another)."
    assert up.gave_way(replace(Settings(), api_port=0, flower_port=0), made) == [], "any port was asked for"


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(HouseError, match=r"Nothing can listen on '192.0.2.1'. Set API_HOST"):
        ports.free_ports("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("vm.local", "http://vm.local:8000")]
)
def test_the_url_can_be_opened_from_here(host: str, url: str) -> None:
    made = up.describe(replace(Settings(), api_host=host, flower_basic_auth="operator:a:b"), "fk_1", Path("/f"))
    assert (made.url, made.docs, made.flower_password) == (url, f"{url}/docs", "a:b")


def test_a_redis_that_is_away_is_told_before_anything_starts() -> None:
    with pytest.raises(HouseError, match=r"Redis does not answer: .*Check REDIS_URL"):
        up._greet("redis://127.0.0.1:1/0")
    with pytest.raises(HouseError, match="Check REDIS_URL"):
        up._greet("no url at all")
