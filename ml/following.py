"""How wide by now: the table made anew as errors become known, and measured as it would have served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.conformal import conformal
from ml.intervals import ALLOWED, LEVELS, UNMEASURED, IntervalTable
from ml.metrics import interval_score
from ml.series import Bools, Floats, Rows

#: Rows of residuals looked back over to choose a baseline, which learned nothing and so was held back from everywhere.
BASELINE_ROWS = 200
#: Latest origins a table is made from. 300 have a Winkler score 1–7 % worse (measured on 64 series kept apart for such choices).
RECENT = 1_000
#: How fast widths follow the truths outside: a row missed at all steps adds this to the log of the width, times the share that may be
#: missed. Without it coverage at 80 % was up to 6 points off on those series; the same rate at all levels costs 1–3 % at 95 %.
RATE = 0.2
#: Greatest such correction: widths times e, or divided by it.
FURTHEST = 1.0
#: The table is made anew so many times over the test part, and never lags by more than STALEST rows.
ROUNDS, STALEST = 32, 25


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Errors of one forecaster on rows held back from it: N origins in order of time, H steps."""

    #: (N,) row of the last value known to each forecast
    rows: Rows
    #: (N, H) truth minus forecast; anything where not counted
    errors: Floats
    #: (N, H)
    counted: Bools
    #: (N,) phase of the season at each origin
    phases: Rows

    @property
    def resolved(self) -> Rows:
        """(N, H) row at which each error is known."""
        return self.rows[:, None] + 1 + np.arange(self.errors.shape[1])


def follow(
    held: Held,
    growth: Floats,
    test: slice,
    phases: Floats | None = None,
    alive: Callable[[], object] = lambda: None,
    shape: Floats | None = None,
) -> IntervalTable:
    """The table as it stands after the test part, and what tables made the same way at earlier rows did on it.

    A table made at a row knows the errors resolved by then and no later one: conformal over the latest RECENT origins, times a factor
    per level that rises where too many truths fell outside and falls where too few did (adaptive conformal inference, Gibbs & Candès
    2021, on the log of the width and over all steps). So nothing looks ahead, and the test part is measured as tables no older than
    STALEST rows would have served it. A level whose residuals are too few for its rank has no factor: it is wide already.
    `alive` is called after each table.
    """
    unit = np.ones_like(held.errors) if phases is None else phases[held.phases]
    past, score = _Past(held, np.abs(held.errors) / unit, growth, shape), _Score(test)
    every = int(np.clip((test.stop - test.start) // ROUNDS, 1, STALEST))
    for row in range(past.first, test.stop, every):
        block = slice(*np.searchsorted(held.rows, [row, row + every]))
        half, pooled = past.table(row)
        past.issue(half, pooled, block)
        score.add(half, unit[block], held, block)
        alive()
    half, pooled = past.table(test.stop)
    return IntervalTable(half, score.covered(), past.origins(test.stop), pooled, phases, score.winkler())


class _Past:
    """Errors in the order they become known, and what they have said of the widths they were held against."""

    def __init__(self, held: Held, size: Floats, growth: Floats, shape: Floats | None) -> None:
        self.held, self.size, self.growth, self.shape, self.resolved = held, size, growth, shape, held.resolved
        self.first = int(held.rows[0]) if len(held.rows) else 0
        rows = int(self.resolved.max(initial=self.first)) + 1 - self.first
        #: (rows, 50) misses beyond those allowed and (rows,) pairs, by the row at which they become known
        self.surprise, self.pairs = np.zeros((rows, len(LEVELS))), np.zeros(rows)
        #: (50,) log of the factor, and the rows it has learned from
        self.correction, self.heard = np.zeros(len(LEVELS)), 0

    def table(self, row: int) -> tuple[Floats, float | None]:
        """(50, H) as made at the row, and the level from which steps were pooled."""
        self._hear(row)
        latest, known = self._latest(row)
        half, pooled = conformal(self.size[latest], known, self.growth, self.shape)
        factor = np.exp(np.where(_own(pooled), self.correction, 0.0))
        return np.maximum.accumulate(half * factor[:, None], axis=0), pooled

    def origins(self, row: int) -> int:
        """How many origins a table made at the row rests on."""
        return int(self._latest(row)[1].any(axis=1).sum())

    def issue(self, half: Floats, pooled: float | None, block: slice) -> None:
        """Write down which errors of these origins lie outside, at the rows where that will be known."""
        counted = self.held.counted[block]
        outside = (self.size[block] > half[:, None, :])[:, counted]  # (50, pairs)
        rows, place = np.unique(self.resolved[block][counted] - self.first, return_inverse=True)
        known_at = (place == np.arange(len(rows))[:, None]).astype(np.float64)  # (rows, pairs)
        self.surprise[rows] += known_at @ np.where(_own(pooled), outside.T - ALLOWED, 0.0)
        self.pairs[rows] += known_at.sum(axis=1)

    def _latest(self, row: int) -> tuple[slice, Bools]:
        """The latest origins before the row, and (n, H) which of their errors are known at it."""
        high = int(np.searchsorted(self.held.rows, row))
        latest = slice(max(0, high - RECENT), high)
        return latest, self.held.counted[latest] & (self.resolved[latest] <= row)

    def _hear(self, row: int) -> None:
        """Move the correction by what became known since the last table."""
        new = slice(self.heard, max(row - self.first + 1, self.heard))
        moved = (self.surprise[new] / np.maximum(self.pairs[new], 1)[:, None]).sum(axis=0)
        self.correction = np.clip(self.correction + RATE * ALLOWED * moved, -FURTHEST, FURTHEST)
        self.heard = new.stop


class _Score:
    """Coverage and Winkler score per level, added up block by block: all levels at all origins at once would fill the memory."""

    def __init__(self, test: slice) -> None:
        self.test, self.pairs = test, 0
        self.inside, self.total = np.zeros(len(LEVELS)), np.zeros(len(LEVELS))

    def add(self, half: Floats, unit: Floats, held: Held, block: slice) -> None:
        """Hold the block's origins, with `unit` (n, H), against (50, H) half-widths; pairs outside the test part do not count."""
        at = held.rows[block, None] + 1 + np.arange(half.shape[1])
        counted = held.counted[block] & (at >= self.test.start) & (at < self.test.stop)
        size, width = np.abs(held.errors[block])[counted], (half[:, None, :] * unit)[:, counted]
        self.pairs += len(size)
        self.inside += (size <= width).sum(axis=1)
        self.total += summed_score(size, width, ALLOWED[:, None])

    def covered(self) -> tuple[float | None, ...]:
        return self._mean(self.inside)

    def winkler(self) -> tuple[float | None, ...]:
        return self._mean(self.total)

    def _mean(self, total: Floats) -> tuple[float | None, ...]:
        return tuple((total / self.pairs).tolist()) if self.pairs else UNMEASURED


def _own(pooled: float | None) -> Bools:
    """(50,) levels for which each step has residuals enough of its own."""
    return np.array(LEVELS) < (np.inf if pooled is None else pooled)


def summed_score(size: Floats, half: Floats, allowed: Floats | float) -> Floats:
    """The interval score summed over the last axis."""
    total: Floats = interval_score(size, half, allowed).sum(axis=-1)
    return total
