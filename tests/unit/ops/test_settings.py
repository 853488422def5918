"""The settings as people read them: a table, and a file to copy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import main
from ops.doctor import settings_env, settings_table
from tasks.environment import load
from tasks.settings import Settings

ROOT = Path(__file__).parents[3]
NAMES = [field.name.upper() for field in fields(Settings)]


def variables(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_table_has_a_row_for_every_setting_with_its_reason() -> None:
    head, rule, *rows = settings_table().splitlines()
    assert (head.count("|"), rule) == (4, "|---|---|---|")
    assert [row.split("`")[1] for row in rows] == NAMES
    for row, field in zip(rows, fields(Settings), strict=True):
        assert field.metadata["why"] in row
        assert all(f"`{name}`" in row for name in field.metadata["variables"])
        assert row.count("|") == 4, "no cell breaks the table"


def test_the_file_of_variables_is_the_one_in_the_repository() -> None:
    assert (ROOT / ".env.example").read_text() == settings_env() + "\n", "write it with `fleetcast settings --env > .env.example`"


def test_the_file_of_variables_is_the_defaults_in_the_settings_own_order() -> None:
    told = variables(settings_env())
    assert list(told) == NAMES
    assert load(told) == load({}) == Settings()


@pytest.mark.parametrize(("words", "made"), [([], settings_table), (["--env"], settings_env)])
def test_the_command_prints_them(words: list[str], made: object) -> None:
    assert callable(made)
    assert CliRunner().invoke(main, ["settings", *words]).output == f"{made()}\n"
