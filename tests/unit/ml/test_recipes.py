"""Recipes are data: what each resolves to for an entity, what it needs, and what a request or an operator may change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml.errors import SpecInvalid
from ml.readiness import Coverage, assess, least_rows
from ml.recipes import NUTRITION, RECIPES, presets, recipe
from ml.spec import ModelSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def held(**days: int) -> dict[str, Coverage]:
    """Daily rows up to now."""
    return {name: Coverage(count, count, NOW - timedelta(days=count - 1), NOW) for name, count in days.items()}


def unmet(name: str, target: str | None, coverage: Mapping[str, Coverage], **overrides: Any) -> dict[str, tuple[float, float, str]]:
    preset = recipe(name)
    spec = preset.resolve(target, coverage, overrides)
    found = assess(spec, preset.needs, coverage, now=NOW)
    return {r.name: (r.have, r.need, r.unit) for r in found if not r.met}


@pytest.mark.parametrize(
    ("name", "target", "coverage", "covariates", "window", "horizon"),
    [
        ("pv-power", None, held(P=300, U=300, I=300, Temp=300, Irr=300), ("U", "I", "Temp", "Irr"), 24, 1),
        ("pv-power", None, held(P=300, Irr=300), ("Irr",), 24, 1),
        ("health-daily", "hrv_rmssd", held(hrv_rmssd=60, steps=60, asleep_min=50, protein_g=20), ("steps", "asleep_min"), 30, 7),
        ("health-daily", None, held(rhr=60), (), 30, 7),
        ("device-metric", "system.cpuUsage", {"system.cpuUsage": Coverage(500, 2)}, (), 50, 12),
    ],
)
def test_a_recipe_takes_the_covariates_an_entity_has(
    name: str, target: str | None, coverage: Mapping[str, Coverage], covariates: tuple[str, ...], window: int, horizon: int
) -> None:
    spec = recipe(name).resolve(target, coverage, {})
    assert (spec.covariates, spec.window, spec.horizon) == (covariates, window, horizon)
    assert spec.targets == (target or recipe(name).targets[0],)


BOTH = held(temperature=300, humidity=300)


@pytest.mark.parametrize(
    ("target", "coverage", "overrides", "targets", "covariates"),
    [
        (None, BOTH, {}, ("temperature", "humidity"), ()),
        ("humidity", BOTH, {}, ("humidity",), ("temperature",)),
        (None, held(humidity=300), {}, ("humidity",), ()),
        (None, {}, {}, ("temperature",), ()),
        (None, BOTH, {"covariates": ["humidity"]}, ("temperature",), ("humidity",)),
        (None, BOTH, {"future_covariates": ["humidity"]}, ("temperature",), ()),
    ],
    ids=["both there", "one asked for", "one there", "none there", "the other taken as a covariate", "the other known ahead"],
)
def test_a_joint_recipe_forecasts_all_targets_an_entity_has_from_one_network(
    target: str | None,
    coverage: Mapping[str, Coverage],
    overrides: Mapping[str, Any],
    targets: tuple[str, ...],
    covariates: tuple[str, ...],
) -> None:
    spec = recipe("sensor-climate").resolve(target, coverage, overrides)
    assert (spec.targets, spec.covariates) == (targets, covariates)


def test_every_target_of_a_joint_recipe_is_asked_for_its_rows() -> None:
    assert unmet("sensor-climate", None, held(temperature=99, humidity=98)) == {
        "temperature.rows": (99, 100, "row"),
        "humidity.rows": (98, 100, "row"),
    }


def test_a_price_is_learned_step_by_step_from_the_rows_on_which_it_was_one() -> None:
    plain, told = (recipe("price-week").resolve(None, held(**names), {}) for names in ({"price": 60}, {"price": 60, "is_available": 60}))
    assert (told.network, told.window, told.horizon, told.positive) == ("seq2seq", 30, 7, True)
    assert (plain.available, told.available) == (None, "is_available")
    assert told.inputs == ("price",)
    assert unmet("price-week", None, held(price=36)) == {"price.rows": (36, 37, "row")}
    assert unmet("price-week", None, held(price=37)) == {}


def test_the_defaults_of_a_spec_are_those_of_a_devices_metric() -> None:
    assert recipe("device-metric").resolve("cpu", {}, {}) == ModelSpec(("cpu",))


@pytest.mark.parametrize(
    ("name", "epochs", "patience", "batch_size", "learning_rate"),
    [
        ("pv-power", 10, 8, 32, 2e-2),
        ("health-daily", 30, 10, 32, 1e-2),
        ("device-metric", 14, 8, 32, 4e-2),
        ("sensor-climate", 14, 8, 32, 4e-2),
        ("price-week", 10, 8, 64, 3e-3),
    ],
)
def test_how_long_and_how_fast_each_recipe_learns(name: str, epochs: int, patience: int, batch_size: int, learning_rate: float) -> None:
    spec = recipe(name).resolve("cpu", {}, {})
    assert (spec.epochs, spec.patience, spec.batch_size, spec.learning_rate) == (epochs, patience, batch_size, learning_rate)


def test_health_reads_the_week_behind_each_covariate() -> None:
    assert recipe("health-daily").resolve("rhr", held(rhr=60), {}).rolling == (7,)


def test_enough_is_enough() -> None:
    assert unmet("pv-power", None, {"P": Coverage(200, 3)}) == {}
    assert unmet("health-daily", "rhr", held(rhr=30)) == {}
    assert unmet("device-metric", "cpu", {"cpu": Coverage(100, 1)}) == {}


def test_each_recipe_says_what_is_missing() -> None:
    assert unmet("pv-power", None, {"P": Coverage(199, 3)}) == {"P.rows": (199, 200, "row")}
    assert unmet("health-daily", "hrv_rmssd", held(hrv_rmssd=29)) == {"hrv_rmssd.days": (29, 30, "day")}
    assert unmet("device-metric", "cpu", {"cpu": Coverage(99, 1)}) == {"cpu.rows": (99, 100, "row")}
    assert set(unmet("device-metric", "cpu", {})) == {"cpu.rows", "window_rows"}


@pytest.mark.parametrize("channel", NUTRITION)
def test_nutrition_is_asked_for_three_weeks_when_it_is_an_input(channel: str) -> None:
    assert unmet("health-daily", "rhr", held(rhr=40, **{channel: 20}), covariates=[channel]) == {f"{channel}.days": (20, 21, "day")}
    assert unmet("health-daily", "rhr", held(rhr=40, **{channel: 21}), covariates=[channel]) == {}
    assert unmet("health-daily", "rhr", held(rhr=40, **{channel: 20})) == {}, "it is no input, so nothing is asked of it"


def test_a_covariate_that_is_seldom_there_is_named() -> None:
    assert unmet("health-daily", "rhr", held(rhr=40, steps=10), covariates=["steps"]) == {"steps.coverage": (0.25, 0.5, "share")}


def test_what_is_missing_comes_with_the_day_it_will_be_there() -> None:
    preset, coverage = recipe("health-daily"), held(rhr=20)
    [days] = [r for r in assess(preset.resolve("rhr", coverage, {}), preset.needs, coverage, now=NOW) if r.name == "rhr.days"]
    assert days.eta == (NOW + timedelta(days=10)).date().isoformat()
    assert str(days) == "20 of 30 days of rhr"
    [unknowable] = [r for r in assess(preset.resolve("rhr", {}, {}), preset.needs, {}, now=NOW) if r.name == "rhr.days"]
    assert unknowable.eta is None


def test_the_windows_themselves_need_rows() -> None:
    spec = recipe("device-metric").resolve("cpu", {}, {"horizon": 168})
    [rows] = [r for r in assess(spec, (), {"cpu": Coverage(150, 1)}, now=NOW) if r.name == "window_rows"]
    assert (rows.have, rows.need, rows.met) == (150, least_rows(spec), False)
    assert str(rows).endswith("rows of the target")


def test_a_request_may_change_any_field_within_its_bounds() -> None:
    spec = recipe("device-metric").resolve(
        "cpu",
        {},
        {"window": 24, "loss": "huber", "covariates": ["load"], "split": {"fit": 0.7, "stop": 0.1, "calibrate": 0.1, "test": 0.1}},
    )
    assert (spec.window, spec.loss, spec.covariates, spec.split.fit) == (24, "huber", ("load",), 0.7)
    with pytest.raises(SpecInvalid, match="window = 1: must be between 2 and 512"):
        recipe("device-metric").resolve("cpu", {}, {"window": 1})
    with pytest.raises(SpecInvalid, match="target = None"):
        recipe("device-metric").resolve(None, {}, {})
    with pytest.raises(SpecInvalid, match="unknown recipe; known: device-metric, health-daily, price-week, pv-power, sensor-climate"):
        recipe("tarot")


def test_an_operator_moves_a_preset_and_leaves_the_others_alone() -> None:
    moved = presets({"device-metric": {"window": 24, "min_rows": 300}})
    assert moved["device-metric"].spec["window"] == 24
    assert [need.minimum for need in moved["device-metric"].needs] == [300]
    assert moved["pv-power"] == RECIPES["pv-power"]
