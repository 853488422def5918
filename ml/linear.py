"""The mind's ruler: each step ahead as a weighted sum of the last rows, by ridge regression. What is plain it learns in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ml.features import CLIP, carry, running_moments, spread_of
from ml.seasons import COURSES, usual_course, within
from ml.series import Bools, Floats, Rows
from ml.windows import futures, gather, readable

#: Rows before the origin that are read, at most: a longer window is the network's.
MOST_LAGS = 128
#: Origins learned from, at most, spread evenly: more change no weight worth telling.
MOST_ORIGINS = 4_000
#: The same where it is chosen what to measure from.
MOST_COMPARED = 1_000
#: Origins below which it is the last value: a weight needs rows.
FEWEST_ORIGINS = 8
#: The same of a linear part that measures from the usual course of the season.
SEASONAL_ORIGINS = 30
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
    #: Where all is measured from the usual course: rows of a season, and how many seasons' mean that is. 0 where from nothing.
    season: int = 0
    seasons: int = 0

    @property
    def horizon(self) -> int:
        return int(self.weights.shape[1])

    def of(self, target: Floats, origin_rows: Rows) -> Floats:
        """(N, H) after each origin row of (T,) target; every origin row is known and has a window before it.

        The last value where no usual course is known.
        """
        course = self.course(target, origin_rows)
        read, last, deviation = _read(target - course[: len(target)], origin_rows, self.window, self.spread)
        said = last + deviation * np.clip(read @ self.weights, -CLIP, CLIP) + _after(course, origin_rows, self.horizon)
        return np.where(np.isfinite(said), said, target[origin_rows][:, None])

    def course(self, target: Floats, origin_rows: Rows) -> Floats:
        """(T + H,) what all is measured from, at the rows that matter to these origins; NaN where it is not known."""
        found = np.zeros(len(target) + self.horizon)
        if self.season and len(origin_rows):
            rows = np.arange(int(origin_rows.min()) - self.window + 1, int(origin_rows.max()) + 1 + self.horizon)
            found[rows] = usual_course(target, rows, self.season, self.seasons)
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        stated = {"window": self.window, "spread": self.spread, "season": self.season, "seasons": self.seasons}
        return {"weights": self.weights.tolist(), **stated}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        counted = (int(stored.get(name, 0)) for name in ("season", "seasons"))
        return cls(np.array(stored["weights"], dtype=np.float64), int(stored["window"]), float(stored["spread"]), *counted)

    def fits(self, window: int, horizon: int) -> bool:
        """Whether it is one of finite numbers for that window and horizon."""
        declared = (min(window - 1, MOST_LAGS), horizon)
        measured = (self.season, self.seasons) == (0, 0) or (self.season >= horizon and 1 <= self.seasons <= max(COURSES))
        finite = bool(np.isfinite([*self.weights.flat, self.spread]).all())
        return self.window == window and self.weights.shape == declared and measured and finite


def fit_linear(
    target: Floats, origin_rows: Rows, counted: Bools, plain: Linear, season: int = 1, alive: Callable[[], object] = lambda: None
) -> Linear:
    """Least squared error of the changes in running deviations, the weights drawn to zero, which is the last value; old rows' more so.

    Ridge regression (Hoerl & Kennard 1970) with a penalty in proportion to a row's age, and no constant: a drift of few rows goes on
    in no later ones. How strongly the weights are drawn is chosen by the absolute error on stretches of rows held back in turn (Stone
    1974; stretches, because neighbouring rows share most of what follows them); and so is whether values are taken as they are, or as
    distances from the mean of the seasons before. `plain` is one without a weight. No row of (T,) target is read that was not to be
    learned from: T is where these end. `counted` (N, H): origins of which a step does not count are left out. `alive` is called after
    each stretch.
    """
    rows = origin_rows[counted.all(axis=1)]
    if len(rows) < FEWEST_ORIGINS:
        return plain
    seasonal, shared = _seasonal(plain, target, rows, season)
    some = _thinned(shared, MOST_COMPARED)
    tried = [(_learned(each, target, some, alive), each) for each in (plain, *seasonal)] if seasonal else []
    best = min(tried, key=lambda one: one[0][1])[1] if tried else plain
    return _learned(best, target, _thinned(shared if best.season else rows, MOST_ORIGINS), alive)[0]


def blank(window: int, horizon: int, spread: float) -> Linear:
    """One without a weight: the last value."""
    return Linear(np.zeros((min(window - 1, MOST_LAGS), horizon)), window, spread)


def _seasonal(plain: Linear, target: Floats, rows: Rows, season: int) -> tuple[list[Linear], Rows]:
    """Those that measure from a usual course, each without a weight; and the origins of which all of them can read enough."""
    found: list[Linear] = []
    for seasons in dict.fromkeys(within(each, season) for each in COURSES) if season >= max(plain.horizon, 2) else ():
        one = replace(plain, season=season, seasons=seasons)
        apart = target - one.course(target, rows)[: len(target)]
        known = np.isfinite(apart)[:, None]
        whole = np.isfinite(_after(apart, rows, plain.horizon)).all(axis=1)
        rows = rows[readable(known, known, plain.window)[rows] & whole]
        if len(rows) < SEASONAL_ORIGINS:
            return [], rows
        found.append(replace(one, spread=spread_of(apart / plain.spread, plain.window) * plain.spread))
    return found, rows


def _learned(blank: Linear, target: Floats, rows: Rows, alive: Callable[[], object]) -> tuple[Linear, float]:
    """With its weights; and the mean absolute error on the stretches held back, in the target's unit."""
    course = blank.course(target, rows)
    read, last, deviation = _read(target - course[: len(target)], rows, blank.window, blank.spread)
    wanted = np.clip((_after(target, rows, blank.horizon) - _after(course, rows, blank.horizon) - last) / deviation, -CLIP, CLIP)
    reach = np.sqrt(np.arange(read.shape[1], 0, -1))  # (L,)
    near = read / reach
    relative, plain = _errors(near, wanted, deviation, alive)
    best = int(np.argmin(relative))
    weights = _Ridge(near.T @ near, near.T @ wanted).weights(STRENGTHS[best]) / reach[:, None]
    return replace(blank, weights=weights), float(plain[best] / wanted.size)


class _Ridge:
    """The normal equations, ready for any strength."""

    def __init__(self, square: Floats, product: Floats) -> None:
        self.size = float(np.trace(square)) / len(square) or 1.0
        self.values, self.vectors = np.linalg.eigh(square)
        self.turned = self.vectors.T @ product

    def weights(self, strength: float) -> Floats:
        found: Floats = self.vectors @ (self.turned / (np.maximum(self.values, 0.0) + strength * self.size)[:, None])
        return found


def _errors(read: Floats, wanted: Floats, deviation: Floats, alive: Callable[[], object]) -> tuple[Floats, Floats]:
    """(13,) absolute error of each strength over the stretches, each forecast by the others: in running deviations, and in the unit."""
    square, product = read.T @ read, read.T @ wanted
    relative, plain = np.zeros(len(STRENGTHS)), np.zeros(len(STRENGTHS))
    for own in np.array_split(np.arange(len(read)), STRETCHES):
        ridge = _Ridge(square - read[own].T @ read[own], product - read[own].T @ wanted[own])
        off = [np.abs(wanted[own] - read[own] @ ridge.weights(strength)).sum(axis=1) for strength in STRENGTHS]
        relative += [each.sum() for each in off]
        plain += [each @ deviation[own, 0] for each in off]
        alive()
    return relative, plain


def _after(values: Floats, rows: Rows, horizon: int) -> Floats:
    """(N, H) of (T,): the rows after each origin."""
    return futures(values[:, None], rows, horizon)[:, 0]


def _read(target: Floats, origin_rows: Rows, window: int, spread: float) -> tuple[Floats, Floats, Floats]:
    """(N, L) changes of the last rows from the origin in running deviations, (N, 1) last value, (N, 1) running deviation."""
    stretch = gather(target[:, None], origin_rows - window + 1, window)[:, :, 0]  # (N, W)
    last = stretch[:, -1:]
    away = stretch - last
    deviation = running_moments(away, window / 2, np.array([spread]))[1][:, -1:]
    # What is missing before the first known row is carried as no change from the origin.
    return np.clip(carry(away) / deviation, -CLIP, CLIP)[:, -MOST_LAGS - 1 : -1], last, deviation


def _thinned(rows: Rows, most: int) -> Rows:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]
