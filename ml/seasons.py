"""The mind's almanac: what was there whole seasons ago, averaged over several of them. No row after an origin is read."""

from __future__ import annotations

import numpy as np

from ml.series import Floats, Rows

#: Seasons whose changes are averaged: one season's change is as much noise as season. 3 to 20 differ by half a percent on most sets.
CHANGES = 7
#: Seasons from whose mean the linear part may measure; which of them, if any, its fit part says.
COURSES = (7, 14)
#: Rows back that are read for them, at most: those of a forecast are fetched each time.
MOST_ROWS = 10_000


def within(seasons: int, season: int) -> int:
    """So many seasons of `season` rows, or as many as MOST_ROWS hold; at least one."""
    return max(1, min(seasons, MOST_ROWS // season))


def rows_back(season: int) -> int:
    """Rows before the first one of interest that any part may read."""
    return season * within(max(COURSES), season)


def usual_course(target: Floats, rows: Rows, season: int, seasons: int) -> Floats:
    """The mean of the known values one to `seasons` seasons before each row of (T,) target; NaN where there is none.

    Rows may lie up to a season behind the end.
    """
    return _mean([at(target, rows - season * (1 + ago)) for ago in range(seasons)])


def usual_change(target: Floats, origin_rows: Rows, horizon: int, season: int, seasons: int) -> Floats:
    """(N, H) what was added at the same phases, in the mean over the last `seasons` seasons; 0 where none is known."""
    step = np.arange(1, horizon + 1)
    back = season * np.ceil(step / season).astype(np.int64)
    base, then = origin_rows[:, None] - back, origin_rows[:, None] + step - back
    added = [at(target, then - season * ago) - at(target, base - season * ago) for ago in range(seasons)]
    return np.nan_to_num(_mean(added), nan=0.0)


def at(target: Floats, rows: Rows) -> Floats:
    """The target at each row; NaN before the first."""
    return np.where(rows >= 0, target[np.maximum(rows, 0)], np.nan)


def _mean(found: list[Floats]) -> Floats:
    """Of what is known; NaN where nothing is."""
    total, number = np.zeros_like(found[0]), np.zeros_like(found[0])
    for each in found:
        known = np.isfinite(each)
        total, number = total + np.where(known, each, 0.0), number + known
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
