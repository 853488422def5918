"""What a command says: it fits the terminal, and a program reads it whole."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from db.errors import NotFound
from ops import telling

BOX = re.compile("[\u2500-\u257f]")
JOB = {
    "id": "job_01KAG2Z5X8Q0V7M4R3T6W9Y1AA",
    "tenant": "acme",
    "label": "a label as long as labels are, or longer",
    "state": "running",
    "code": "",
}


def lines(width: int, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(telling, "terminal_width", lambda: width)
    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(telling.fitting(rows, whole=("id", "state")))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 10_000])
def test_a_table_fits_and_never_cuts_what_other_commands_ask_for(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head, row = lines(width, [JOB], monkeypatch)
    assert max(len(head.rstrip()), len(row.rstrip())) <= width
    assert JOB["id"] in row
    assert "running" in row
    assert not BOX.search(head + row)
    assert head.split() == ["id", "tenant", "label", "state"], "a column in which nothing stands is left out"
    assert (JOB["label"] in row) == (width >= 100)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.fixed_dictionaries({name: st.text("ab[]é日 ", max_size=30) for name in ("id", "who", "what")}), min_size=1, max_size=4))
def test_whatever_stands_in_it_is_shown_as_it_is(rows: list[dict[str, str]]) -> None:
    out = io.StringIO()
    Console(file=out, width=400, markup=False, emoji=False).print(telling.fitting(rows))
    told = out.getvalue()
    assert all(word in told for row in rows for value in row.values() for word in value.split())


def ran(action: Any, *, as_json: bool) -> Any:
    @click.command()
    def command() -> None:
        telling.tell_each(["one", "two", "one"], action, as_json=as_json)

    return CliRunner().invoke(command)


def half(name: str) -> str:
    if name == "two":
        raise NotFound("job", name)
    return "done"


def test_each_is_done_once_and_one_that_is_not_ends_with_1() -> None:
    told = ran(half, as_json=False)
    assert (told.stdout, told.exit_code) == ("one  done\n", 1)
    assert told.stderr.startswith("two  not done: ")
    assert ran(lambda _: "done", as_json=False).exit_code == 0


def test_a_program_reads_a_line_for_each() -> None:
    told = [json.loads(line) for line in ran(half, as_json=True).stdout.splitlines()]
    assert [(each["id"], each["done"]) for each in told] == [("one", True), ("two", False)]


def test_moments_and_folders_have_json(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    telling.tell({"at": datetime(2026, 1, 1, tzinfo=UTC), "folder": tmp_path}, "", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-01T00:00:00+00:00", "folder": str(tmp_path)}


def test_a_bar_is_for_terminals_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with telling.progress() as bar:
        bar.update(bar.add_task("rows", total=1), completed=1)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with telling.progress() as bar:
        bar.add_task("rows", total=1)
    assert capsys.readouterr().out == "", "programs read the other stream"
