"""The mind's doubt: how far off a forecast may be, from how far off it was on rows held back (split conformal, Vovk et al. 2005)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.series import Bools, Floats

#: Levels kept with a model. A level asked for between two of them gets the upper one: wider, never narrower.
LEVELS = tuple(round(0.5 + 0.01 * i, 2) for i in range(50))
#: Half-width where there is no residual at all, in units of the last value's mean error: some three deviations.
UNKNOWN = 4.0
#: Rows of residuals looked back over for a baseline, which learned nothing and so was held back from everywhere.
BASELINE_ROWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class IntervalTable:
    """Half-widths per level and step, in the target's unit."""

    #: (50, H), for LEVELS
    half: Floats
    #: Share of test truths inside, per level; None where nothing could be measured.
    covered: tuple[float | None, ...]
    #: Held-back rows behind the table.
    rows: int
    #: Lowest level from which steps share their residuals because one step alone has too few; None when none does.
    pooled_from: float | None

    def half_width(self, level: float) -> Floats:
        """(H,) half-widths at the level or the next one above it."""
        half: Floats = self.half[_index(level)]
        return half

    def measured(self, level: float) -> float | None:
        return self.covered[_index(level)]

    def is_pooled(self, level: float) -> bool:
        return self.pooled_from is not None and LEVELS[_index(level)] >= self.pooled_from

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        return {"half": self.half.tolist(), "covered": list(self.covered), "rows": self.rows, "pooled_from": self.pooled_from}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> IntervalTable:
        return cls(np.array(stored["half"], dtype=np.float64), tuple(stored["covered"]), stored["rows"], stored["pooled_from"])


def residuals_needed(level: float) -> int:
    """Fewest residuals whose greatest bounds a new one with probability `level`: 9 for 90 %, 19 for 95 %."""
    return math.ceil(round(level / (1 - level), 9))


def conformal(residuals: Floats, counted: Bools, growth: Floats) -> tuple[Floats, float | None]:
    """(50, H) half-widths from (N, H) residuals, and the level from which steps were pooled.

    Per step: the ⌈(n+1)·level⌉-th smallest of n absolute residuals. Where n has no such rank the residuals of all steps are pooled, each
    in units of its step's `growth` (H,). Widths never fall with the level.
    """
    size = np.abs(residuals)
    steps = [np.sort(size[counted[:, step], step]) for step in range(size.shape[1])]
    fewest, most = min(map(len, steps)), max(map(len, steps))
    relative = np.sort((size / growth)[counted])
    # Pairs of one row are near copies of each other: the rank of pooled residuals is that of as many as one step has.
    half = np.stack(
        [
            np.array([_quantile(found, level, fewest) for found in steps])
            if fewest >= residuals_needed(level)
            else _quantile(relative, level, most) * growth
            for level in LEVELS
        ]
    )
    pooled = next((level for level in LEVELS if residuals_needed(level) > fewest), None)
    return np.maximum.accumulate(half, axis=0), pooled


def growth_of(residuals: Floats, counted: Bools, floor: float) -> Floats:
    """(H,) how errors grow with the step: the running maximum of the mean absolute residual, at least `floor`."""
    number = counted.sum(axis=0)
    mean = np.where(counted, np.abs(residuals), 0.0).sum(axis=0) / np.maximum(number, 1)
    growth: Floats = np.maximum(np.maximum.accumulate(mean), floor)
    return growth


def _quantile(ordered: Floats, level: float, independent: int) -> float:
    """The conformal quantile of sorted residuals of which `independent` count; beyond the greatest, that one, wider by the missing rank."""
    if not independent:
        return UNKNOWN
    share = math.ceil(round((independent + 1) * level, 9)) / independent
    if share > 1:
        return float(ordered[-1]) * share
    return float(ordered[max(math.ceil(round(share * len(ordered), 9)), 1) - 1])


def _index(level: float) -> int:
    return next((i for i, known in enumerate(LEVELS) if known >= level - 1e-9), len(LEVELS) - 1)
