"""What if: every row asked for changes, nothing else does, nothing is skipped in silence."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ml.errors import FeatureMissing, ScenarioOutOfBounds, SpecInvalid
from ml.fitted import Fitted
from ml.forecaster import Change, Scenario, forecast, what_if
from ml.scenarios import edit
from tests.support import series

Pair = tuple[Fitted, series.Raw]


def sleep(value: float, op: str = "add", steps: object = "all", channel: str = "asleep_min") -> Scenario:
    return Scenario(f"{op} {value:g}", (Change(channel, op, value, steps),))  # type: ignore[arg-type]


def test_more_sleep_lowers_the_heart_rate_and_less_raises_it(health: Pair) -> None:
    """The generated person's short nights raise the day after."""
    found = what_if(*health, [sleep(60.0, steps=("last", 1)), sleep(-60.0, steps=("last", 1))], horizon=1, direction="lower")
    more, less = found.scenarios
    assert more.delta[0] < 0 < less.delta[0]
    assert (found.best, found.worst) == (more.name, less.name)


def test_direction_is_data_not_a_guess_from_the_name(health: Pair) -> None:
    """Trap T8."""
    scenarios = [sleep(60.0, steps=("last", 1)), sleep(-60.0, steps=("last", 1))]
    low, high, none = (what_if(*health, scenarios, horizon=1, direction=way) for way in ("lower", "higher", None))  # type: ignore[arg-type]
    assert (low.best, low.worst) == (high.worst, high.best)
    assert (none.best, none.worst) == (None, None)


def test_the_baseline_is_the_forecast(health: Pair) -> None:
    found = what_if(*health, [sleep(10.0)])
    [plain] = forecast([health])
    np.testing.assert_allclose([p.value for p in found.baseline.points], [p.value for p in plain.points], rtol=1e-6)  # type: ignore[union-attr]


def test_scenarios_in_one_pass_are_those_asked_alone(health: Pair) -> None:
    scenarios = [sleep(value) for value in (-60.0, 0.5, 30.0)]
    together = what_if(*health, scenarios)
    for scenario, found in zip(scenarios, together.scenarios, strict=True):
        [alone] = what_if(*health, [scenario]).scenarios
        np.testing.assert_allclose(found.delta, alone.delta, atol=1e-4)


def test_deltas_are_scenario_minus_baseline_and_intervals_move_along(health: Pair) -> None:
    found = what_if(*health, [sleep(30.0)], level=0.8)
    [scenario] = found.scenarios
    for delta, point, plain in zip(scenario.delta, scenario.points, found.baseline.points, strict=True):
        assert delta == pytest.approx(point.value - plain.value)
        assert point.upper - point.lower == pytest.approx(plain.upper - plain.lower)
    assert scenario.as_dict()["mean_delta"] == pytest.approx(np.mean(scenario.delta))


@pytest.mark.parametrize(("steps", "rows"), [("all", 10), (("last", 3), 3), (("last", 1), 1), (("last", 10), 10)])
def test_every_row_asked_for_is_changed_and_shown(health: Pair, steps: object, rows: int) -> None:
    """Trap T13: not only the last one."""
    [scenario] = what_if(*health, [sleep(450.0, "set", steps)]).scenarios
    used = scenario.used["asleep_min"]
    assert [cell["value"] for cell in used] == [450.0] * rows
    assert len({cell["at"] for cell in used}) == rows


@pytest.mark.parametrize(("op", "value", "after"), [("set", 7.0, [7, 7]), ("add", 2.0, [4, 5]), ("multiply", 3.0, [6, 9])])
def test_ops_by_hand(health: Pair, op: str, value: float, after: list[float]) -> None:
    fitted, _ = health
    window = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 3.0, 1.0]])
    edited = edit(window, sleep(value, op, ("last", 2)), fitted.spec, fitted.scaler, "warn")
    assert edited.values[:, 1].tolist() == [1.0, *after]
    assert (edited.values[:, [0, 2]] == 1.0).all()
    assert window[2, 1] == 3.0


def test_missing_rows_stay_missing_unless_set(health: Pair) -> None:
    fitted, _ = health
    window = np.full((3, 3), np.nan)
    added = edit(window, sleep(5.0), fitted.spec, fitted.scaler, "warn")
    assert np.isnan(added.values).all()
    assert [warning["code"] for warning in added.warnings] == ["change_without_effect"]
    assert edit(window, sleep(5.0, "set"), fitted.spec, fitted.scaler, "warn").values[:, 1].tolist() == [5.0] * 3


def test_a_channel_the_model_does_not_read_is_refused_by_name(health: Pair) -> None:
    """Trap T13: never skipped."""
    with pytest.raises(FeatureMissing, match="caffeine_mg") as caught:
        what_if(*health, [sleep(1.0), sleep(1.0, channel="caffeine_mg")])
    assert caught.value.extra["available"] == ["rhr", "asleep_min", "steps"]


@pytest.mark.parametrize(
    "scenarios",
    [
        [],
        [sleep(1.0)] * 21,
        [sleep(1.0, steps=("last", 0))],
        [sleep(1.0, steps=("last", 11))],
        [sleep(float("nan"))],
        [sleep(float("inf"))],
        [sleep(1.0, "divide")],
    ],
    ids=["none", "too many", "no rows", "more than the window", "nan", "inf", "unknown op"],
)
def test_requests_out_of_bounds_are_refused(health: Pair, scenarios: list[Scenario]) -> None:
    with pytest.raises(SpecInvalid):
        what_if(*health, scenarios)


def test_beyond_the_training_range_is_warned_of(health: Pair) -> None:
    fitted, _ = health
    [scenario] = what_if(*health, [sleep(2_000.0, "set")]).scenarios
    [beyond] = scenario.out_of_support
    assert (beyond.channel, beyond.rows, beyond.farthest, beyond.clamped) == ("asleep_min", 10, 2_000.0, False)
    assert beyond.high == fitted.scaler.high[1]
    assert [warning["code"] for warning in scenario.warnings] == ["out_of_support"]


def test_clamp_brings_it_back_and_says_so(health: Pair) -> None:
    fitted, _ = health
    [scenario] = what_if(*health, [sleep(2_000.0, "set")], bounds="clamp").scenarios
    assert {cell["value"] for cell in scenario.used["asleep_min"]} == {fitted.scaler.high[1]}
    assert scenario.out_of_support[0].clamped


def test_reject_refuses(health: Pair) -> None:
    with pytest.raises(ScenarioOutOfBounds, match="asleep_min") as caught:
        what_if(*health, [sleep(2_000.0, "set")], bounds="reject")
    assert caught.value.extra["out_of_support"][0]["farthest"] == 2_000.0


def test_the_targets_own_past_may_be_changed(shifted: Pair) -> None:
    [scenario] = what_if(*shifted, [Scenario("higher", (Change("value", "add", 1.0),))]).scenarios
    assert scenario.delta == pytest.approx([1.0] * 4, abs=0.05)


def test_a_baseline_reads_no_covariates_and_says_so(health: Pair) -> None:
    fitted, raw = health
    plain = dataclasses.replace(fitted, served_by="persistence")
    found = what_if(plain, raw, [sleep(60.0), Scenario("target", (Change("rhr", "add", 2.0, ("last", 1)),))], direction="lower")
    covariate, target = found.scenarios
    assert covariate.delta == (0.0, 0.0)
    assert target.delta == pytest.approx((2.0, 2.0))
    assert [warning["code"] for warning in found.warnings] == ["baseline_serves"]


def test_scenarios_that_agree_have_no_best(health: Pair) -> None:
    fitted, raw = health
    plain = dataclasses.replace(fitted, served_by="persistence")
    found = what_if(plain, raw, [sleep(60.0), sleep(30.0)], direction="lower")
    assert (found.best, found.worst) == (None, None)


def test_it_is_json(health: Pair) -> None:
    found = what_if(*health, [sleep(2_000.0, "set"), sleep(10.0, steps=("last", 2))], direction="higher")
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert {"baseline", "scenarios", "best", "worst", "direction", "warnings"} == set(again)
    assert {"name", "points", "delta", "mean_delta", "used", "out_of_support", "warnings"} == set(again["scenarios"][0])
