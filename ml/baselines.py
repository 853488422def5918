"""The mind's plain sense: forecasts that learn nothing. What a network must beat to be served."""

from __future__ import annotations

import numpy as np

from ml.series import Floats, Rows

PERSISTENCE = "persistence"
SEASONAL_NAIVE = "seasonal_naive"
NAIVE = (PERSISTENCE, SEASONAL_NAIVE)


def naive_forecast(name: str, target: Floats, origin_rows: Rows, horizon: int, season: int) -> Floats:
    """(N, H) forecasts of the named baseline after each origin row of (T,) target, NaN where missing. Raises KeyError for another name."""
    last = np.repeat(target[origin_rows][:, None], horizon, axis=1)
    if name == PERSISTENCE:
        return last
    if name != SEASONAL_NAIVE:
        raise KeyError(name)
    lagged = _season_before(target, origin_rows, horizon, season)
    return np.where(np.isfinite(lagged), lagged, last)


def _season_before(target: Floats, origin_rows: Rows, horizon: int, season: int) -> Floats:
    """(N, H) the value whole seasons before each step, the fewest that reach back to the origin; NaN before the first row."""
    step = np.arange(1, horizon + 1)
    rows = origin_rows[:, None] + step - season * np.ceil(step / season).astype(np.int64)
    return np.where(rows >= 0, target[np.maximum(rows, 0)], np.nan)
