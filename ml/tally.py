"""The mind's tally: what errors add up to, step by step, so that a backtest of any length holds no more than its sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.baselines import NAIVE
from ml.metrics import interval_score
from ml.series import Bools, Floats

#: What is summed beside the number of pairs, in the order of `Tally.sums`. The definitions are those of ml.metrics.
MEASURES = ("mae", "rmse", "mase", "coverage", "winkler")
#: Significant digits told: two forecasters that agree in so many are equally good.
DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over the counted pairs of one forecaster. They add up over origins and over folds."""

    #: (6, H): pairs, |e|, e², |e| in units of the MASE scale, truths inside the interval, interval scores. NaN: not measured.
    sums: Floats

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.sums + other.sums)

    @classmethod
    def none(cls, horizon: int) -> Tally:
        return cls(np.zeros((1 + len(MEASURES), horizon)))


def tally(truth: Floats, forecast: Floats, counted: Bools, scale: float | None, half: Floats | None = None, level: float = 0.0) -> Tally:
    """Add up (N, H) forecasts. `scale` is the in-sample error of `mase_scale`, `half` (H,) the interval's half-widths at `level`."""
    error = np.where(counted, np.abs(truth - forecast), 0.0)
    unknown = np.full(error.shape[1], np.nan)
    size = error.sum(axis=0)
    inside = outside = unknown
    if half is not None:
        inside = ((error <= half) & counted).sum(axis=0)
        outside = np.where(counted, interval_score(error, half, 1 - level), 0.0).sum(axis=0)
    scaled = size / scale if scale else unknown
    return Tally(np.stack([counted.sum(axis=0), size, (error**2).sum(axis=0), scaled, inside, outside]))


def figures(tallies: Mapping[str, Tally]) -> dict[str, dict[str, Any]]:
    """Per forecaster the measures over all steps, and of each step. Null: no such number; an array is null where nothing was measured.

    `skill` compares with the baseline that was best over the same pairs: of each step with that step's best.
    """
    tables = {name: _table(found.sums) for name, found in tallies.items()}
    best = np.fmin.reduce([tables[name]["mae"] for name in NAIVE])
    return {name: _told(table | {"skill": _skill(table["mae"], best)}) for name, table in tables.items()}


def _table(sums: Floats) -> dict[str, Floats]:
    """(H + 1,) of each measure: per step, and last over all steps."""
    whole = np.concatenate([sums, sums.sum(axis=1, keepdims=True)], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = dict(zip(MEASURES, whole[1:] / whole[0], strict=True))
    return {"n": whole[0], **mean, "rmse": np.sqrt(mean["rmse"])}


def _skill(mae: Floats, best: Floats) -> Floats:
    """1 − MAE / the best baseline's. Where that makes no error: 0 for whoever makes none either."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(best > 0, 1 - mae / best, np.where(mae == 0, 0.0, np.nan))


def _told(table: Mapping[str, Floats]) -> dict[str, Any]:
    pairs = table["n"].astype(int).tolist()
    measures = {name: plain(found) for name, found in table.items() if name != "n"}
    overall = {"n": pairs[-1]} | {name: found[-1] for name, found in measures.items()}
    steps = {"n": pairs[:-1]} | {name: found[:-1] if any(v is not None for v in found) else None for name, found in measures.items()}
    return overall | {"metrics_per_step": steps}


def plain(values: Floats) -> list[float | None]:
    """As JSON has it."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values]
