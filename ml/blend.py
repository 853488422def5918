"""The mind's compromise: one forecast from the network, a straight line and three that learn nothing, in shares found on held-back rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.linear import Linear
from ml.seasons import usual_change
from ml.series import Bools, Floats, Rows

#: The name under which a blend serves.
BLEND = "blend"
#: The parts of a blend, the last value last: what all others change.
NETWORK, LINEAR, SEASONAL_CHANGE, USUAL_LEVEL, LAST_VALUE = PARTS = ("network", "linear", "seasonal_change", "usual_level", "persistence")
#: Shares before any row is seen, and how many held-back rows that opinion weighs: measured on 59 series kept apart for such choices, where
#: 6 to 24 rows differ by a thousandth.
PRIOR: Mapping[str, float] = {NETWORK: 0.3, LINEAR: 0.3, SEASONAL_CHANGE: 0.1, USUAL_LEVEL: 0.1, LAST_VALUE: 0.2}
PRIOR_ROWS = 12.0
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
    #: How far from the level the rows learned from lay, at most; None in a version of a release that knew no such bound.
    reach: float | None = None
    #: Seasons whose changes are averaged.
    seasons: int = 1

    def of(self, network: Floats, target: Floats, origin_rows: Rows, season: int) -> Floats:
        """(N, H) from (N, H) of the network, after each origin row of (T,) target."""
        return blended(self.guesses(network, target, origin_rows, season), self.shares)

    def guesses(self, network: Floats, target: Floats, origin_rows: Rows, season: int) -> dict[str, Floats]:
        """(N, H) of each part, from (N, H) of the network, after each origin row of (T,) target; every origin row is known."""
        last = np.repeat(target[origin_rows][:, None], network.shape[1], axis=1)
        return {
            NETWORK: network,
            LINEAR: last if self.linear is None else self.linear.of(target, origin_rows),
            SEASONAL_CHANGE: last + usual_change(target, origin_rows, network.shape[1], season, self.seasons),
            USUAL_LEVEL: usual_level(last, self.level, self.reach),
            LAST_VALUE: last,
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        kept = {"level": self.level, "reach": self.reach, "seasons": self.seasons}
        return {"shares": dict(self.shares), **kept, "linear": self.linear and self.linear.as_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        linear, reach = stored.get("linear"), stored.get("reach")
        there = [part for part in PARTS if part != LINEAR or linear is not None]
        shares = dict.fromkeys(PARTS, 0.0) | {part: float(stored["shares"][part]) for part in there}
        line = None if linear is None else Linear.from_dict(linear)
        return cls(shares, float(stored["level"]), line, None if reach is None else float(reach), int(stored.get("seasons", 1)))


def usual_level(last: Floats, level: float, reach: float | None) -> Floats:
    """The level; beyond `reach` of it, where nothing was learned, less and less of the way there, and at twice the reach the last value."""
    if reach is None:
        return np.full_like(last, level)
    beyond = np.abs(level - last) / max(reach, 1e-300)
    return last + (level - last) * np.clip(2.0 - beyond, 0.0, 1.0)


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
