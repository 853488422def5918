"""The mind's sense of the unusual: how rare a number is among those seen before, also where it is larger than any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ml.errors import ArtefactCorrupt
from ml.series import Floats

#: Share of the seen numbers the body tells of; beyond it an exponential tail of their mean excess is drawn (peaks over threshold:
#: Siffer et al. 2017, doi:10.1145/3097983.3098144, with the shape 0).
BODY = 0.98
#: Places at which the body is kept.
SHARES = np.linspace(0.0, BODY, 99)
#: -log10 of the share of numbers at least as large.
LEVELS = -np.log10(1.0 - SHARES)
#: One in 10^20 is as rare as is told.
MOST = 20.0
#: Least scale of a tail, as a share of where it begins: what never varied says little about how far it could.
LEAST_SCALE = 1e-3
#: Numbers nearer than this are the same one: what is smaller has lost its digits, and dividing by it overflows.
LEAST_WIDTH = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, eq=False)
class Rarity:
    """How rare numbers are, K kinds side by side. Surprise is -log10 of the chance of one at least as large: 3 is one in a thousand."""

    #: (K, 99) rising: the numbers at SHARES
    body: Floats
    #: (K,) mean excess over the last of them
    scale: Floats

    @classmethod
    def of(cls, seen: Floats) -> Self:
        """Learn from (N, K) numbers, NaN where there is none; a kind never seen surprises nobody."""
        learned = [_learned(column[np.isfinite(column)]) for column in seen.T]
        return cls(np.array([body for body, _ in learned]), np.array([scale for _, scale in learned]))

    def surprise(self, numbers: Floats) -> Floats:
        """(N, K) of (N, K) numbers, 0 to 20; NaN stays NaN. A number as large as many others is as common as all of them."""
        columns = [_surprise(column, body, scale) for column, body, scale in zip(numbers.T, self.body, self.scale, strict=True)]
        return np.stack(columns, axis=1)

    def tensors(self, name: str) -> dict[str, npt.NDArray[Any]]:
        return {f"{name}.body": self.body, f"{name}.scale": self.scale}

    @classmethod
    def restored(cls, tensors: Mapping[str, npt.NDArray[Any]], name: str, kinds: int) -> Self:
        """From arrays read back. Raises ArtefactCorrupt where they are no `kinds` rising rows."""
        try:
            body, scale = tensors[f"{name}.body"], tensors[f"{name}.scale"]
        except KeyError as error:
            raise ArtefactCorrupt(f"The detector has no {error}.") from error
        shaped = body.shape == (kinds, len(SHARES)) and scale.shape == (kinds,) and body.dtype == scale.dtype == np.float64
        if not shaped or not (np.isfinite(body).all() and np.isfinite(scale).all()):
            raise ArtefactCorrupt(f"{name} does not hold {kinds} kinds of {len(SHARES)} finite numbers.", tensor=name)
        if (np.diff(body, axis=1) < 0).any() or (scale <= 0).any():
            raise ArtefactCorrupt(f"{name} does not rise.", tensor=name)
        return cls(body, scale)


def _learned(seen: Floats) -> tuple[Floats, float]:
    if not seen.size:
        return np.zeros(len(SHARES)), 1e12
    body = np.maximum.accumulate(np.quantile(seen, SHARES))
    over = seen[seen > body[-1]] - body[-1]
    least = max(LEAST_SCALE * abs(float(body[-1])), 1e-9)
    return body, max(float(over.mean()) if over.size else 0.0, least)


def _surprise(numbers: Floats, body: Floats, scale: float) -> Floats:
    above = np.searchsorted(body, numbers)  # body[above - 1] < number <= body[above]
    place = np.clip(above, 1, len(body) - 1)
    width = body[place] - body[place - 1]
    share = np.clip(numbers - body[place - 1], 0.0, width) / np.where(width > LEAST_WIDTH, width, 1.0)
    inside = LEVELS[place - 1] + share * (LEVELS[place] - LEVELS[place - 1])
    tenfold = scale * np.log(10.0)  # further away by this, and ten times as rare
    beyond = LEVELS[-1] + np.clip(numbers - body[-1], 0.0, MOST * tenfold) / tenfold
    found = np.where(above == 0, 0.0, np.where(numbers > body[-1], beyond, inside))
    return np.where(np.isnan(numbers), np.nan, np.minimum(found, MOST))
