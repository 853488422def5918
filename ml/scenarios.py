"""The mind's "what if": changes to the past a forecast reads, and what came of them. Values and arrays only; ml.forecaster runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ml.errors import FeatureMissing, ScenarioOutOfBounds, SpecInvalid
from ml.features import Scaler
from ml.series import Bools, Floats, Notice, notice
from ml.spec import ModelSpec

Bounds = Literal["warn", "clamp", "reject"]
Direction = Literal["higher", "lower"]

MOST_SCENARIOS = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One change to one channel over the rows the model reads."""

    channel: str
    op: Literal["set", "add", "multiply"]
    value: float
    #: Every row of the window, its last n, or the next n of a known-future covariate.
    steps: Literal["all"] | tuple[Literal["last", "future"], int] = "all"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class OutOfSupport:
    """A change that asks for values the model never learned from."""

    channel: str
    #: Range learned from.
    low: float
    high: float
    #: Rows that the change put outside it, and the value farthest out.
    rows: int
    farthest: float
    #: True when the values were brought back to the range.
    clamped: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """A window and what is known ahead after the changes of one scenario."""

    #: (W + H, C)
    values: Floats
    #: channel -> (W + H,) True where a change fell
    touched: dict[str, Bools]
    out_of_support: tuple[OutOfSupport, ...]
    warnings: tuple[Notice, ...]


def require_valid(scenarios: Sequence[Scenario], spec: ModelSpec) -> None:
    """Raises SpecInvalid for counts, ops, steps and values out of bounds; FeatureMissing for a channel that is no input."""
    if not 1 <= len(scenarios) <= MOST_SCENARIOS:
        raise SpecInvalid("scenarios", len(scenarios), f"between 1 and {MOST_SCENARIOS} scenarios")
    for scenario in scenarios:
        for change in scenario.changes:
            _require_valid(scenario, change, spec)


def edit(table: Floats, window: int, scenario: Scenario, spec: ModelSpec, scaler: Scaler, bounds: Bounds) -> Edited:
    """Apply the changes in order to a copy of (W + H, C), whose first `window` rows are the past.

    Raises ScenarioOutOfBounds when `bounds` is "reject" and a value leaves the range.
    """
    values = table.copy()
    touched: dict[str, Bools] = {}
    beyond: list[OutOfSupport] = []
    warnings: list[Notice] = []
    for change in scenario.changes:
        column, rows = spec.inputs.index(change.channel), _rows(change, window)
        before = values[rows, column]
        after = _changed(before, change)
        found = _out_of_support(change.channel, after, float(scaler.low[column]), float(scaler.high[column]), bounds)
        if found:
            _refuse(scenario, found, bounds)
            beyond.append(found)
            warnings += _outside(found)
            after = np.clip(after, found.low, found.high) if bounds == "clamp" else after
        if np.array_equal(before, after, equal_nan=True):
            warnings.append(notice("change_without_effect", f"Nothing changed in {change.channel}.", channel=change.channel))
        values[rows, column] = after
        touched.setdefault(change.channel, np.zeros(len(values), dtype=np.bool_))[rows] = True
    return Edited(values, touched, tuple(beyond), tuple(warnings))


def _require_valid(scenario: Scenario, change: Change, spec: ModelSpec) -> None:
    if change.channel not in spec.inputs:
        there = list(spec.inputs)
        detail = f"Scenario {scenario.name!r} changes {change.channel}, which this model does not read; it reads {', '.join(there)}."
        raise FeatureMissing(detail, channels=[change.channel], available=there)
    if change.op not in ("set", "add", "multiply"):
        raise SpecInvalid("scenarios.changes.op", change.op, "must be set, add or multiply")
    if not np.isfinite(change.value):
        raise SpecInvalid("scenarios.changes.value", change.value, "must be a finite number")
    if change.steps == "all":
        return
    where, count = change.steps
    if where == "future" and change.channel not in spec.future_covariates:
        known = ", ".join(spec.future_covariates) or "none"
        fix = f"{change.channel} is not known ahead, so its future cannot be set; known ahead: {known}. Change its last rows instead"
        raise SpecInvalid("scenarios.changes.steps", {where: count}, fix)
    most, meaning = (spec.horizon, "the steps it forecasts") if where == "future" else (spec.window, "the rows the model reads")
    if not 1 <= count <= most:
        raise SpecInvalid("scenarios.changes.steps", count, f"must be between 1 and {most}, {meaning}")


def _rows(change: Change, window: int) -> slice:
    if change.steps == "all":
        return slice(0, window)
    where, count = change.steps
    return slice(window, window + count) if where == "future" else slice(max(window - count, 0), window)


def _changed(before: Floats, change: Change) -> Floats:
    """A missing row stays missing under add and multiply: there is nothing to add to."""
    if change.op == "set":
        return np.full_like(before, change.value)
    return before + change.value if change.op == "add" else before * change.value


def _out_of_support(channel: str, after: Floats, low: float, high: float, bounds: Bounds) -> OutOfSupport | None:
    excess = np.nan_to_num(np.maximum(low - after, after - high), nan=0.0)
    if not (excess > 0).any():
        return None
    farthest = float(after[int(np.argmax(excess))])
    return OutOfSupport(channel, low, high, int((excess > 0).sum()), farthest, bounds == "clamp")


def _refuse(scenario: Scenario, found: OutOfSupport, bounds: Bounds) -> None:
    if bounds == "reject":
        detail = f"Scenario {scenario.name!r} takes {found.channel} to {found.farthest:g}; learned from {found.low:g} to {found.high:g}."
        raise ScenarioOutOfBounds(detail, scenario=scenario.name, out_of_support=[found.as_dict()])


def _outside(found: OutOfSupport) -> list[Notice]:
    done = "brought back to it" if found.clamped else "the answer is an extrapolation"
    detail = f"{found.rows} values of {found.channel} lie outside {found.low:g} to {found.high:g}, the range learned from: {done}."
    return [notice("out_of_support", detail, channel=found.channel)]
