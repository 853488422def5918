"""Files taken into a real Postgres by the command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from db.session import Sessions
from ops import files, house, importing
from ops.house import House
from tests.integration.ops.conftest import Command


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two devices, hourly, two channels, of which one value is missing."""
    at = pd.date_range("2026-01-01", periods=100, freq="h", tz="UTC")
    frame = pd.concat([pd.DataFrame({"device": name, "timestamp": at, "cpu": range(100), "mem": 1.5}) for name in ("a", "b/c")])
    frame.iloc[0, 3] = None
    path = tmp_path / "fleet.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def tenant(fleetcast: Command) -> None:
    assert fleetcast("keys", "create", "development").exit_code == 0


def held(sessions: Sessions) -> list[tuple[str, str, int, float]]:
    query = """
        SELECT e.name, c.name, count(*), sum(o.value) FROM observations o
        JOIN channels c ON c.id = o.channel_id JOIN entities e ON e.id = c.entity_id GROUP BY 1, 2 ORDER BY 1, 2
    """
    with sessions() as session:
        return [(str(entity), str(channel), int(rows), float(total)) for entity, channel, rows, total in session.execute(text(query))]


ALL = [("a", "cpu", 100, 4950.0), ("a", "mem", 99, 148.5), ("b/c", "cpu", 100, 4950.0), ("b/c", "mem", 100, 150.0)]


def test_a_file_is_taken_in_and_can_be_taken_in_again(fleetcast: Command, sessions: Sessions, wide: Path) -> None:
    for _ in range(2):
        told = fleetcast("import", str(wide), FORCE_COLOR="1")  # as on a terminal
        assert told.exit_code == 0, told.output
        assert told.stdout == "399 rows of 2 entities, channels cpu, mem.\n"
        assert "100%" in told.stderr, "progress is shown"
        assert held(sessions) == ALL


def test_one_row_is_told_as_one(fleetcast: Command, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("device,timestamp,cpu\na,2026-01-01,5\n")
    assert fleetcast("import", str(tmp_path / "one.csv")).stdout == "1 row of 1 entity, channel cpu.\n"


def test_a_long_file_goes_in_by_chunks(fleetcast: Command, sessions: Sessions, wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 64)
    pd.read_csv(wide).melt(["device", "timestamp"], var_name="channel").to_parquet(wide.with_name("long.parquet"))
    assert fleetcast("import", str(wide.with_name("long.parquet"))).exit_code == 0
    assert held(sessions) == ALL
    with sessions() as session:
        assert session.scalar(text("SELECT max(data_rev) FROM entities")) > 3, "each chunk is a delivery of its own"


def test_columns_and_tenant_can_be_named(fleetcast: Command, sessions: Sessions, wide: Path) -> None:
    fleetcast("keys", "create", "acme")
    renamed = wide.with_name("renamed.csv")
    pd.read_csv(wide).rename(columns={"device": "whom", "timestamp": "when"}).to_csv(renamed, index=False)
    told = fleetcast("import", str(renamed), "--tenant", "acme", "--entity", "whom", "--time", "when")
    assert told.exit_code == 0, told.output
    assert held(sessions) == ALL


def test_a_file_that_is_none_is_told_and_nothing_taken(fleetcast: Command, sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("who,what\nme,nothing\n")
    told = fleetcast("import", str(tmp_path / "notes.csv"))
    assert told.exit_code == 1
    assert "notes.csv: no column of times; name it with --time" in told.output
    assert fleetcast("import", str(tmp_path / "absent.csv")).exit_code == 2
    assert held(sessions) == []


def test_an_unknown_tenant_names_the_command_that_makes_it(fleetcast: Command, wide: Path) -> None:
    told = fleetcast("import", str(wide), "--tenant", "nobody")
    assert told.exit_code == 1
    assert "`fleetcast keys create nobody` makes it." in told.output


def test_without_a_server_the_next_command_is_named(fleetcast: Command, wide: Path, tmp_path: Path) -> None:
    told = fleetcast("import", str(wide), "--folder", str(tmp_path), DATABASE_URL="", REDIS_URL="")
    assert told.exit_code == 1
    assert "start one: `fleetcast up`" in told.output


def test_a_server_that_is_away_is_told_without_a_traceback(fleetcast: Command, wide: Path) -> None:
    told = fleetcast("import", str(wide), DATABASE_URL="postgresql+psycopg://x@127.0.0.1:1/x")
    assert told.exit_code == 1
    assert "Postgres does not answer" in told.output
    assert "`fleetcast doctor`" in told.output


def test_the_servers_of_a_running_house_are_taken_where_none_are_named(
    fleetcast: Command, engine: Engine, migrated_url: str, redis_url: str, sessions: Sessions, wide: Path, tmp_path: Path
) -> None:
    here = House("http://h:1", "fk_1", "", "", "", "", migrated_url, redis_url, str(tmp_path), {})
    blank = {"DATABASE_URL": "", "REDIS_URL": ""}
    with house.keeping(tmp_path):
        house.note(tmp_path, here)
        for words in (("import", str(wide)), ("keys", "create", "acme"), ("keys", "list", "acme"), ("migrate",)):
            told = fleetcast(*words, "--folder", str(tmp_path), **blank)
            assert told.exit_code == 0, told.output
    assert held(sessions) == ALL


def test_folders_are_taken_in_file_by_file(fleetcast: Command, sessions: Sessions, wide: Path, tmp_path: Path) -> None:
    inner = tmp_path / "plant" / "hall 1"
    inner.mkdir(parents=True)
    frame = pd.read_csv(wide)
    for name, rows in frame.groupby("device"):
        rows.drop(columns="device").rename(columns={"cpu": "CPU %"}).to_csv(inner / f"{name[0]}.csv.gz", index=False)
    (inner / "notes.md").write_text("nothing to read here")
    told = fleetcast("import", str(tmp_path / "plant"), "--entity-from-filename", "--map", "CPU %=cpu", "--map", "mem=mem")
    assert told.exit_code == 0, told.output
    assert "399 rows of 2 entities, channels cpu, mem." in told.output
    assert held(sessions) == [(entity[0], *rest) for entity, *rest in ALL]
    (tmp_path / "empty").mkdir()
    assert "holds no file that can be read" in " ".join(fleetcast("import", str(tmp_path / "empty")).output.split())


@pytest.mark.parametrize("words", [("--map", "cpu"), ("--map", "=x"), ("--entity", "device", "--entity-from-filename")])
def test_words_that_say_nothing_are_refused(fleetcast: Command, sessions: Sessions, wide: Path, words: tuple[str, ...]) -> None:
    assert fleetcast("import", str(wide), *words).exit_code == 2
    assert held(sessions) == []


def test_a_file_that_breaks_off_keeps_what_was_taken_and_can_be_sent_again(
    fleetcast: Command, sessions: Sessions, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE", 50)
    text_ = wide.read_text()
    wide.write_text(text_ + "b/c,2026-02-01,many,1\n")
    told = fleetcast("import", str(wide))
    assert told.exit_code == 1
    assert "'cpu' does not hold numbers" in told.output
    assert "Taken in before that: 399 rows." in " ".join(told.output.split())
    wide.write_text(text_)
    assert fleetcast("import", str(wide)).exit_code == 0
    assert held(sessions) == ALL
