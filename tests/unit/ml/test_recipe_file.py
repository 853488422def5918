"""An operator's recipes: what a file changes, what it adds, and what it is refused for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ml.errors import SpecInvalid
from ml.recipe_file import with_file
from ml.recipes import RECIPES, recipe

BOILER = """
[recipes.boiler]
extends = "device-metric"
title = "Supply temperature of a boiler"
targets = ["supply.temp"]
covariates = ["outdoor.temp"]
look_back_hours = 720
spec = { window = 96, horizon = 24 }
gate = { min_skill = 0.05 }
needs = [{ name = "rows", of = "target", measure = "rows", minimum = 500 }]
"""


def test_a_new_recipe_keeps_what_it_does_not_say_of_the_one_it_extends() -> None:
    boiler, parent = recipe("boiler", with_file(RECIPES, BOILER)), RECIPES["device-metric"]
    spec = boiler.resolve(None, {}, {})
    assert (spec.targets, spec.window, spec.horizon, spec.hidden_size) == (("supply.temp",), 96, 24, parent.spec["hidden_size"])
    assert (boiler.gate.min_skill, boiler.gate.incumbent_tolerance) == (0.05, parent.gate.incumbent_tolerance)
    assert boiler.needs[0].minimum == 500


@pytest.mark.parametrize(
    ("told", "floor"),
    [
        ('extends = "price-week"', 0.0),
        ('extends = "price-week"\ntargets = ["temperature"]', None),
        ('extends = "price-week"\nfloor = false', None),
        ('extends = "price-week"\ntargets = ["rain"]\nfloor = 2', 2.0),
    ],
)
def test_other_targets_leave_their_parents_floor_behind(told: str, floor: float | None) -> None:
    made = recipe("own", with_file(RECIPES, f"[recipes.own]\n{told}\n")).floor
    assert (made, type(made)) == (floor, type(floor))


def test_a_table_of_a_known_name_changes_that_preset_alone() -> None:
    changed = with_file(RECIPES, "[recipes.pv-power]\nspec = { epochs = 5 }\n")
    assert changed["pv-power"].spec == {**RECIPES["pv-power"].spec, "epochs": 5}
    assert {name: changed[name] for name in RECIPES if name != "pv-power"} == {n: r for n, r in RECIPES.items() if n != "pv-power"}


def test_a_recipe_may_extend_one_made_before_it_and_an_empty_file_changes_nothing() -> None:
    made = with_file(RECIPES, BOILER + '[recipes.small-boiler]\nextends = "boiler"\nspec.hidden_size = 16\n')
    assert made["small-boiler"].spec["window"] == 96
    assert with_file(RECIPES, "") == RECIPES


@pytest.mark.parametrize(
    ("content", "field", "fix"),
    [
        ("[recipes.x", "recipes", "no TOML"),
        ("[other]\n", "other", "nothing else"),
        ("recipes = 3\n", "recipes", "nothing else"),
        ("[recipes]\nx = 3\n", "recipes.x", "must be a table"),
        ("[recipes.x]\n", "recipes.x.extends", "names the one it extends; known: device-metric"),
        ('[recipes.x]\nextends = "y"\n', "recipes.x.extends", "known: device-metric"),
        ("[recipes.pv-power]\nsped = {}\n", "recipes.pv-power.sped", "unknown field"),
        ("[recipes.pv-power]\nspec = { window = 1 }\n", "recipes.pv-power.spec.window", "between 2 and 512"),
        ("[recipes.pv-power]\nspec = { windows = 10 }\n", "recipes.pv-power.spec.windows", "unknown field"),
        ('[recipes.pv-power]\nspec = { window = "ten" }\n', "recipes.pv-power.spec", "not supported"),
        ("[recipes.pv-power]\ngate = { skill = 1 }\n", "recipes.pv-power", "cannot be understood"),
        ("[recipes.pv-power]\ntargets = 3\n", "recipes.pv-power", "cannot be understood"),
        ('[recipes.pv-power]\nneeds = [{ name = "n", of = "x", measure = "rows", minimum = 1 }]\n', "recipes.pv-power.needs", "target or"),
        ("[recipes.pv-power]\nlook_back_hours = 0\n", "recipes.pv-power.look_back_hours", "at least 1"),
        ('[recipes.pv-power]\nfloor = "0"\n', "recipes.pv-power.floor", "must be a number"),
        ("[recipes.pv-power]\nfloor = -inf\n", "recipes.pv-power.floor", "must be a number"),
        ("[recipes.pv-power]\ntitle = 3\n", "recipes.pv-power.title", "wrong type"),
    ],
)
def test_a_fault_names_the_table_the_field_and_the_fix(content: str, field: str, fix: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        with_file(RECIPES, content)
    assert refused.value.field == field
    assert fix in refused.value.detail


def test_the_example_in_the_manual_works() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    shown = [content.strip() for content in re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)]
    assert BOILER.strip() in shown
