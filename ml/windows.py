"""The mind's grasp: which rows are read for a forecast and which are forecast. Each (origin, step) pair is counted in one part only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.series import Bools, Floats, Rows
from ml.spec import ModelSpec

SHORTEST_WINDOW = 2
#: Least share of a window's target rows that must be known.
KNOWN_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The (origin, step) pairs of one target."""

    #: (N,) row of the last known observation
    rows: Rows
    #: (N, H) True where the row h + 1 after the origin is a real observation of the part asked for
    counted: Bools

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def forecast_rows(self) -> int:
        """How many distinct rows are forecast: pairs of one row are near copies of each other."""
        steps = np.arange(1, self.counted.shape[1] + 1)
        return len(np.unique((self.rows[:, None] + steps)[self.counted]))


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Rows after which a forecast is made. The window is the `window` rows up to and with the origin."""

    #: (N,)
    rows: Rows
    #: (N, K, H) per target, as in Pairs
    counted: Bools

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, target: int) -> Pairs:
        return Pairs(self.rows, self.counted[:, target])


def effective_window(spec: ModelSpec, fit_rows: int) -> int:
    """The window asked for, or what the fit part allows: as many origins as window rows must remain beside one horizon."""
    return int(np.clip((fit_rows - spec.horizon) // 2, SHORTEST_WINDOW, spec.window))


def origins(known: Bools, observed: Bools, part: slice, window: int, horizon: int) -> Origins:
    """Origins with at least one (origin, step) pair whose target row is an observation inside `part`.

    An origin may lie before its part: what is held back is the row forecast. So a part of n observed rows gives each step n pairs,
    no pair belongs to two parts, and none is lost at a border. `known` and `observed` are (T, K), of the targets.
    """
    rows = np.arange(max(window - 1, part.start - horizon), len(observed) - 1)
    rows = rows[rows < part.stop - 1]
    if not len(rows):
        return Origins(rows.astype(np.int64), np.zeros((0, observed.shape[1], horizon), dtype=np.bool_))
    counted = _targets(observed, part, rows, horizon)
    usable = readable(known, observed, window)[rows] & counted.any(axis=(1, 2))
    return Origins(rows[usable].astype(np.int64), counted[usable])


def readable(known: Bools, observed: Bools, window: int) -> Bools:
    """(T,) True where a forecast can be made: a full window, known for at least half of it and at its end, where something was observed.

    `known` and `observed` are (T, K).
    """
    total = np.concatenate([np.zeros((1, known.shape[1]), dtype=np.int64), np.cumsum(known, axis=0)])
    held = np.zeros(known.shape, dtype=np.int64)
    held[window - 1 :] = total[window:] - total[:-window]
    fit = known & (held >= max(SHORTEST_WINDOW, KNOWN_SHARE * window))
    enough: Bools = np.logical_and.reduce(fit, axis=1) & np.logical_or.reduce(observed, axis=1)
    return enough


def gather(rows: Floats, starts: Rows, length: int) -> Floats:
    """(N, L, C) stretches of (T, C) rows from each start."""
    stretches: Floats = rows[starts[:, None] + np.arange(length)]
    return stretches


def futures(values: Floats, origin_rows: Rows, horizon: int) -> Floats:
    """(N, C, H) of (T, C): the rows after each origin; NaN beyond the end."""
    padded = np.concatenate([values, np.full((horizon, values.shape[1]), np.nan)])
    after = padded[origin_rows[:, None] + 1 + np.arange(horizon)]  # (N, H, C)
    return np.moveaxis(after, 1, 2)


def chunk_starts(rows: int, length: int, stride: int) -> Rows:
    """Starts of the chunks that cover rows [0, rows): every `stride`, and one that ends with the last row."""
    final = max(rows - length, 0)
    return np.unique(np.append(np.arange(0, final, stride), final)).astype(np.int64)


def _targets(observed: Bools, part: slice, rows: Rows, horizon: int) -> Bools:
    """(N, K, H) True where origin + step is an observed row of the part."""
    inside = np.zeros((len(observed) + horizon, observed.shape[1]), dtype=np.bool_)
    inside[part] = observed[part]
    counted: Bools = np.moveaxis(inside[rows[:, None] + 1 + np.arange(horizon)], 1, 2)
    return counted
