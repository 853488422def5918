"""A forecast as it is told: points with their interval, what they are compared with, and how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ml.baselines import SEASONAL_NAIVE
from ml.blend import SEASONAL_CHANGE
from ml.fitted import Fitted
from ml.interpretation import History
from ml.series import Floats, Notice, Series, moment, notice
from ml.sight import Sight
from ml.stamps import duration, stamp

#: The history a forecast is compared with, and the most rows of it that are asked for.
HISTORY_DAYS = 30
HISTORY_ROWS = 10_000
#: Share of a blend from which a missing part is worth a notice.
NOTED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a forecast, in the target's unit."""

    at: datetime
    value: float
    lower: float
    upper: float

    def as_dict(self) -> dict[str, Any]:
        # By name: `asdict` takes six times as long, and a night has a hundred thousand points.
        return {"at": stamp(self.at), "value": self.value, "lower": self.lower, "upper": self.upper}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model says, and how far to trust it."""

    target: str
    points: tuple[Point, ...]
    level: float
    #: `blend`, `persistence` or `seasonal_naive`.
    served_by: str
    #: Of the blend's parts; None where a baseline serves.
    shares: Mapping[str, float] | None
    #: Share of test-part truths that lay inside the interval at this level.
    measured_coverage: float | None
    #: 1 − error / error of the best naive baseline, on the test part.
    skill: float | None
    #: The last observation: the first point is one step after it.
    data_until: datetime
    step_s: float
    #: Of the last 30 days, or of what was given.
    history: History
    warnings: tuple[Notice, ...]

    @property
    def origin(self) -> dict[str, Any]:
        """Who made it: the kind of forecaster, and the shares of a blend's parts."""
        shares = {} if self.shares is None else {"shares": {part: round(share, 4) for part, share in self.shares.items()}}
        return {"kind": self.served_by} | shares

    @property
    def mean(self) -> float:
        return sum(point.value for point in self.points) / len(self.points)

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as far as ml knows it: entity, unit, version and interpretation are for the caller to add."""
        return {
            "target": self.target,
            "data_until": stamp(self.data_until),
            "horizon": len(self.points),
            "step": duration(self.step_s),
            "served_by": self.origin,
            "skill": self.skill,
            "points": [point.as_dict() for point in self.points],
            "level": self.level,
            "measured_coverage": self.measured_coverage,
            "history": self.history.as_dict(),
            "warnings": list(self.warnings),
        }


def compose(sight: Sight, values: Floats, level: float | None) -> Forecast:
    """(H,) values with their interval, history and warnings."""
    fitted, series = sight.fitted, sight.series
    chosen = fitted.spec.level if level is None else level
    until = moment(series.times[-1])
    return Forecast(
        target=fitted.target,
        points=_points(values, fitted.half_widths(chosen, series.times[-1:])[0], until, fitted.step_s),
        level=chosen,
        served_by=fitted.served_by,
        shares=None if fitted.blend is None else fitted.blend.shares,
        measured_coverage=fitted.intervals.measured(chosen),
        skill=fitted.scores[fitted.served_by]["test"].skill,
        data_until=until,
        step_s=fitted.step_s,
        history=_history(series, fitted.target, float(values.mean())),
        warnings=_warnings(fitted, series, chosen),
    )


def _points(values: Floats, half: Floats, until: datetime, step_s: float) -> tuple[Point, ...]:
    return tuple(
        Point(until + timedelta(seconds=step_s * (step + 1)), float(value), float(value - width), float(value + width))
        for step, (value, width) in enumerate(zip(values, half, strict=False))
    )


def _history(series: Series, target: str, mean: float) -> History:
    rows = max(1, int(HISTORY_DAYS * 86_400 / series.step_s))
    values, observed = series.channels[target][-rows:], series.observed[target][-rows:]
    # Where the grid is another target's, this one's last rows may all be filled ones.
    recent = values[observed] if observed.any() else values[np.isfinite(values)]
    return History(
        average=float(recent.mean()),
        deviation=float(recent.std()),
        percentile=percentile(recent, mean),
        days=round(min(len(series), rows) * series.step_s / 86_400, 2),
        rows=len(recent),
    )


def percentile(recent: Floats, mean: float) -> float:
    """Of (N,) values, the share in percent that lies no higher."""
    return round(100 * float((recent <= mean).mean()), 1)


def _reads_season(fitted: Fitted) -> bool:
    """The season before has a part in the answer that a client would miss."""
    if fitted.blend is None:
        return fitted.served_by == SEASONAL_NAIVE
    return fitted.blend.shares[SEASONAL_CHANGE] >= NOTED_SHARE


def _warnings(fitted: Fitted, series: Series, level: float) -> tuple[Notice, ...]:
    found: list[Notice] = []
    if fitted.intervals.is_pooled(level):
        found.append(notice("intervals_pooled", f"{fitted.intervals.rows} held-back rows at {level:.0%}: steps share their residuals."))
    if _reads_season(fitted) and len(series) < fitted.season.steps:
        found.append(notice("season_missing", f"{len(series)} of {fitted.season.steps} rows of a season: the last value stands in."))
    for name in fitted.spec.covariates if fitted.by_network else ():
        if not np.isfinite(series.channels[name][-fitted.spec.window :]).any():
            found.append(notice("channel_vanished", f"{name} has no value in the last {fitted.spec.window} rows.", channel=name))
    return tuple(found)
