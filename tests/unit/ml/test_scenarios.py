"""Changes to what a forecast reads: every row asked for changes, nothing else does, and what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml.errors import FeatureMissing, ScenarioOutOfBounds, SpecInvalid
from ml.features import Scaler, fit_scaler
from ml.scenarios import Change, Edited, Scenario, edit, require_valid
from ml.spec import ModelSpec

SPEC = ModelSpec(("sales",), ("visits",), ("promo",), window=10, horizon=4)
#: Learned from 0 to 10 in every channel.
SCALER: Scaler = fit_scaler(np.tile(np.arange(11.0)[:, None], (1, 3)), slice(0, 11), 5, 1)


def scenario(value: float, op: str = "add", steps: object = "all", channel: str = "visits") -> Scenario:
    return Scenario("one", (Change(channel, op, value, steps),))  # type: ignore[arg-type]


def table() -> np.ndarray:
    """(3 + 2, 3) three rows of the past and two ahead, of which only what is known ahead is known."""
    nothing = np.nan
    return np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 3.0, 1.0], [nothing, nothing, 4.0], [nothing, nothing, 5.0]])


def edited(asked: Scenario, bounds: Any = "warn", rows: np.ndarray | None = None) -> Edited:
    return edit(table() if rows is None else rows, 3, asked, SPEC, SCALER, bounds)


@pytest.mark.parametrize(("op", "value", "after"), [("set", 7.0, [7, 7]), ("add", 2.0, [4, 5]), ("multiply", 3.0, [6, 9])])
def test_ops_by_hand(op: str, value: float, after: list[float]) -> None:
    before = table()
    found = edit(before, 3, scenario(value, op, ("last", 2)), SPEC, SCALER, "warn")
    assert found.values[:3, 1].tolist() == [1.0, *after]
    np.testing.assert_array_equal(found.values[:, [0, 2]], table()[:, [0, 2]])
    np.testing.assert_array_equal(before, table())


@pytest.mark.parametrize(
    ("steps", "rows"), [("all", [0, 1, 2]), (("last", 1), [2]), (("last", 3), [0, 1, 2]), (("future", 1), [3]), (("future", 2), [3, 4])]
)
def test_rows_by_hand(steps: object, rows: list[int]) -> None:
    """`all` is the past alone: the future is asked for by name."""
    found = edited(scenario(9.0, "set", steps, "promo"))
    assert np.flatnonzero(found.values[:, 2] == 9.0).tolist() == rows
    assert np.flatnonzero(found.touched["promo"]).tolist() == rows


def test_changes_are_made_in_order() -> None:
    changes = (Change("promo", "set", 2.0, ("future", 2)), Change("promo", "multiply", 3.0, ("future", 1)), Change("promo", "add", 1.0))
    found = edited(Scenario("three", changes))
    assert found.values[:, 2].tolist() == [2.0, 2.0, 2.0, 6.0, 2.0]
    assert found.touched["promo"].all()


def test_missing_rows_stay_missing_unless_set() -> None:
    nothing = np.full((5, 3), np.nan)
    added = edited(scenario(5.0), rows=nothing)
    assert np.isnan(added.values).all()
    assert [warning["code"] for warning in added.warnings] == ["change_without_effect"]
    assert edited(scenario(5.0, "set"), rows=nothing).values[:3, 1].tolist() == [5.0] * 3


@pytest.mark.parametrize("steps", ["all", ("future", 2)])
def test_values_beyond_what_was_learned_from_are_told_brought_back_or_refused(steps: object) -> None:
    asked = scenario(50.0, "set", steps, "promo")
    warned, clamped = edited(asked), edited(asked, "clamp")
    [beyond], [back] = warned.out_of_support, clamped.out_of_support
    assert (beyond.low, beyond.high, beyond.farthest, beyond.clamped) == (0.0, 10.0, 50.0, False)
    assert back.clamped
    assert np.nanmax(warned.values) == 50.0
    assert np.nanmax(clamped.values) == 10.0
    with pytest.raises(ScenarioOutOfBounds, match="takes promo to 50; learned from 0 to 10"):
        edited(asked, "reject")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "scenarios = 0: between 1 and 20 scenarios"),
        ([scenario(1.0)] * 21, "scenarios = 21: between 1 and 20 scenarios"),
        ([scenario(float("nan"))], "scenarios.changes.value = nan: must be a finite number"),
        ([scenario(float("inf"))], "scenarios.changes.value = inf: must be a finite number"),
        ([scenario(1.0, "divide")], "scenarios.changes.op = 'divide': must be set, add or multiply"),
        ([scenario(1.0, steps=("last", 0))], "scenarios.changes.steps = 0: must be between 1 and 10, the rows the model reads"),
        ([scenario(1.0, steps=("last", 11))], "scenarios.changes.steps = 11: must be between 1 and 10, the rows the model reads"),
        ([scenario(1.0, steps=("future", 0), channel="promo")], "steps = 0: must be between 1 and 4, the steps it forecasts"),
        ([scenario(1.0, steps=("future", 5), channel="promo")], "steps = 5: must be between 1 and 4, the steps it forecasts"),
        ([scenario(1.0, steps=("future", 1))], "steps = {'future': 1}: visits is not known ahead, so its future cannot be set"),
        (
            [scenario(1.0, steps=("future", 1), channel="sales")],
            "sales is not known ahead, so its future cannot be set; known ahead: promo",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_value_and_fix(asked: list[Scenario], told: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        require_valid(asked, SPEC)
    assert told in str(caught.value)


@pytest.mark.parametrize("steps", ["all", ("last", 1), ("last", 10)])
@pytest.mark.parametrize("channel", SPEC.inputs)
def test_the_past_of_every_input_may_be_changed(channel: str, steps: object) -> None:
    require_valid([scenario(1.0, steps=steps, channel=channel)], SPEC)


def test_a_model_that_knows_nothing_ahead_says_so() -> None:
    with pytest.raises(SpecInvalid, match="known ahead: none"):
        require_valid([scenario(1.0, steps=("future", 1))], ModelSpec(("sales",), ("visits",)))


def test_a_channel_that_is_no_input_is_refused_with_those_that_are() -> None:
    with pytest.raises(FeatureMissing, match="Scenario 'one' changes weather, which this model does not read") as caught:
        require_valid([scenario(1.0, channel="weather")], SPEC)
    assert caught.value.extra == {"channels": ["weather"], "available": ["sales", "visits", "promo"]}
