"""The mind's doubt: how far off a forecast may be, from how far off the latest held-back ones were (split conformal, Vovk et al. 2005)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.metrics import interval_score
from ml.series import Bools, Floats, Rows

#: Levels kept with a model. A level asked for between two of them gets the upper one: wider, never narrower.
LEVELS = tuple(round(0.5 + 0.01 * i, 2) for i in range(50))
#: Half-width where there is no residual at all, in units of the last value's mean error: some three deviations.
UNKNOWN = 4.0
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
#: Parts of the season told apart, where it has that many rows.
PHASES = 24
#: Seasons before the calibrate part, and calibrate origins, below which nothing is known of phases.
SEASONS_SEEN, PHASE_ORIGINS = 7, 50
#: Winkler score on the calibrate part, as a share of the plain table's, below which phases are worth their trouble.
SHARPER = 0.95

#: Residuals as many times what a level needs, below which its width leans on the shape of the last value's errors. Measured on 26 short
#: series kept apart: with 1 the score at 95 % stays 13 % worse on prices, with 3 coverage at 90 % falls below 88 %.
BORNE = 2

_ALLOWED = 1 - np.array(LEVELS)
_UNMEASURED: tuple[float | None, ...] = (None,) * len(LEVELS)


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
    #: (P, H) usual error by the phase of the origin over the usual error of all; None where phases tell nothing.
    phases: Floats | None = None
    #: Mean Winkler score of the test truths, per level; None where nothing could be measured.
    winkler: tuple[float | None, ...] = _UNMEASURED

    def half_width(self, level: float, phase: int | Rows | None = None) -> Floats:
        """(H,) half-widths at the level or the next one above it, after an origin at that phase; (N, H) of N phases.

        None asks for the usual ones.
        """
        half: Floats = self.half[_index(level)]
        return half if phase is None or self.phases is None else half * self.phases[phase]

    def measured(self, level: float) -> float | None:
        return self.covered[_index(level)]

    def scored(self, level: float) -> float | None:
        """Mean Winkler score of the test truths."""
        return self.winkler[_index(level)]

    def is_pooled(self, level: float) -> bool:
        return self.pooled_from is not None and LEVELS[_index(level)] >= self.pooled_from

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        return {
            "half": self.half.tolist(),
            "covered": list(self.covered),
            "rows": self.rows,
            "pooled_from": self.pooled_from,
            "phases": None if self.phases is None else self.phases.tolist(),
            "winkler": list(self.winkler),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> IntervalTable:
        phases = stored.get("phases")
        return cls(
            half=np.array(stored["half"], dtype=np.float64),
            covered=tuple(stored["covered"]),
            rows=stored["rows"],
            pooled_from=stored["pooled_from"],
            phases=None if phases is None else np.array(phases, dtype=np.float64),
            winkler=tuple(stored["winkler"]),
        )


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


def residuals_needed(level: float) -> int:
    """Fewest residuals whose greatest bounds a new one with probability `level`: 9 for 90 %, 19 for 95 %."""
    return math.ceil(round(level / (1 - level), 9))


_NEEDED = np.array([residuals_needed(level) for level in LEVELS])


def independent(number: Rows) -> Floats:
    """(H,) how many residuals each of H steps has, counted as if they did not overlap: n/√h.

    Errors h steps ahead of neighbouring origins share h − 1 of their h surprises. Of a random walk, whose errors share the most, squared
    errors count for some 1.5·n/h; of a level with noise, for n. Between the two, measured: with n itself the last of seven steps covers
    83 % at 90 % on 20 short series.
    """
    return number / np.sqrt(np.arange(1, len(number) + 1))


def conformal(residuals: Floats, counted: Bools, growth: Floats, shape: Floats | None = None) -> tuple[Floats, float | None]:
    """(50, H) half-widths from (N, H) residuals, and the level from which steps were pooled.

    Per step: of n absolute residuals that count for m (`independent`), the ⌈n·(m+1)/m·level⌉-th smallest; with one step, where m = n,
    the textbook's ⌈(n+1)·level⌉-th. Where there is no such rank the residuals of all steps are pooled, each in units of its step's
    `growth` (H,). What these say of levels that they bear barely or not is their greatest, or near it: it gives way to the `shape` (50,)
    of errors that there are more of, where that is narrower. Widths never fall with the level.
    """
    size = np.where(counted, np.abs(residuals), np.inf)
    number = counted.sum(axis=0)
    alone = independent(number)
    half = _quantiles(np.sort(size, axis=0), number, alone)
    own = int(np.searchsorted(_NEEDED, alone.min(), side="right"))  # levels that each step can bear alone
    if own < len(LEVELS):
        together = np.sort((size / growth)[counted])[:, None]
        relative = _quantiles(together, np.array([len(together)]), alone.mean(keepdims=True))
        half[own:] = (relative * growth)[own:]
    if shape is not None:
        half = np.minimum(half, _shaped(half, shape, float(alone.mean())))
    return np.maximum.accumulate(half, axis=0), LEVELS[own] if own < len(LEVELS) else None


def growth_of(residuals: Floats, counted: Bools, floor: float) -> Floats:
    """(H,) how errors grow with the step: the running maximum of the mean absolute residual, at least `floor`."""
    number = counted.sum(axis=0)
    mean = np.where(counted, np.abs(residuals), 0.0).sum(axis=0) / np.maximum(number, 1)
    growth: Floats = np.maximum(np.maximum.accumulate(mean), floor)
    return growth


def rise_of(residuals: Floats, counted: Bools, floor: float) -> tuple[Floats, Floats]:
    """How errors rise with the step, (H,) as `growth_of`, and with the level: (50,) half-widths of all steps as one, in units of it."""
    growth = growth_of(residuals, counted, floor)
    size = np.sort((np.abs(residuals) / growth)[counted])[:, None]
    found = _quantiles(size, np.array([len(size)]), independent(counted.sum(axis=0)).mean(keepdims=True))
    return growth, np.maximum.accumulate(found[:, 0])


def usual_by_phase(past: Held, number: int) -> Floats:
    """(P, H) mean absolute error after origins of each of `number` phases, over the mean of all; neighbours count for a half.

    Five rows' worth of the common mean keep a phase that was seldom seen near 1; no phase is below a fiftieth.
    """
    size = np.where(past.counted, np.abs(past.errors), 0.0)
    total, seen = np.zeros((number, size.shape[1])), np.zeros((number, size.shape[1]))
    np.add.at(total, past.phases, size)
    np.add.at(seen, past.phases, past.counted)
    mean = np.maximum(total.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 1e-300)
    found: Floats = (_with_neighbours(total) / mean + 5) / (_with_neighbours(seen) + 5)
    return np.maximum(found, 0.02)


def is_sharper(calibrate: Held, usual: Floats, growth: Floats) -> bool:
    """Whether widths by phase, `usual` (P, H), have a clearly lower Winkler score on the calibrate part, over 80, 90 and 95 %."""
    if len(calibrate.rows) < PHASE_ORIGINS:
        return False
    plain = _in_sample(calibrate, np.ones_like(calibrate.errors), growth)
    by_phase = _in_sample(calibrate, usual[calibrate.phases], growth)
    return float((by_phase / np.maximum(plain, 1e-300)).mean()) < SHARPER


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
        self.surprise[rows] += known_at @ np.where(_own(pooled), outside.T - _ALLOWED, 0.0)
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
        self.correction = np.clip(self.correction + RATE * _ALLOWED * moved, -FURTHEST, FURTHEST)
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
        self.total += _winkler(size, width, _ALLOWED[:, None])

    def covered(self) -> tuple[float | None, ...]:
        return self._mean(self.inside)

    def winkler(self) -> tuple[float | None, ...]:
        return self._mean(self.total)

    def _mean(self, total: Floats) -> tuple[float | None, ...]:
        return tuple((total / self.pairs).tolist()) if self.pairs else _UNMEASURED


def _own(pooled: float | None) -> Bools:
    """(50,) levels for which each step has residuals enough of its own."""
    return np.array(LEVELS) < (np.inf if pooled is None else pooled)


def _winkler(size: Floats, half: Floats, allowed: Floats | float) -> Floats:
    """The interval score summed over the last axis."""
    total: Floats = interval_score(size, half, allowed).sum(axis=-1)
    return total


def _in_sample(held: Held, unit: Floats, growth: Floats) -> Floats:
    """(3,) Winkler score at 80, 90 and 95 % of a table on the rows it was made from, with `unit` (N, H)."""
    half, _ = conformal(held.errors / unit, held.counted, growth)
    size = np.abs(held.errors)[held.counted]
    return np.array([_winkler(size, (half[_index(level)] * unit)[held.counted], 1 - level) for level in (0.8, 0.9, 0.95)])


def _with_neighbours(by_phase: Floats) -> Floats:
    """The season is a ring."""
    return by_phase + 0.5 * (np.roll(by_phase, 1, axis=0) + np.roll(by_phase, -1, axis=0))


def _quantiles(ordered: Floats, number: Rows, alone: Floats) -> Floats:
    """(50, H) conformal quantiles of the columns of (N, H) sorted sizes, `number` of them real and worth `alone` (H,).

    Beyond the greatest, that one, wider as a normal tail is: by √(log(1 − level) / log(1 − m/(m + 1))), which begins with 1.
    """
    share = np.array(LEVELS)[:, None] * (alone + 1) / np.maximum(alone, 1e-12)  # (50, H)
    rank = np.ceil(np.round(np.minimum(share, 1) * number, 9)).astype(np.int64)
    padded = np.concatenate([ordered, np.full((1, ordered.shape[1]), UNKNOWN)])
    found = np.take_along_axis(padded, np.clip(rank - 1, 0, len(ordered)), axis=0)
    beyond = np.sqrt(np.maximum(-np.log(_ALLOWED)[:, None] / np.log1p(np.maximum(alone, 1e-12)), 1))
    return np.where(number > 0, found * beyond, UNKNOWN)


def _shaped(half: Floats, shape: Floats, alone: float) -> Floats:
    """(50, H): from the highest level that `alone` residuals bear BORNE times over, on as `shape` rises; infinite where nothing tells."""
    last = int(np.searchsorted(BORNE * _NEEDED, alone, side="right")) - 1
    if last < 0 or shape[last] <= 0:
        return np.full_like(half, np.inf)
    return np.where(np.arange(len(LEVELS))[:, None] > last, half[last] * (shape / shape[last])[:, None], np.inf)


def _index(level: float) -> int:
    return next((i for i, known in enumerate(LEVELS) if known >= level - 1e-9), len(LEVELS) - 1)
