"""The mind's voice: forecasts with intervals, from fitted models and the newest rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ml.baselines import SEASONAL_NAIVE, naive_forecast
from ml.blend import SEASONAL_CHANGE
from ml.chorus import alike, forecast_together
from ml.errors import FeatureMissing, InsufficientData, InsufficientRecentData, ModelError, SpecInvalid
from ml.features import Inputs, View, calendar, look, look_ahead, season_of
from ml.fitted import Fitted
from ml.interpretation import History
from ml.networks import forecast_windows
from ml.seasons import rows_back
from ml.series import Floats, Notice, RawChannels, Series, moment, notice, regularise
from ml.spec import BOUNDS, ModelSpec
from ml.windows import readable

#: The history a forecast is compared with, and the most rows of it that are asked for.
HISTORY_DAYS = 30
HISTORY_ROWS = 10_000
#: Share of a blend from which a missing part is worth a notice.
NOTED_SHARE = 0.1
#: What a network reads of S versions of a window, and of the steps ahead, (S, H, A).
Looked = tuple[View, Inputs]
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
        return {**asdict(self), "at": stamp(self.at)}


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


def recent_rows(spec: ModelSpec, step_s: float | None = None) -> int:
    """How many of the last grid rows a forecast reads: the window, the seasons before it, the horizon; and 30 days of history (capped).

    Without a cadence (neither `step_s` nor `spec.cadence_s`) the longest season is assumed.
    """
    step = step_s or spec.cadence_s
    if step is None:
        return spec.window + rows_back(LONGEST_SEASON) + spec.horizon
    history = min(int(HISTORY_DAYS * 86_400 / step), HISTORY_ROWS)
    return max(spec.window + rows_back(season_of(step).steps), history) + spec.horizon


def forecast(
    requests: Sequence[tuple[Fitted, RawChannels]], *, horizon: int | None = None, level: float | None = None
) -> list[Forecast | ModelError]:
    """One forecast per request, or the error that kept it from being made; one bad request leaves the others alone.

    Networks of one shape answer in one pass.

    Raises SpecInvalid when `horizon` is longer than a model was trained for or `level` is out of bounds.
    """
    for fitted, _ in requests:
        require_bounds(fitted, horizon, level)
    seen = [_seen(fitted, raw, horizon) for fitted, raw in requests]
    said = iter(_said([sight for sight in seen if isinstance(sight, Sight)]))
    return [compose(sight, next(said)[0, :horizon], level) if isinstance(sight, Sight) else sight for sight in seen]


def duration(seconds: float) -> str:
    """ISO 8601: whole days as P1D, else PT…H, M or S."""
    if seconds % 86_400 == 0:
        return f"P{seconds / 86_400:.0f}D"
    for unit, size in (("H", 3_600), ("M", 60)):
        if seconds % size == 0:
            return f"PT{seconds / size:.0f}{unit}"
    return f"PT{seconds:g}S"


def require_bounds(fitted: Fitted, horizon: int | None, level: float | None) -> None:
    if horizon is not None and not 1 <= horizon <= fitted.spec.horizon:
        raise SpecInvalid("horizon", horizon, f"must be between 1 and {fitted.spec.horizon}, the horizon the model was trained for")
    low, high = BOUNDS["level"]
    if level is not None and not low <= level <= high:
        raise SpecInvalid("level", level, f"must be between {low:g} and {high:g}")


def _seen(fitted: Fitted, raw: RawChannels, horizon: int | None) -> Sight | ModelError:
    try:
        return see(fitted, raw, horizon)
    except ModelError as error:
        return error


def _said(sights: Sequence[Sight]) -> list[Floats]:
    """(1, H) what serves says of each as it is: networks of one shape in one pass."""
    looks = {place: _looked(sight, [(sight.window, sight.ahead)]) for place, sight in enumerate(sights) if sight.fitted.by_network}
    groups: dict[Hashable, list[int]] = {}
    for place, (view, _) in looks.items():
        groups.setdefault(alike(sights[place].fitted.network, view), []).append(place)
    said = {place: _naive(sight, sight.window) for place, sight in enumerate(sights) if not sight.fitted.by_network}
    for places in groups.values():
        said |= zip(places, _spoken([sights[place] for place in places], [looks[place] for place in places]), strict=True)
    return [said[place] for place in range(len(sights))]


def _spoken(sights: Sequence[Sight], looks: Sequence[Looked]) -> list[Floats]:
    """The same of one, or of those whose networks are alike."""
    views, aheads = zip(*looks, strict=True)
    networks = [sight.fitted.network for sight in sights]
    alone = len(sights) == 1
    found = [forecast_windows(networks[0], views[0], aheads[0])] if alone else forecast_together(networks, views, aheads)
    return [_around(sight, sight.window, said[:, sight.fitted.column]) for sight, said in zip(sights, found, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a model sees when it is asked."""

    fitted: Fitted
    series: Series
    #: (W, C) the rows it reads
    window: Floats
    #: (H, G) the known-future covariates over the horizon
    ahead: Floats


def see(fitted: Fitted, raw: RawChannels, horizon: int | None, *, all_inputs: bool = False) -> Sight:
    """The rows on the model's own grid, up to the last observation of the target.

    A serving baseline reads the target alone, unless `all_inputs`. Raises InsufficientRecentData or FeatureMissing when what serves
    cannot read them.
    """
    spec = fitted.spec
    lone = replace(spec, targets=(fitted.target,), covariates=(), future_covariates=(), rolling=())
    reads = spec if fitted.by_network or all_inputs else lone
    # A network needs all its targets at its last row; a baseline starts from the last row of its own, wherever the others end.
    first = reads.targets if fitted.by_network else sorted(reads.targets, key=lambda name: name != fitted.target)
    try:
        series, _ = regularise(fitted.entity, raw, replace(reads, targets=tuple(first), cadence_s=fitted.step_s))
    except InsufficientData as error:
        raise InsufficientRecentData(f"No recent row of {fitted.target}.", requirements=error.extra["requirements"]) from error
    series = replace(series, channels={name: series.channels[name] for name in reads.inputs})
    ahead = np.stack([series.ahead[name] for name in reads.future_covariates] or [np.empty(spec.horizon)], axis=1)[
        :, : len(reads.future_covariates)
    ]
    if fitted.by_network:
        _require_window(fitted, series)
        _require_future(spec, series, horizon or spec.horizon)
    return Sight(fitted, series, series.matrix(reads.inputs)[-spec.window :], ahead)


def _require_window(fitted: Fitted, series: Series) -> None:
    window, targets = fitted.spec.window, fitted.spec.targets
    known = np.isfinite(series.matrix(targets))
    observed = np.stack([series.observed[name] for name in targets], axis=1)
    if len(series) < window or not readable(known, observed, window)[-1]:
        have, named = int(known[-window:].sum(axis=0).min()), ", ".join(targets)
        raise InsufficientRecentData(
            f"{have} of the last {window} rows of {named} are known; the model reads {window} and needs half of them, and the last.",
            have=have,
            need=window,
            data_until=stamp(moment(series.times[-1])),
        )


def _require_future(spec: ModelSpec, series: Series, horizon: int) -> None:
    """Raises FeatureMissing naming each known-future covariate and the first moment for which it has no value."""
    times = series.until(horizon)[len(series) :]
    gaps = {name: np.flatnonzero(np.isnan(series.ahead[name][:horizon])) for name in spec.future_covariates}
    missing = {name: [stamp(moment(times[row])) for row in rows] for name, rows in gaps.items() if len(rows)}
    if missing:
        first = "; ".join(f"{name} from {stamps[0]} ({len(stamps)} of {horizon} steps)" for name, stamps in missing.items())
        detail = f"The model knows these ahead, and they have no value: {first}. Store rows of them at these moments."
        there = [name for name in spec.future_covariates if name not in missing]
        raise FeatureMissing(detail, channels=list(missing), available=there, missing=missing)


def answers(sight: Sight, versions: Sequence[tuple[Floats, Floats]]) -> Floats:
    """(S, H) what serves says of S versions of the last window (W, C) and of what is known ahead (H, G)."""
    fitted = sight.fitted
    if fitted.blend is None:
        return np.concatenate([_naive(sight, window) for window, _ in versions])
    network = forecast_windows(fitted.network, *_looked(sight, versions))[:, fitted.column]  # (S, H)
    return np.concatenate([_around(sight, window, said[None]) for (window, _), said in zip(versions, network, strict=True)])


def _looked(sight: Sight, versions: Sequence[tuple[Floats, Floats]]) -> Looked:
    """What the network reads of S versions."""
    fitted, spec = sight.fitted, sight.fitted.spec
    phases = calendar(sight.series.until(spec.horizon)[-spec.window - spec.horizon :], fitted.season)
    behind, before = (np.stack([part] * len(versions)) for part in (phases[: spec.window], phases[spec.window :]))
    view = look(np.stack([window for window, _ in versions]), behind, fitted.scaler, spec)
    return view, look_ahead(np.stack([ahead for _, ahead in versions]), before, fitted.scaler, spec)


def _around(sight: Sight, window: Floats, network: Floats) -> Floats:
    """(1, H) of the blend around (1, H) of the network."""
    assert sight.fitted.blend is not None
    target = _target(sight, window)
    return sight.fitted.blend.of(network, target, np.array([len(target) - 1]), sight.fitted.season.steps)


def _naive(sight: Sight, window: Floats) -> Floats:
    """(1, H) of the serving baseline."""
    fitted, target = sight.fitted, _target(sight, window)
    return naive_forecast(fitted.served_by, target, np.array([len(target) - 1]), fitted.spec.horizon, fitted.season.steps)


def _target(sight: Sight, window: Floats) -> Floats:
    """(T,) the target's rows, the last of them as in `window`."""
    name = sight.fitted.target
    return np.concatenate([sight.series.channels[name][: -len(window)], window[:, list(sight.series.channels).index(name)]])


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
        percentile=round(100 * float((recent <= mean).mean()), 1),
        days=round(min(len(series), rows) * series.step_s / 86_400, 2),
        rows=len(recent),
    )


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


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
