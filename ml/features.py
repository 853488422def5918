"""The mind's eye: what the network sees of a stretch of rows. Scaler, season, calendar, causal normaliser; nothing here looks ahead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ml.series import Floats, Rows, Times
from ml.spec import ModelSpec

#: Inputs are clipped to this many deviations: beyond it a value says "very far", and no more.
CLIP = 6.0
#: Rows' worth of the fit part's own spread mixed into each running variance, so that a window that begins flat has a scale at all.
PRIOR_ROWS = 2.0
#: Windows of the fit part looked at to find that spread.
SPREAD_WINDOWS = 1_000

DAY_S = 86_400.0
#: (shortest cadence in seconds, period in seconds): the season that people and machines live by at that cadence.
SEASONS = ((2 * DAY_S, 365.2425 * DAY_S), (6 * 3_600.0, 7 * DAY_S), (60.0, DAY_S), (0.0, 3_600.0))


Inputs = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Season:
    period_s: float
    #: Period in whole rows, at least 1: the lag of the seasonal naive forecast.
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Per channel, targets first, all from the fit part alone. Every array is (C,) float64."""

    center: Floats
    scale: Floats
    #: Typical size of one row's change, in the channel's own unit.
    change: Floats
    #: Least and greatest value learned from: the support of a what-if.
    low: Floats
    high: Floats
    #: (K,) deviation inside a window of each target, in units of its scale.
    spread: Floats


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is seen of N stretches of L rows. At each row only that row and the rows of its stretch before it were used."""

    #: (N, L, F)
    inputs: Inputs
    #: (N, L, K) each target's last known value, in its own unit
    last: Floats
    #: (N, L, K) each target's running deviation, in its own unit, never 0
    deviation: Floats


def season_of(step_s: float) -> Season:
    """Hour below one minute's cadence, day below six hours', week below two days', else the year."""
    period = next(period for shortest, period in SEASONS if step_s >= shortest)
    return Season(period, max(1, round(period / step_s)))


def calendar(times: Times, season: Season) -> Floats:
    """(T, 2) sine and cosine of the phase in the season, from UTC."""
    seconds = times.astype("datetime64[ms]").astype(np.int64) / 1000
    phase = 2 * np.pi * (seconds % season.period_s) / season.period_s
    return np.stack([np.sin(phase), np.cos(phase)], axis=1)


def phase_of(times: Times, season: Season, number: int) -> Rows:
    """(T,) which of `number` equal parts of the season each moment lies in, from UTC."""
    seconds = times.astype("datetime64[ms]").astype(np.int64) / 1000
    phase: Rows = (number * (seconds % season.period_s) / season.period_s).astype(np.int64)
    return np.minimum(phase, number - 1)


def fit_scaler(values: Floats, fit: slice, window: int, targets: int) -> Scaler:
    """Learn the scaler from the fit rows of (T, C) values, of which the first `targets` are forecast; later rows are not read."""
    seen = values[fit]
    center = np.array([_median(column) for column in seen.T])
    scale = np.array([_scale(column, middle) for column, middle in zip(seen.T, center, strict=True)])
    change = np.array([_scale(np.diff(column), 0.0) for column in seen.T])
    low, high = (np.array([f(_known(column, 0.0)) for column in seen.T]) for f in (np.min, np.max))
    spread = np.array([spread_of((seen[:, k] - center[k]) / scale[k], window) for k in range(targets)])
    return Scaler(center, scale, np.minimum(change, scale), low, high, spread)


def look(values: Floats, phases: Floats, scaler: Scaler, spec: ModelSpec) -> View:
    """See stretches of rows: values (N, L, C) with NaN where missing, phases (N, L, 2).

    Targets are normalised by the running mean and deviation of their own stretch (halflife: half a window), so that a level shift does
    not carry the network out of what it learned; covariates by the fit part's scale, so that their level keeps its meaning.
    """
    k = len(spec.targets)
    scaled = (values - scaler.center) / scaler.scale  # (N, L, C)
    targets = np.moveaxis(scaled[:, :, :k], 2, 1)  # (N, K, L)
    mean, deviation = (np.moveaxis(found, 1, 2) for found in running_moments(targets, spec.window / 2, scaler.spread[:, None]))
    value = np.concatenate([(scaled[:, :, :k] - mean) / deviation, scaled[:, :, k:]], axis=2)
    change = _changes(values) / scaler.change
    change[:, :, :k] = _changes(scaled[:, :, :k]) / deviation
    # Clipped before as well: one absurd value in a running sum would leave nothing of the rows after it.
    rolling = [_clipped(rolling_mean(np.clip(scaled[:, :, k:], -CLIP, CLIP), rows)) for rows in spec.rolling]
    pieces = [_clipped(value), _clipped(change), np.isnan(values).astype(np.float64), *rolling, phases]
    inputs = np.concatenate(pieces, axis=2).astype(np.float32)
    last = np.moveaxis(carry(targets), 1, 2) * scaler.scale[:k] + scaler.center[:k]
    return View(inputs, last, deviation * scaler.scale[:k])


def look_ahead(values: Floats, phases: Floats, scaler: Scaler, spec: ModelSpec) -> Inputs:
    """(..., H, A) float32: what is known of the steps ahead. `values` (..., H, G) of the known-future covariates, phases (..., H, 2)."""
    known = slice(len(spec.inputs) - len(spec.future_covariates), None)
    scaled = (values - scaler.center[known]) / scaler.scale[known]
    pieces = [phases, _clipped(scaled), np.isnan(values).astype(np.float64)]
    ahead: Inputs = np.concatenate(pieces, axis=-1).astype(np.float32)
    return ahead


def running_moments(stretch: Floats, halflife: float, spread: Floats) -> tuple[Floats, Floats]:
    """Exponentially weighted mean and deviation at each row of (..., L), of that row and those before it. NaN rows weigh nothing.

    The variance is shrunk towards `spread`² by PRIOR_ROWS rows' worth.
    """
    known = np.isfinite(stretch)
    number = np.where(known, stretch, 0.0)
    decay = _decay(stretch.shape[-1], halflife)  # (L, L)
    weight = known.astype(np.float64) @ decay  # (..., L)
    safe = np.maximum(weight, 1e-12)
    mean = number @ decay / safe
    scatter = np.maximum((number * number) @ decay - safe * mean * mean, 0.0)
    return mean, np.sqrt((scatter + PRIOR_ROWS * spread * spread) / (weight + PRIOR_ROWS))


def spread_of(target: Floats, window: int) -> float:
    """Root mean square deviation inside windows of (T,) scaled values; 1 where none is whole."""
    views = np.lib.stride_tricks.sliding_window_view(target, min(window, len(target)))
    views = views[:: max(1, len(views) // SPREAD_WINDOWS)]
    complete = views[np.isfinite(views).all(axis=1)]
    spread = float(np.sqrt(complete.var(axis=1).mean())) if len(complete) else 1.0
    return max(spread, 1e-3)


def rolling_mean(values: Floats, rows: int) -> Floats:
    """(N, L, C) mean of the known values among the last `rows` rows of the stretch; NaN where there is none."""
    known = np.isfinite(values)
    total, number = (_rolling_sum(found, rows) for found in (np.where(known, values, 0.0), known.astype(np.float64)))
    return np.where(number > 0.5, total / np.maximum(number, 1.0), np.nan)


def carry(stretch: Floats) -> Floats:
    """(..., L) with each NaN replaced by the last known value before it; before the first one, NaN becomes 0."""
    rows = np.arange(stretch.shape[-1])
    last = np.maximum.accumulate(np.where(np.isfinite(stretch), rows, -1), axis=-1)
    carried = np.take_along_axis(stretch, np.maximum(last, 0), axis=-1)
    return np.where(last >= 0, carried, 0.0)


def _rolling_sum(values: Floats, rows: int) -> Floats:
    total = np.cumsum(values, axis=1)
    total[:, rows:] -= total[:, :-rows].copy()
    return total


@lru_cache(maxsize=32)
def _decay(length: int, halflife: float) -> Floats:
    """(L, L): weight of row s (first axis) in the moments at row t, 0 where s is after t."""
    age = np.arange(length)[None, :] - np.arange(length)[:, None]
    return np.where(age >= 0, 0.5 ** (np.maximum(age, 0) / halflife), 0.0)


def _changes(values: Floats) -> Floats:
    """(N, L, C) difference to the row before; 0 at the first row, whose forerunner the window does not hold."""
    return np.diff(values, axis=1, prepend=values[:, :1])


def _clipped(values: Floats) -> Floats:
    return np.clip(np.nan_to_num(values, nan=0.0), -CLIP, CLIP)


def _known(column: Floats, otherwise: float) -> Floats:
    known = column[np.isfinite(column)]
    return known if known.size else np.array([otherwise])


def _median(column: Floats) -> float:
    return float(np.median(_known(column, 0.0)))


def _scale(column: Floats, middle: float) -> float:
    """Middle 90 % as a deviation (a normal one spans 3.29), else the plain deviation, else a thousandth of the level: never 0."""
    known = _known(column, middle)
    low, high = np.quantile(known, [0.05, 0.95])
    tried = (float(high - low) / 3.29, float(known.std()), abs(middle) * 1e-3, 1.0)
    return next(width for width in tried if width > 1e-12 * max(abs(middle), 1e-12))
