"""The watch's memory: what is usual of some channels, and how surprising a row is beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ml.anomaly.features import VIEWS, views
from ml.anomaly.forest import ROWS_AT_ONCE, Forest, grow
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.surprise import Rarity
from ml.features import fit_scaler
from ml.series import Bools, Floats, Rows, Series

#: The forest's share of the evidence. Its score cannot tell far from very far, and would pull down what the views say of a spike.
FOREST_SHARE = 0.25
#: Share of the learned rows outside the usual range, at either end.
OUTSIDE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The rows that are looked at. T of them."""

    #: (T, C) short gaps filled, NaN elsewhere
    values: Floats
    #: (T, C) True where a row fell
    observed: Bools
    step_s: float

    @classmethod
    def of(cls, series: Series, channels: tuple[str, ...]) -> Self:
        observed = np.stack([series.observed[name] for name in channels], axis=1)
        return cls(series.matrix(channels), observed, series.step_s)

    def features(self, center: Floats, scale: Floats, spec: DetectorSpec) -> Floats:
        """(T, F), NaN where a channel was not observed: what was filled is looked back at, and never judged."""
        found = views((self.values - center) / scale, spec, self.step_s)  # (T, C, V)
        return np.where(self.observed[:, :, None], found, np.nan).reshape(len(found), found.shape[1] * found.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """C channels, V views of each, F = C * V features."""

    #: (C,) median and usual deviation of the rows learned from; and the range of their middle 98 %
    center: Floats
    scale: Floats
    low: Floats
    high: Floats
    #: (F,) usual value of each view
    middle: Floats
    #: Of each view's distance from there
    views: Rarity
    forest: Forest
    #: Of the forest's score, on rows held back
    wood: Rarity
    #: Of the evidence of both, on rows held back
    whole: Rarity

    @classmethod
    def learn(cls, seen: Sight, fit: Rows, held: Rows, spec: DetectorSpec, alive: Callable[[], object]) -> Self:
        """From the rows to fit what is usual, from those held back how rare it is to look odder."""
        learned = seen.values[fit]
        scaler = fit_scaler(learned, slice(None), 2, 0)
        low, high = np.nanquantile(learned, [OUTSIDE, 1 - OUTSIDE], axis=0)
        features = seen.features(scaler.center, scaler.scale, spec)
        middle = np.nanmedian(features[fit], axis=0)
        odd = features - middle
        alive()
        forest = grow(np.nan_to_num(odd[fit]), spec.trees, spec.sample_size, spec.seed)
        alive()
        alone = Rarity.of(np.abs(odd[fit]))
        wood = Rarity.of(forest.scores(np.nan_to_num(odd[held]))[:, None])
        alive()
        whole = Rarity.of(evidence(alone, forest, wood, odd[held], alive)[:, None])
        return cls(scaler.center, scaler.scale, low, high, middle, alone, forest, wood, whole)

    def odd(self, seen: Sight, spec: DetectorSpec) -> Floats:
        """(T, F) views less their usual value, NaN where a channel was not observed."""
        return seen.features(self.center, self.scale, spec) - self.middle

    def surprise(self, odd: Floats, alive: Callable[[], object] = lambda: None) -> Floats:
        """(N,) of (N, F) views less their usual value, NaN where a channel is missing; NaN where all are."""
        return self.whole.surprise(self.evidence(odd, alive)[:, None])[:, 0]

    def evidence(self, odd: Floats, alive: Callable[[], object] = lambda: None) -> Floats:
        """(N,) what the views say by themselves and what the forest says of them together, on average."""
        return evidence(self.views, self.forest, self.wood, odd, alive)

    def shares(self, odd: Floats) -> Floats:
        """(N, C) what each channel adds to the evidence: how much less there were if that channel were as usual. Rows add up to 1.

        A missing channel adds nothing. Where no single channel matters, all that are there share alike.
        """
        whole = self.evidence(odd)
        parts = np.stack([whole - self.evidence(_as_usual(odd, channel)) for channel in range(len(self.center))], axis=1)
        there = np.isfinite(by_channel(odd)).any(axis=2)  # (N, C)
        added = np.where(there, np.maximum(parts, 0.0), 0.0)
        added = np.where(added.sum(axis=1, keepdims=True) > 0, added, there.astype(np.float64))
        return np.asarray(added / added.sum(axis=1, keepdims=True))


def evidence(alone: Rarity, forest: Forest, wood: Rarity, odd: Floats, alive: Callable[[], object] = lambda: None) -> Floats:
    """(N,) of (N, F), some rows at a time: `alive` is called after each."""
    found = [np.empty(0)]
    for first in range(0, len(odd), ROWS_AT_ONCE):
        found.append(_evidence(alone, forest, wood, odd[first : first + ROWS_AT_ONCE]))
        alive()
    return np.concatenate(found)


def _evidence(alone: Rarity, forest: Forest, wood: Rarity, odd: Floats) -> Floats:
    """(N,) in units of surprise, NaN where every channel is missing. Quadratic means: one loud view counts for more than many murmurs."""
    known = np.isfinite(odd).any(axis=1)
    loud = by_channel(alone.surprise(np.abs(odd)))  # (N, C, V)
    number = np.maximum(np.isfinite(loud).sum(axis=(1, 2)), 1)
    single = np.sqrt(np.nansum(loud * loud, axis=(1, 2)) / number)
    joint = wood.surprise(forest.scores(np.nan_to_num(odd))[:, None])[:, 0]
    return np.where(known, (1 - FOREST_SHARE) * single + FOREST_SHARE * joint, np.nan)


def by_channel(features: Floats) -> Floats:
    """(N, C, V) of (N, F)."""
    return features.reshape(len(features), features.shape[1] // len(VIEWS), len(VIEWS))


def _as_usual(odd: Floats, channel: int) -> Floats:
    columns = slice(channel * len(VIEWS), (channel + 1) * len(VIEWS))
    changed = odd.copy()
    changed[:, columns] = 0.0
    return changed
