"""The mind's measure: errors of forecasts as plain numbers. A number that cannot be had is None, never NaN and never a stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ml.series import Bools, Floats

#: MAPE leaves out rows whose true value is smaller than this share of the mean true value: dividing by next to nothing says nothing.
MAPE_EPS = 0.01


@dataclass(frozen=True, slots=True)
class Scores:
    """Errors over the counted (origin, step) pairs of one part."""

    #: Pairs.
    n: int
    mae: float | None = None
    rmse: float | None = None
    #: 1 − squared error / squared deviation from the part's mean.
    r2: float | None = None
    #: Percent, over the `mape_n` pairs with |y| > ε.
    mape: float | None = None
    mape_n: int = 0
    #: Percent, 200·|e| / (|y| + |ŷ|) (Makridakis 1993).
    smape: float | None = None
    #: MAE over the in-sample MAE of the seasonal naive forecast (Hyndman & Koehler 2006).
    mase: float | None = None
    #: 1 − MAE / MAE of the best naive baseline on the same pairs.
    skill: float | None = None
    #: Share of truths inside the interval, and mean Winkler score, at the spec's level.
    coverage: float | None = None
    winkler: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score(truth: Floats, forecast: Floats, counted: Bools, mase_scale: float | None) -> Scores:
    """Compare (N, H) forecasts with the truth over the counted pairs."""
    y, guess = truth[counted], forecast[counted]
    if not len(y):
        return Scores(n=0)
    error = np.abs(y - guess)
    mae = float(error.mean())
    with np.errstate(over="ignore"):
        mape, mape_n = _mape(y, error)
        return Scores(
            n=len(y),
            mae=_number(mae),
            rmse=_number(np.sqrt((error**2).mean())),
            r2=_r2(y, error),
            mape=mape,
            mape_n=mape_n,
            smape=_smape(y, guess, error),
            mase=_number(np.float64(mae) / mase_scale) if mase_scale else None,
        )


def with_skill(scores: Mapping[str, Scores], naive: tuple[str, ...]) -> dict[str, Scores]:
    """The same scores, each compared with the best of the naive forecasters among them."""
    errors = [mae for name in naive if (mae := scores[name].mae) is not None]
    best = min(errors, default=None)
    return {name: replace(found, skill=_skill(found.mae, best)) for name, found in scores.items()}


def coverage(truth: Floats, forecast: Floats, half: Floats, counted: Bools) -> float | None:
    """Share of truths within `half` (H,) of the forecast."""
    inside = (np.abs(truth - forecast) <= half)[counted]
    return float(inside.mean()) if inside.size else None


def interval_score(size: Floats, half: Floats, allowed: Floats | float) -> Floats:
    """Of each error of that size under an interval of that half-width: its width plus 2/allowed times how far the truth lies outside.

    `allowed` is 1 − level. Winkler 1972; Gneiting & Raftery 2007.
    """
    found: Floats = 2 * half + 2 / allowed * np.maximum(size - half, 0.0)
    return found


def winkler(truth: Floats, forecast: Floats, half: Floats, counted: Bools, level: float) -> float | None:
    """Mean interval score over the counted pairs."""
    found = interval_score(np.abs(truth - forecast), half, 1 - level)[counted]
    return float(found.mean()) if found.size else None


def mase_scale(target: Floats, observed: Bools, before: int, season: int) -> float | None:
    """In-sample MAE of the seasonal naive forecast over rows before `before`; of the last value where no season fits or nothing moved."""
    for lag in (season, 1):
        pairs = observed[lag:before] & observed[: max(before - lag, 0)]
        steps = np.abs(target[lag:before] - target[: max(before - lag, 0)])[pairs]
        if steps.size and steps.mean() > 0:
            return float(steps.mean())
    return None


def _number(found: float) -> float | None:
    """None where a ratio overflows: an error of 1e30 over a truth of 1e-300 is no number to report."""
    return float(found) if np.isfinite(found) else None


def _r2(y: Floats, error: Floats) -> float | None:
    spread = ((y - y.mean()) ** 2).sum()
    return _number(1 - (error**2).sum() / spread) if spread > 0 else None


def _mape(y: Floats, error: Floats) -> tuple[float | None, int]:
    size = np.abs(y)
    large = size > MAPE_EPS * size.mean()
    if not large.any():
        return None, 0
    return _number(100 * (error[large] / size[large]).mean()), int(large.sum())


def _smape(y: Floats, guess: Floats, error: Floats) -> float:
    """Where truth and forecast are both 0 there is no error."""
    size = np.abs(y) + np.abs(guess)
    return 200 * float((error / np.where(size > 0, size, 1.0)).mean())


def _skill(mae: float | None, best: float | None) -> float | None:
    if mae is None or best is None:
        return None
    if best == 0:
        return 0.0 if mae == 0 else None
    return 1 - mae / best
