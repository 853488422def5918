"""The mind's ruler: each step ahead as a weighted sum of the last rows, by ridge regression. What is plain it learns in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.features import CLIP, carry, running_moments
from ml.series import Bools, Floats, Rows
from ml.windows import futures, gather

#: Rows before the origin that are read, at most: a longer window is the network's.
MOST_LAGS = 128
#: Origins learned from, at most, spread evenly: more change no weight worth telling.
MOST_ORIGINS = 4_000
#: Origins below which it is the last value: a weight needs rows.
FEWEST_ORIGINS = 8
#: Strengths tried, as shares of the mean square of what is read, and the stretches of rows held back in turn to choose among them.
STRENGTHS = np.geomspace(1e-4, 1e2, 13)
STRETCHES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """What one target's last rows say of its next ones. Neither another channel nor the calendar is read."""

    #: (L, H) of the last rows before the origin, as changes from it, the oldest first. Both sides are in running deviations.
    weights: Floats
    #: Rows of the window whose running deviation is the unit.
    window: int
    #: Typical deviation inside a window, in the target's unit: the running one is drawn to it.
    spread: float

    def of(self, target: Floats, origin_rows: Rows) -> Floats:
        """(N, H) after each origin row of (T,) target; every origin row is known and has a window before it."""
        read, last, deviation = _read(target, origin_rows, self.window, self.spread)
        said: Floats = last + deviation * np.clip(read @ self.weights, -CLIP, CLIP)
        return said

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        return {"weights": self.weights.tolist(), "window": self.window, "spread": self.spread}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(np.array(stored["weights"], dtype=np.float64), int(stored["window"]), float(stored["spread"]))

    def fits(self, window: int, horizon: int) -> bool:
        """Whether it is one of finite numbers for that window and horizon."""
        declared = (min(window - 1, MOST_LAGS), horizon)
        return self.window == window and self.weights.shape == declared and bool(np.isfinite([*self.weights.flat, self.spread]).all())


def fit_linear(
    target: Floats, origin_rows: Rows, counted: Bools, window: int, spread: float, alive: Callable[[], object] = lambda: None
) -> Linear:
    """Least squared error of the changes in running deviations, the weights drawn to zero, which is the last value; old rows' more so.

    Ridge regression (Hoerl & Kennard 1970) with a penalty in proportion to a row's age, and no constant: a drift of few rows goes on
    in no later ones. How strongly the weights are drawn is chosen by the absolute error on stretches of rows held back in turn (Stone
    1974; stretches, because neighbouring rows share most of what follows them). `counted` (N, H): origins of which a step does not
    count are left out. `alive` is called after each stretch.
    """
    rows = _thinned(origin_rows[counted.all(axis=1)])
    read, last, deviation = _read(target, rows, window, spread)
    wanted = np.clip((futures(target[:, None], rows, counted.shape[1])[:, 0] - last) / deviation, -CLIP, CLIP)
    if len(rows) < FEWEST_ORIGINS:
        return Linear(np.zeros((read.shape[1], counted.shape[1])), window, spread)
    reach = np.sqrt(np.arange(read.shape[1], 0, -1))  # (L,)
    near = read / reach
    strength = STRENGTHS[np.argmin(_errors(near, wanted, alive))]
    return Linear(_Ridge(near.T @ near, near.T @ wanted).weights(strength) / reach[:, None], window, spread)


class _Ridge:
    """The normal equations, ready for any strength."""

    def __init__(self, square: Floats, product: Floats) -> None:
        self.size = float(np.trace(square)) / len(square) or 1.0
        self.values, self.vectors = np.linalg.eigh(square)
        self.turned = self.vectors.T @ product

    def weights(self, strength: float) -> Floats:
        found: Floats = self.vectors @ (self.turned / (np.maximum(self.values, 0.0) + strength * self.size)[:, None])
        return found


def _errors(read: Floats, wanted: Floats, alive: Callable[[], object]) -> Floats:
    """(13,) absolute error of each strength over the stretches, each forecast by the others."""
    square, product = read.T @ read, read.T @ wanted
    total = np.zeros(len(STRENGTHS))
    for own in np.array_split(np.arange(len(read)), STRETCHES):
        ridge = _Ridge(square - read[own].T @ read[own], product - read[own].T @ wanted[own])
        total += [np.abs(wanted[own] - read[own] @ ridge.weights(strength)).sum() for strength in STRENGTHS]
        alive()
    return total


def _read(target: Floats, origin_rows: Rows, window: int, spread: float) -> tuple[Floats, Floats, Floats]:
    """(N, L) changes of the last rows from the origin in running deviations, (N, 1) last value, (N, 1) running deviation."""
    stretch = gather(target[:, None], origin_rows - window + 1, window)[:, :, 0]  # (N, W)
    last = stretch[:, -1:]
    away = stretch - last
    deviation = running_moments(away, window / 2, np.array([spread]))[1][:, -1:]
    # What is missing before the first known row is carried as no change from the origin.
    return np.clip(carry(away) / deviation, -CLIP, CLIP)[:, -MOST_LAGS - 1 : -1], last, deviation


def _thinned(rows: Rows) -> Rows:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ORIGINS)).astype(np.int64)]
