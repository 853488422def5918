"""The watch's eye: what an anomaly detector sees of each row. Every number is of that row and earlier ones, a bounded way back."""

from __future__ import annotations

import numpy as np

from ml.anomaly.spec import DetectorSpec
from ml.features import season_of
from ml.series import Floats

#: What is seen of a channel, in the order of the last axis. All are in units of the channel's usual deviation.
VIEWS = (
    "value",
    "change",
    "short mean",
    "short deviation",
    "medium deviation",
    "against the medium mean",
    "against the long mean",
    "short mean against the long mean",
    "against the season",
    "short mean against the season",
)
#: Standardised values beyond this many deviations say "very far", and no more: their squares keep their digits.
FARTHEST = 1e6


def reach(spec: DetectorSpec, step_s: float) -> int:
    """Rows before a row that its views can depend on."""
    season = season_of(step_s).steps
    return max(spec.short + spec.long, spec.seasons * season + 1 + spec.short) + spec.fill_limit + 1


def views(values: Floats, spec: DetectorSpec, step_s: float) -> Floats:
    """(T, C, V) of (T, C) standardised values, NaN where the row's value is missing.

    A comparison whose other side is not known yet is 0: unremarkable.
    """
    return np.stack([_of_channel(column, spec, season_of(step_s).steps) for column in values.T], axis=1)


def _of_channel(values: Floats, spec: DetectorSpec, season: int) -> Floats:
    """(T, V)"""
    near = np.clip(values, -FARTHEST, FARTHEST)
    short, medium, long = (_mean(near, window) for window in (spec.short, spec.medium, spec.long))
    same_time = near - _season(near, season, spec.seasons, otherwise=_before(long, 1))
    seen = (
        near,
        near - _before(near, 1),
        short,
        _deviation(near, spec.short),
        _deviation(near, spec.medium),
        near - _before(medium, 1),
        near - _before(long, 1),
        short - _before(long, spec.short),
        same_time,
        _mean(same_time, spec.short),
    )
    known = np.isfinite(near)
    return np.stack([np.where(known, np.nan_to_num(view, nan=0.0), np.nan) for view in seen], axis=1)


def _mean(values: Floats, window: int) -> Floats:
    """(T,) mean of the known of the last `window` rows, NaN where there is none."""
    known = np.isfinite(values)
    count = _trailing_sum(known.astype(np.float64), window)
    total = _trailing_sum(np.where(known, values, 0.0), window)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _deviation(values: Floats, window: int) -> Floats:
    middle = _mean(values, window)
    return np.sqrt(np.maximum(_mean(values * values, window) - middle * middle, 0.0))


def _trailing_sum(values: Floats, window: int) -> Floats:
    """(T,) sum of each row and the window - 1 before it.

    Put together from sums of 1, 2, 4, … rows: nothing is ever subtracted, so that the sum of a window is the same to the bit
    whatever came before it, and one huge value leaves no trace once it has passed.
    """
    total, reached, block, width = np.zeros(len(values)), 0, values, 1
    while width <= window:
        if window & width:
            total = total + _before(block, reached, 0.0)
            reached += width
        block = block + _before(block, width, 0.0)
        width *= 2
    return total


def _before(values: Floats, rows: int, otherwise: float = np.nan) -> Floats:
    """(T,) each row's forerunner so many rows earlier, `otherwise` where there is none."""
    return np.concatenate([np.full(min(rows, len(values)), otherwise), values[: max(len(values) - rows, 0)]])


def _season(values: Floats, steps: int, seasons: int, otherwise: Floats) -> Floats:
    """(T,) median of the same time of the last seasons and the rows beside it; `otherwise` until two seasons are known.

    The median of up to 7 × 3 rows: one odd day does not become the habit.
    """
    back = [season * steps + beside for season in range(1, seasons + 1) for beside in (-1, 0, 1) if season * steps + beside > 0]
    ordered = np.sort(np.stack([_before(values, rows) for rows in back]), axis=0)  # (B, T), NaN last
    known = np.isfinite(ordered).sum(axis=0)
    low, high = (np.take_along_axis(ordered, place[None], axis=0)[0] for place in ((np.maximum(known, 1) - 1) // 2, known // 2))
    return np.where(known >= 2 * 3, (low + high) / 2, otherwise)
