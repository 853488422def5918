"""The mind's answer to "what if": every scenario beside the baseline, in one batched pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml.fitted import Fitted
from ml.floor import floored, kept, raised
from ml.forecaster import answers, require_bounds
from ml.scenarios import Bounds, Direction, Edited, OutOfSupport, Scenario, edit, require_valid
from ml.series import Floats, Notice, RawChannels, moment, notice
from ml.sight import Sight, see
from ml.stamps import stamp
from ml.telling import Forecast, Point, compose


@dataclass(frozen=True, slots=True)
class ScenarioForecast:
    """One scenario beside the baseline."""

    name: str
    points: tuple[Point, ...]
    #: (H,) scenario minus baseline per step, in the target's unit.
    delta: tuple[float, ...]
    #: channel -> values read at the rows changed, with their times; None where missing.
    used: dict[str, list[dict[str, Any]]]
    out_of_support: tuple[OutOfSupport, ...]
    warnings: tuple[Notice, ...]

    @property
    def mean(self) -> float:
        return sum(point.value for point in self.points) / len(self.points)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "points": [point.as_dict() for point in self.points],
            "delta": list(self.delta),
            "mean_delta": sum(self.delta) / len(self.delta),
            "used": self.used,
            "out_of_support": [found.as_dict() for found in self.out_of_support],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    baseline: Forecast
    scenarios: tuple[ScenarioForecast, ...]
    direction: Direction | None
    #: Names, by the mean forecast and the direction; None without a direction or where all scenarios agree.
    best: str | None
    worst: str | None
    warnings: tuple[Notice, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "baseline": self.baseline.as_dict(),
            "scenarios": [scenario.as_dict() for scenario in self.scenarios],
            "direction": self.direction,
            "best": self.best,
            "worst": self.worst,
            "warnings": list(self.warnings),
        }


def what_if(
    fitted: Fitted,
    raw: RawChannels,
    scenarios: Sequence[Scenario],
    *,
    horizon: int | None = None,
    level: float | None = None,
    bounds: Bounds = "warn",
    direction: Direction | None = None,
    floor: float | None = None,
) -> WhatIf:
    """The baseline and every scenario in one batched pass, none of them below a `floor` that the rows keep to.

    Raises SpecInvalid, FeatureMissing (a channel the model does not read, or none of its rows), InsufficientRecentData,
    ScenarioOutOfBounds (`bounds` "reject").
    """
    require_bounds(fitted, horizon, level)
    require_valid(scenarios, fitted.spec)
    sight = see(fitted, raw, horizon, all_inputs=True)
    rows = len(sight.window)
    table = np.concatenate([sight.window, _beyond(sight)])  # (W + H, C)
    edits = [edit(table, rows, scenario, fitted.spec, fitted.scaler, bounds) for scenario in scenarios]
    known = slice(table.shape[1] - sight.ahead.shape[1], None)
    values = answers(sight, [(one[:rows], one[rows:, known]) for one in (table, *(edited.values for edited in edits))])[:, :horizon]
    baseline = compose(sight, values[0], level)
    answered = tuple(
        _scenario(scenario.name, edited, row, baseline, sight) for scenario, edited, row in zip(scenarios, edits, values[1:], strict=True)
    )
    if floor is not None and kept(raw, fitted.target, floor):
        baseline, answered = _raised(baseline, answered, floor, raw)
    best, worst = _extremes(answered, direction)
    return WhatIf(baseline, answered, direction, best, worst, _plain_sense(fitted))


def _beyond(sight: Sight) -> Floats:
    """(H, C) the rows ahead: NaN but for the known-future covariates, which come last."""
    horizon, known = sight.ahead.shape
    return np.concatenate([np.full((horizon, sight.window.shape[1] - known), np.nan), sight.ahead], axis=1)


def _plain_sense(fitted: Fitted) -> tuple[Notice, ...]:
    if fitted.by_network:
        return ()
    detail = f"{fitted.served_by} serves this version and reads no covariates: only changes of {fitted.target} itself can have an effect."
    return (notice("baseline_serves", detail, served_by=fitted.served_by),)


def _scenario(name: str, edited: Edited, values: Floats, baseline: Forecast, sight: Sight) -> ScenarioForecast:
    pairs = list(zip(values.tolist(), baseline.points, strict=True))
    return ScenarioForecast(
        name=name,
        points=tuple(replace(p, value=v, lower=v - (p.value - p.lower), upper=v + (p.upper - p.value)) for v, p in pairs),
        delta=tuple(v - p.value for v, p in pairs),
        used=_used(edited, sight),
        out_of_support=edited.out_of_support,
        warnings=edited.warnings,
    )


def _raised(
    baseline: Forecast, answered: Sequence[ScenarioForecast], floor: float, raw: RawChannels
) -> tuple[Forecast, tuple[ScenarioForecast, ...]]:
    """Both on the floor, and apart by what is left between them."""
    beneath = floored(baseline, floor, raw)
    return beneath, tuple(_beside(replace(one, points=raised(one.points, floor)), beneath) for one in answered)


def _beside(scenario: ScenarioForecast, baseline: Forecast) -> ScenarioForecast:
    pairs = zip(scenario.points, baseline.points, strict=True)
    return replace(scenario, delta=tuple(point.value - plain.value for point, plain in pairs))


def _used(edited: Edited, sight: Sight) -> dict[str, list[dict[str, Any]]]:
    times = sight.series.until(len(sight.ahead))[-len(edited.values) :]
    columns = list(sight.series.channels)
    return {
        channel: [
            {"at": stamp(moment(times[row])), "value": None if np.isnan(value) else float(value)}
            for row in np.flatnonzero(rows)
            for value in [edited.values[row, columns.index(channel)]]
        ]
        for channel, rows in edited.touched.items()
    }


def _extremes(scenarios: Sequence[ScenarioForecast], direction: Direction | None) -> tuple[str | None, str | None]:
    low, high = min(scenarios, key=lambda one: one.mean), max(scenarios, key=lambda one: one.mean)
    if direction is None or low.mean == high.mean:
        return None, None
    return (high.name, low.name) if direction == "higher" else (low.name, high.name)
