"""`fleetcast sinks`: an operator sees what the file means, and whether the databases it names would take a forecast."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import main

FILE = """
[sinks.star]
url = "sqlite:///{folder}/star.db"
tenants = "*"

[sinks.away]
url = "postgresql://writer:geheim@127.0.0.1:1/none"
tenants = "shop"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sinks.toml"
    file.write_text(FILE.format(folder=tmp_path))
    return file


def fleetcast(file: Path | str, *words: str) -> Result:
    return CliRunner().invoke(main, ["sinks", *words], env={"SINKS_FILE": str(file), "COLUMNS": "200"}, prog_name="fleetcast")


def test_the_tables_that_are_printed_are_those_that_the_check_asks_for(file: Path, tmp_path: Path) -> None:
    refused = fleetcast(file, "check", "star")
    assert refused.exit_code == 1
    assert "star  Sink star does not answer: OperationalError. no such table: " in refused.output
    with sqlite3.connect(tmp_path / "star.db") as connection:
        connection.executescript(fleetcast(file, "ddl", "star").output)
    connection.close()
    done = fleetcast(file, "check", "star")
    assert (done.exit_code, done.output.startswith("star  takes forecasts: sqlite, ")) == (0, True)


def test_one_that_is_away_does_not_hide_the_others_and_no_secret_is_told(file: Path) -> None:
    done = fleetcast(file, "check")
    assert done.exit_code == 1
    assert "away  Sink away does not answer: OperationalError. " in done.output
    assert "star  " in done.output
    assert "geheim" not in done.output


def test_the_list_says_whose_they_are(file: Path) -> None:
    told = [json.loads(line) for line in fleetcast(file, "ls", "--json").output.splitlines()]
    assert [(sink["name"], sink["tenants"], sink["forecasts"]) for sink in told] == [
        ("star", "*", "forecast"),
        ("away", "shop", "forecast"),
    ]
    assert "any" in fleetcast(file, "ls").output
    assert "SINKS_FILE names none" in fleetcast("", "ls").output


def test_a_check_of_none_says_so_and_how_one_is_named() -> None:
    done = fleetcast("", "check")
    assert done.exit_code == 0
    assert "No sinks: SINKS_FILE names none." in done.output
    assert "[sinks.NAME]" in done.output
    assert fleetcast("", "check", "--json").output == ""


@pytest.mark.parametrize("words", [("check", "nowhere"), ("ddl", "nowhere")])
def test_an_unknown_one_is_answered_with_those_there_are(file: Path, words: tuple[str, ...]) -> None:
    done = fleetcast(file, *words)
    assert done.exit_code == 1
    assert "No sink 'nowhere'. SINKS_FILE names: star, away." in done.output


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text("[sinks.x]\n")
    done = fleetcast(file, "ls")
    assert done.exit_code == 1
    assert "SINKS_FILE=" in done.output
    assert "sinks.x: names its database by `url`" in done.output
