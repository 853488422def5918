"""The floor: points and intervals end on it, truths at or above it stay covered, and rows that lie lower overrule it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.fitted import Fitted
from ml.floor import floored, raised
from ml.forecaster import forecast
from ml.recipes import recipe
from ml.scenarios import Change, Scenario
from ml.telling import Forecast, Point
from ml.what_if import what_if
from tests.support import series

START = datetime(2026, 1, 1, tzinfo=UTC)
Pair = tuple[Fitted, series.Raw]
numbers = st.floats(-1e6, 1e6)


@given(st.tuples(numbers, numbers, numbers).map(sorted), numbers, numbers)
def test_no_interval_loses_a_truth_that_keeps_to_the_floor(edges: list[float], floor: float, truth: float) -> None:
    lower, value, upper = edges
    [on] = raised([Point(START, value, lower, upper)], floor)
    assert floor <= on.lower <= on.value <= on.upper
    assert not lower <= truth <= upper or truth < floor or on.lower <= truth <= on.upper


def test_what_is_above_it_stays_as_it_is(health: Pair) -> None:
    [made] = forecast([health])
    assert isinstance(made, Forecast)
    assert floored(made, 0.0, health[1]) == floored(made, None, health[1]) == made


def _floor_in_the_way(made: Forecast) -> float:
    """Above the lower ends of the intervals, below every row."""
    return max(point.lower for point in made.points) + 1e-3


def test_a_row_below_the_floor_overrules_it(health: Pair) -> None:
    fitted, raw = health
    [made] = forecast([health])
    assert isinstance(made, Forecast)
    floor = _floor_in_the_way(made)
    times, values = raw[fitted.target]
    above: Mapping[str, tuple[np.ndarray, np.ndarray]] = {**raw, fitted.target: (times, np.maximum(values, floor))}
    assert {point.lower for point in floored(made, floor, above).points} == {floor}
    dip = {**above, fitted.target: (times, np.where(np.arange(len(times)) == 3, floor - 1, np.maximum(values, floor)))}
    assert floored(made, floor, dip) == made


def test_what_stands_on_it_is_compared_from_there(health: Pair) -> None:
    """A plant at night: half of its rows are as low as what is forecast, not none of them."""
    fitted, raw = health
    [made] = forecast([health])
    assert isinstance(made, Forecast)
    floor = max(point.value for point in made.points) + 1.0
    times, _ = raw[fitted.target]
    night = {**raw, fitted.target: (times, np.where(np.arange(len(times)) % 2, floor, floor + 5.0))}
    assert floored(made, floor, night).history.percentile == 50.0
    assert floored(made, floor, night).mean == floor


def test_scenarios_stand_on_it_too_and_differ_by_what_is_left(health: Pair) -> None:
    fitted, raw = health
    low = Scenario("low", (Change(fitted.target, "add", -3.0),))
    free = what_if(fitted, raw, [low])
    floor = _floor_in_the_way(free.baseline)
    times, values = raw[fitted.target]
    above = {**raw, fitted.target: (times, np.maximum(values, floor))}
    found = what_if(fitted, above, [low], floor=floor)
    assert min(point.lower for point in (*found.baseline.points, *found.scenarios[0].points)) == floor
    apart = [one.value - other.value for one, other in zip(found.scenarios[0].points, found.baseline.points, strict=True)]
    assert list(found.scenarios[0].delta) == apart


@pytest.mark.parametrize(
    ("name", "target", "floor"),
    [("pv-power", "P", 0.0), ("pv-power", "Temp", None), ("price-week", "price", 0.0), ("device-metric", "cpu", None)],
)
def test_a_floor_is_of_the_targets_that_a_recipe_knows(name: str, target: str, floor: float | None) -> None:
    assert recipe(name).floor_of(target) == floor
    assert replace(recipe("device-metric"), floor=5.0).floor_of("any") == 5.0
