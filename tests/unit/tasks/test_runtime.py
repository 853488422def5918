"""A process starts with all its recipes or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.environment import load
from tasks.runtime import open_runtime
from tasks.settings import Settings, SettingsError

NOWHERE = {"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none", "redis_url": "redis://127.0.0.1:1/0"}


def _settings(file: Path | str) -> Settings:
    return replace(load({}), recipes_file=str(file), **NOWHERE)


def test_the_operators_recipes_are_there_beside_the_presets(tmp_path: Path) -> None:
    file = tmp_path / "recipes.toml"
    file.write_text('[recipes.boiler]\nextends = "device-metric"\nspec.horizon = 24\n')
    runtime = open_runtime(_settings(file), "test")
    try:
        assert runtime.recipes["boiler"].spec["horizon"] == 24
        assert {"device-metric", "price-week"} <= runtime.recipes.keys()
    finally:
        runtime.close()


@pytest.mark.parametrize(
    ("content", "fix"), [(None, "must name a text file"), ("[recipes.x]\n", "names the one it extends"), ("\x00", "is no TOML")]
)
def test_a_file_that_cannot_be_used_is_named_with_the_fix(tmp_path: Path, content: str | None, fix: str) -> None:
    file = tmp_path / "recipes.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=fix) as refused:
        open_runtime(_settings(file), "test")
    assert "RECIPES_FILE" in str(refused.value)
