"""The mind's yardstick: what a version's inputs and errors were like while it was made, small enough to be kept with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ml.answers import origins_of, served, silent
from ml.distances import Sample
from ml.drift import Reference
from ml.features import DAY_S, Season
from ml.fitted import Case, Fitted
from ml.series import Bools, Floats
from ml.windows import futures

#: Bins of a sample: deciles.
BINS = 10
#: Latest rows of the fit part, and latest origins held back, that a sample is made from.
MOST_ROWS, MOST_ORIGINS = 100_000, 512
#: Rows that the newest stretch has at least: four weeks of daily rows.
LEAST_ROWS = 28
#: Rows below which whole weeks are compared where the season is a day: weekends are unlike other days.
WEEK_ROWS = 2_016
#: Seasons from which the usual course of one is taken out before rows are asked how independent they are.
SEASONS_SEEN = 3


def reference_of(case: Case, fitted: Fitted, alive: Callable[[], None] = silent) -> Reference:
    """The fit rows of every channel that serves, and the errors of what serves on the rows held back from the network.

    `alive` is called every second or so.
    """
    names = fitted.spec.inputs if fitted.by_network else (fitted.target,)
    block_s = _block_s(case.season, fitted.step_s)
    by_step, errors = _errors(case, fitted, alive)
    return Reference(
        step_s=fitted.step_s,
        season_steps=case.season.steps,
        block_s=block_s,
        window_s=block_s * math.ceil(LEAST_ROWS * fitted.step_s / block_s),
        inputs={name: _input(case, name) for name in names},
        by_step=tuple(by_step.tolist()),
        errors=errors,
    )


def sample(values: Floats, season_steps: int = 1) -> Sample:
    """Keep (T,) values, NaN where missing, as deciles. A value that takes a whole bin or more has a bin of its own."""
    present = values[np.isfinite(values)]
    deciles = np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf")
    found, times = np.unique(deciles, return_counts=True)
    cuts = np.unique(np.concatenate([found, np.nextafter(found[times > 1], np.inf)]))
    below = np.searchsorted(np.sort(present), cuts, side="left") / len(present)
    return Sample(tuple(cuts.tolist()), tuple(below.tolist()), len(present), apart(values, season_steps))


def apart(values: Floats, season_steps: int = 1) -> float:
    """How many rows of (T,) tell as much of the whole as one independent row would: 1 + 2·Σ autocorrelations, at least 1.

    The sum ends before the first pair of lags that is not positive (Geyer 1992, initial positive sequence). A course that every season
    repeats is taken out first: whole seasons are compared. A series that wanders has few independent rows, and little can be told of it.
    """
    left = np.nan_to_num(_without_course(values, season_steps))
    spectrum = np.fft.rfft(left, 2 * len(left))
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: len(left) // 2 * 2]
    if not len(covariance) or covariance[0] <= 1e-18 * float(np.nanmax(np.abs(values)) ** 2) * len(left):
        return 1.0  # it does not move
    pairs = (covariance / covariance[0]).reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    return max(1.0, float(2 * pairs[: ends[0] if len(ends) else None].sum() - 1))


def _without_course(values: Floats, season_steps: int) -> Floats:
    """(T,) less the mean of each phase of the season, where that was seen often enough to be told from chance."""
    if season_steps == 1 or len(values) < SEASONS_SEEN * season_steps:
        found: Floats = values - np.nanmean(values)
        return found
    phases = np.arange(len(values)) % season_steps
    known = np.isfinite(values)
    total = np.bincount(phases, np.where(known, values, 0.0), season_steps)
    return values - (total / np.maximum(np.bincount(phases, known, season_steps), 1))[phases]


def _input(case: Case, name: str) -> Sample:
    """Observed rows of the fit part, in whole seasons where there is one."""
    fit = case.parts.fit
    observed: Bools = case.series.observed[name][fit]
    values = np.where(observed, case.series.channels[name][fit], np.nan)[-MOST_ROWS:]
    whole = len(values) // case.season.steps * case.season.steps
    return sample(values[len(values) - whole :] if whole else values, case.season.steps)


def _errors(case: Case, fitted: Fitted, alive: Callable[[], None]) -> tuple[Floats, Sample | None]:
    """(H,) mean absolute error by step, and of each origin its errors over these; None where there was no origin.

    Of all rows held back, as the intervals are: of a short history the test part alone is a handful.
    """
    held = slice(case.parts.stop.start, case.parts.test.stop)
    pairs = origins_of(case, held).of(fitted.column)
    rows, counted = pairs.rows[-MOST_ORIGINS:], pairs.counted[-MOST_ORIGINS:]
    truth = futures(case.targets[:, [fitted.column]], rows, case.spec.horizon)[:, 0]  # (N, H)
    size = np.where(counted, np.abs(truth - served(fitted, case, rows, alive)), 0.0)
    floor = 1e-3 * float(case.scaler.scale[fitted.column])
    by_step = np.maximum(size.sum(axis=0) / np.maximum(counted.sum(axis=0), 1), floor)
    usual = np.where(counted, by_step, 0.0).sum(axis=1)
    told = size.sum(axis=1)[usual > 0] / usual[usual > 0]
    return by_step, sample(told) if len(told) else None


def _block_s(season: Season, step_s: float) -> float:
    """Seconds of the stretch that is compared whole: the season, and the week where that is no more than WEEK_ROWS rows of a daily one."""
    week_s = 7 * DAY_S
    return week_s if season.period_s == DAY_S and week_s / step_s <= WEEK_ROWS else season.period_s
