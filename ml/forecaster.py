"""The mind's voice: forecasts with intervals from fitted models and the newest rows, and answers to "what if"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ml.baselines import SEASONAL_NAIVE, naive_forecast
from ml.errors import InsufficientData, InsufficientRecentData, ModelError, SpecInvalid
from ml.features import calendar, look, season_of
from ml.fitted import LSTM, Fitted, moment
from ml.networks import forecast_windows
from ml.scenarios import Bounds, Change, Direction, Edited, OutOfSupport, Scenario, edit, require_valid
from ml.series import Floats, Notice, RawChannels, Series, notice, regularise
from ml.spec import BOUNDS, ModelSpec
from ml.windows import readable

__all__ = ["Change", "Forecast", "Point", "Scenario", "ScenarioForecast", "WhatIf", "forecast", "recent_rows", "what_if"]

#: The history a forecast is compared with, and the most rows of it that are asked for.
HISTORY_DAYS = 30
HISTORY_ROWS = 10_000
#: Rows of the longest season (an hour at one row a second), assumed where the cadence is not yet known.
LONGEST_SEASON = 3_600


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a forecast, in the target's unit."""

    at: datetime
    value: float
    lower: float
    upper: float

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "at": _stamp(self.at)}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model says, and how far to trust it."""

    target: str
    points: tuple[Point, ...]
    level: float
    #: `lstm`, `persistence` or `seasonal_naive`.
    served_by: str
    #: Share of test-part truths that lay inside the interval at this level.
    measured_coverage: float | None
    #: 1 − error / error of the best naive baseline, on the test part.
    skill: float | None
    #: The last observation: the first point is one step after it.
    data_until: datetime
    step_s: float
    #: `average` of the last 30 days (or the `days` that were given) and `percentile` of the mean forecast among them.
    history: dict[str, float]
    warnings: tuple[Notice, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as far as ml knows it: entity, unit, version and interpretation are for the caller to add."""
        return {
            "target": self.target,
            "data_until": _stamp(self.data_until),
            "horizon": len(self.points),
            "step": duration(self.step_s),
            "served_by": {"kind": self.served_by},
            "skill": self.skill,
            "points": [point.as_dict() for point in self.points],
            "level": self.level,
            "measured_coverage": self.measured_coverage,
            "history": self.history,
            "warnings": list(self.warnings),
        }


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


def recent_rows(spec: ModelSpec, step_s: float | None = None) -> int:
    """How many of the last grid rows a forecast reads: the window, one season with the horizon, and 30 days of history (capped).

    Without a cadence (neither `step_s` nor `spec.cadence_s`) the longest season is assumed.
    """
    step = step_s or spec.cadence_s
    if step is None:
        return max(spec.window, LONGEST_SEASON) + spec.horizon
    history = min(int(HISTORY_DAYS * 86_400 / step), HISTORY_ROWS)
    return max(spec.window, season_of(step).steps, history) + spec.horizon


def forecast(
    requests: Sequence[tuple[Fitted, RawChannels]], *, horizon: int | None = None, level: float | None = None
) -> list[Forecast | ModelError]:
    """One forecast per request, or the error that kept it from being made; one bad request leaves the others alone.

    Raises SpecInvalid when `horizon` is longer than a model was trained for or `level` is out of bounds.
    """
    for fitted, _ in requests:
        _require_bounds(fitted, horizon, level)
    return [_attempt(fitted, raw, horizon, level) for fitted, raw in requests]


def what_if(
    fitted: Fitted,
    raw: RawChannels,
    scenarios: Sequence[Scenario],
    *,
    horizon: int | None = None,
    level: float | None = None,
    bounds: Bounds = "warn",
    direction: Direction | None = None,
) -> WhatIf:
    """The baseline and every scenario in one batched pass.

    Raises SpecInvalid, FeatureMissing (a channel the model does not read, or none of its rows), InsufficientRecentData,
    ScenarioOutOfBounds (`bounds` "reject").
    """
    _require_bounds(fitted, horizon, level)
    require_valid(scenarios, fitted.spec)
    series = _recent(fitted, raw, fitted.spec)
    window = series.matrix(fitted.spec.inputs)[-fitted.spec.window :]
    edits = [edit(window, scenario, fitted.spec, fitted.scaler, bounds) for scenario in scenarios]
    values = _answers(fitted, series, [window, *(edited.values for edited in edits)])[:, :horizon]
    baseline = _forecast(fitted, series, values[0], level)
    answered = tuple(
        _scenario(scenario.name, edited, row, baseline, series) for scenario, edited, row in zip(scenarios, edits, values[1:], strict=True)
    )
    best, worst = _extremes(answered, direction)
    return WhatIf(baseline, answered, direction, best, worst, _plain_sense(fitted))


def duration(seconds: float) -> str:
    """ISO 8601: whole days as P1D, else PT…H, M or S."""
    if seconds % 86_400 == 0:
        return f"P{seconds / 86_400:.0f}D"
    for unit, size in (("H", 3_600), ("M", 60)):
        if seconds % size == 0:
            return f"PT{seconds / size:.0f}{unit}"
    return f"PT{seconds:g}S"


def _require_bounds(fitted: Fitted, horizon: int | None, level: float | None) -> None:
    if horizon is not None and not 1 <= horizon <= fitted.spec.horizon:
        raise SpecInvalid("horizon", horizon, f"must be between 1 and {fitted.spec.horizon}, the horizon the model was trained for")
    low, high = BOUNDS["level"]
    if level is not None and not low <= level <= high:
        raise SpecInvalid("level", level, f"must be between {low:g} and {high:g}")


def _attempt(fitted: Fitted, raw: RawChannels, horizon: int | None, level: float | None) -> Forecast | ModelError:
    reads = fitted.spec if fitted.served_by == LSTM else replace(fitted.spec, covariates=())
    try:
        series = _recent(fitted, raw, reads)
        window = series.matrix(reads.inputs)[-fitted.spec.window :]
        return _forecast(fitted, series, _answers(fitted, series, [window])[0, :horizon], level)
    except ModelError as error:
        return error


def _recent(fitted: Fitted, raw: RawChannels, reads: ModelSpec) -> Series:
    """The rows on the model's own grid, up to the last observation of the target. Raises when the serving forecaster cannot read them."""
    try:
        series, _ = regularise(fitted.entity, raw, replace(reads, cadence_s=fitted.step_s))
    except InsufficientData as error:
        raise InsufficientRecentData(f"No recent row of {fitted.target}.", requirements=error.extra["requirements"]) from error
    if fitted.served_by == LSTM:
        _require_window(fitted, series)
    return series


def _require_window(fitted: Fitted, series: Series) -> None:
    window, target = fitted.spec.window, series.channels[fitted.target]
    known = np.isfinite(target)
    have = int(known[-window:].sum())
    if len(series) < window or not readable(known, series.observed[fitted.target], window)[-1]:
        raise InsufficientRecentData(
            f"{have} of the last {window} rows of {fitted.target} are known; the model reads {window} and needs half of them.",
            have=have,
            need=window,
            data_until=_stamp(moment(series.times[-1])),
        )


def _answers(fitted: Fitted, series: Series, windows: list[Floats]) -> Floats:
    """(S, H) what serves says of S versions of the last window, each (W, C)."""
    if fitted.served_by != LSTM:
        return np.concatenate([_naive(fitted, series, window[:, 0]) for window in windows])
    phases = calendar(series.times[-fitted.spec.window :], fitted.season)
    view = look(np.stack(windows), np.stack([phases] * len(windows)), fitted.scaler, fitted.spec.window / 2)
    return forecast_windows(fitted.network, view)


def _naive(fitted: Fitted, series: Series, window: Floats) -> Floats:
    """(1, H) of the serving baseline, the last rows of the target being `window`."""
    target = np.concatenate([series.channels[fitted.target][: -len(window)], window])
    return naive_forecast(fitted.served_by, target, np.array([len(target) - 1]), fitted.spec.horizon, fitted.season.steps)


def _forecast(fitted: Fitted, series: Series, values: Floats, level: float | None) -> Forecast:
    chosen = fitted.spec.level if level is None else level
    until = moment(series.times[-1])
    return Forecast(
        target=fitted.target,
        points=_points(fitted, values, until, chosen),
        level=chosen,
        served_by=fitted.served_by,
        measured_coverage=fitted.intervals.measured(chosen),
        skill=fitted.scores[fitted.served_by]["test"].skill,
        data_until=until,
        step_s=fitted.step_s,
        history=_history(series, fitted.target, float(values.mean())),
        warnings=_warnings(fitted, series, chosen),
    )


def _points(fitted: Fitted, values: Floats, until: datetime, level: float) -> tuple[Point, ...]:
    half = fitted.intervals.half_width(level)
    return tuple(
        Point(until + timedelta(seconds=fitted.step_s * (step + 1)), float(value), float(value - width), float(value + width))
        for step, (value, width) in enumerate(zip(values, half, strict=False))
    )


def _history(series: Series, target: str, mean: float) -> dict[str, float]:
    rows = max(1, int(HISTORY_DAYS * 86_400 / series.step_s))
    recent = series.channels[target][-rows:][series.observed[target][-rows:]]
    days = min(len(series), rows) * series.step_s / 86_400
    return {
        "average": float(recent.mean()),
        "percentile": round(100 * float((recent <= mean).mean()), 1),
        "days": round(days, 2),
    }


def _warnings(fitted: Fitted, series: Series, level: float) -> tuple[Notice, ...]:
    found: list[Notice] = []
    if fitted.intervals.is_pooled(level):
        found.append(notice("intervals_pooled", f"{fitted.intervals.rows} held-back rows at {level:.0%}: steps share their residuals."))
    if fitted.served_by == SEASONAL_NAIVE and len(series) < fitted.season.steps:
        found.append(notice("season_missing", f"{len(series)} of {fitted.season.steps} rows of a season: the last value stands in."))
    for name in fitted.spec.covariates if fitted.served_by == LSTM else ():
        if not np.isfinite(series.channels[name][-fitted.spec.window :]).any():
            found.append(notice("channel_vanished", f"{name} has no value in the last {fitted.spec.window} rows.", channel=name))
    return tuple(found)


def _plain_sense(fitted: Fitted) -> tuple[Notice, ...]:
    if fitted.served_by == LSTM:
        return ()
    detail = f"{fitted.served_by} serves this version and reads no covariates: only changes of {fitted.target} itself can have an effect."
    return (notice("baseline_serves", detail, served_by=fitted.served_by),)


def _scenario(name: str, edited: Edited, values: Floats, baseline: Forecast, series: Series) -> ScenarioForecast:
    pairs = list(zip(values.tolist(), baseline.points, strict=True))
    return ScenarioForecast(
        name=name,
        points=tuple(replace(p, value=v, lower=v - (p.value - p.lower), upper=v + (p.upper - p.value)) for v, p in pairs),
        delta=tuple(v - p.value for v, p in pairs),
        used=_used(edited, series),
        out_of_support=edited.out_of_support,
        warnings=edited.warnings,
    )


def _used(edited: Edited, series: Series) -> dict[str, list[dict[str, Any]]]:
    times = [_stamp(moment(stamp)) for stamp in series.times[-len(edited.values) :]]
    columns = list(series.channels)
    return {
        channel: [
            {"at": times[row], "value": None if np.isnan(value) else float(value)}
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


def _stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
