"""The mind's compromise: one forecast from the network, a straight line and three that learn nothing, in shares found on held-back rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.linear import Linear
from ml.series import Bools, Floats, Rows

#: The name under which a blend serves.
BLEND = "blend"
#: The parts of a blend, the last value last: what all others change.
NETWORK, LINEAR, SEASONAL_CHANGE, USUAL_LEVEL, LAST_VALUE = PARTS = ("network", "linear", "seasonal_change", "usual_level", "persistence")
#: Shares before any row is seen, and how many held-back rows that opinion weighs: measured on 49 series kept apart for such choices, where
#: 3 to 16 rows differ little.
PRIOR: Mapping[str, float] = {NETWORK: 0.3, LINEAR: 0.3, SEASONAL_CHANGE: 0.1, USUAL_LEVEL: 0.1, LAST_VALUE: 0.2}
PRIOR_ROWS = 6.0
#: Steps of the search, its second half averaged, and their size.
STEPS = 200
STEP = 2.0
#: No share falls below this, so that none is lost for good before the search ends.
LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """What one target of a network is served by."""

    #: part -> share; none negative, and they add up to 1
    shares: Mapping[str, float]
    #: Mean of the rows learned from, in the target's unit.
    level: float
    #: None in a version of a release that knew no such part, which has no share then.
    linear: Linear | None = None

    def of(self, network: Floats, target: Floats, origin_rows: Rows, season: int) -> Floats:
        """(N, H) from (N, H) of the network, after each origin row of (T,) target."""
        return blended(guesses_of(network, self.linear, target, origin_rows, season, self.level), self.shares)

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        return {"shares": dict(self.shares), "level": self.level, "linear": self.linear and self.linear.as_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        linear = stored.get("linear")
        there = [part for part in PARTS if part != LINEAR or linear is not None]
        shares = dict.fromkeys(PARTS, 0.0) | {part: float(stored["shares"][part]) for part in there}
        return cls(shares, float(stored["level"]), None if linear is None else Linear.from_dict(linear))


def guesses_of(network: Floats, linear: Linear | None, target: Floats, origin_rows: Rows, season: int, level: float) -> dict[str, Floats]:
    """(N, H) of each part, from (N, H) of the network, after each origin row of (T,) target."""
    plain = plain_guesses(target, origin_rows, network.shape[1], season, level)
    line = plain[LAST_VALUE] if linear is None else linear.of(target, origin_rows)
    return plain | {NETWORK: network, LINEAR: line}


def plain_guesses(target: Floats, origin_rows: Rows, horizon: int, season: int, level: float) -> dict[str, Floats]:
    """(N, H) of each part that learns nothing, after each origin row of (T,) target; every origin row is known.

    Seasonal change: the last value and what was added a season ago. Usual level: `level`, the mean of the rows learned from.
    """
    last = np.repeat(target[origin_rows][:, None], horizon, axis=1)
    step = np.arange(1, horizon + 1)
    back = season * np.ceil(step / season).astype(np.int64)
    then, base = _at(target, origin_rows[:, None] + step - back), _at(target, origin_rows[:, None] - back)
    added = np.nan_to_num(then - base, nan=0.0)
    return {SEASONAL_CHANGE: last + added, USUAL_LEVEL: np.full_like(last, level), LAST_VALUE: last}


def blended(guesses: Mapping[str, Floats], shares: Mapping[str, float]) -> Floats:
    """(N, H) the sum of the parts by their shares."""
    total: Floats = np.sum([shares[part] * guesses[part] for part in PARTS], axis=0)
    return total


def find_shares(
    guesses: Mapping[str, Floats], truth: Floats, counted: Bools, held: int, alive: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Shares, none negative, that add up to 1: least absolute error over the counted pairs of `held` distinct rows, drawn to the prior.

    The error is told in units of the best part's own: where a part is ten times better than the last value, that is no small matter.
    Exponentiated gradient (Kivinen & Warmuth 1997) with steps by the slopes met so far (Duchi et al. 2011): the search stays among the
    shares, and without rows it stays at the prior. `alive` is called after each step of it.
    """
    prior = np.array([PRIOR[part] for part in PARTS])
    change = np.stack([guesses[part][counted] - guesses[LAST_VALUE][counted] for part in PARTS])  # (P, n)
    wanted = truth[counted] - guesses[LAST_VALUE][counted]
    errors = np.abs(change - wanted).mean(axis=1) if held else np.zeros(len(PARTS))
    size = float(errors.min() or errors.max())
    if not size:
        return dict(PRIOR)
    shares, steepness, tried = prior, 0.0, []
    for _ in range(STEPS):
        slope = change @ np.sign(shares @ change - wanted) / (len(wanted) * size) + PRIOR_ROWS / held * np.log(shares / prior)
        slope -= shares @ slope
        steepness += float(np.abs(slope).max()) ** 2 or 1.0
        shares = np.maximum(shares * np.exp(-STEP * slope / np.sqrt(steepness)), LEAST_SHARE)
        shares = shares / shares.sum()
        tried.append(shares)
        alive()
    found = np.mean(tried[STEPS // 2 :], axis=0)
    return dict(zip(PARTS, found.tolist(), strict=True))


def _at(target: Floats, rows: Rows) -> Floats:
    """The target at each row; NaN before the first."""
    return np.where(rows >= 0, target[np.maximum(rows, 0)], np.nan)
