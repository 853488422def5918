"""How far two samples lie apart, and how often chance alone would part them so. Plain numbers; imports no numeric library.

One of the two is known by its `Sample` only: its share below each of a few cuts. So is the other one here, as counts between the cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

from ml.formats import known

#: Terms of Kolmogorov's series; the fifth is below 1e-17 wherever the sum is below a half.
TERMS = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """What is kept of a sample: B − 1 cuts, rising, and its share below each."""

    cuts: tuple[float, ...]
    below: tuple[float, ...]
    #: Rows it was made from.
    rows: int
    #: Rows that tell as much as one independent row, at least 1.
    apart: float

    @property
    def shares(self) -> list[float]:
        """(B,) of each bin; they add up to 1."""
        return [high - low for low, high in pairwise((0.0, *self.below, 1.0))]

    @property
    def independent(self) -> float:
        return self.rows / self.apart

    def as_dict(self) -> dict[str, Any]:
        return {"cuts": list(self.cuts), "below": list(self.below), "rows": self.rows, "apart": self.apart}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        given = known(cls, stored)
        return cls(**given | {name: tuple(given[name]) for name in ("cuts", "below")})


def psi(reference: Sample, counts: Sequence[int]) -> float:
    """Population stability index: Σ (q − p)·ln(q / p) over the bins; at least 0. Half a row stands where a bin is empty.

    Its usual reading (Siddiqi 2006): below 0.1 nothing has changed, from 0.25 on much has. Of two samples of n and m independent rows of
    the same thing it is about (B − 1)·(1/n + 1/m) (Yurdakul 2018), so of few rows it says little by itself.
    """
    total = sum(counts)
    pairs = zip(reference.shares, counts, strict=True)
    told = ((max(p, 0.5 / reference.rows), max(count, 0.5) / total) for p, count in pairs)
    return math.fsum((q - p) * math.log(q / p) for p, q in told)


def ks_distance(reference: Sample, counts: Sequence[int]) -> float:
    """Greatest difference of the two distributions at the cuts, 0 to 1: never more than that of the whole samples."""
    total = sum(counts)
    below = (count / total for count in list(accumulate(counts))[:-1])
    return max((abs(have - was) for have, was in zip(below, reference.below, strict=True)), default=0.0)


def ks_chance(distance: float, independent: float) -> float:
    """How often two samples of one thing lie so far apart: Kolmogorov's limit with Stephens' correction (1970) for few rows.

    `independent`: n·m / (n + m) of the independent rows of both.
    """
    root = math.sqrt(independent)
    x = (root + 0.12 + 0.11 / root) * distance if independent > 0 else 0.0
    if x < 0.2:  # where the series has not begun to converge the sum is 1 to fifteen digits
        return 1.0
    found = 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, TERMS))
    return min(max(found, 0.0), 1.0)


def together(one: float, other: float) -> float:
    """n·m / (n + m)."""
    return one * other / (one + other) if one > 0 and other > 0 else 0.0


def mean_rank(reference: Sample, values: Iterable[float]) -> float:
    """Mean share of the reference that lies below a value, 0 to 1: a half where nothing has changed. Inside a bin, its middle."""
    middles = [(low + high) / 2 for low, high in pairwise((0.0, *reference.below, 1.0))]
    ranks = [middles[_bin(reference.cuts, value)] for value in values]
    return sum(ranks) / len(ranks)


def _bin(cuts: Sequence[float], value: float) -> int:
    """Number of cuts at or below the value, as Postgres' width_bucket has it."""
    return sum(cut <= value for cut in cuts)


def rank_chance(rank: float, independent: float) -> float:
    """How often values of the same thing rank so high or higher, one-sided (Mann & Whitney 1947): nearly normal, of variance 1/12 over
    `independent`, n·m / (n + m)."""
    return 0.5 * math.erfc((rank - 0.5) * math.sqrt(12 * independent) / math.sqrt(2))


def tail_chance(hits: float, trials: float, probability: float) -> float:
    """How often so many hits or more fall among so many trials, each with that probability. Parts of one are rounded down."""
    n, k = math.floor(trials), math.floor(hits)
    if k <= 0:
        return 1.0
    return math.fsum(math.comb(n, i) * probability**i * (1 - probability) ** (n - i) for i in range(k, n + 1))
