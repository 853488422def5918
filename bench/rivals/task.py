"""The guests' paper: one series, what may be learned from, and which windows are forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
WHOLE = ("fit_until", "test_from", "season", "window", "horizon", "hidden_size", "num_layers")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    #: (T,) missing rows carry the one before them forward, as every tutorial does; nothing looks ahead.
    values: Floats
    fit_until: int
    #: Rows from `fit_until` to here stop a training; a method that needs no such rows learns from them too.
    test_from: int
    #: (N,) last row of each window.
    origins: Rows
    season: int
    window: int
    horizon: int
    hidden_size: int
    num_layers: int
    dropout: float
    #: Most passes over the rows, and how many without a better loss on the rows held back end a training.
    epochs: int = 100
    patience: int = 10
    #: Most updates of a library that counts in updates.
    steps: int = 1_000

    @classmethod
    def read(cls, file: Path) -> Self:
        with np.load(file, allow_pickle=False) as found:
            whole = {name: int(found[name]) for name in WHOLE}
            return cls(values=_carried(found["values"]), origins=found["origins"], dropout=float(found["dropout"]), **whole)

    def shortened(self) -> Self:
        """The same terms on few rows: what a first training loads is loaded."""
        last = min(self.fit_until, 4 * (self.window + self.horizon))
        tail = self.test_from - self.fit_until
        kept = np.concatenate([self.values[:last], self.values[self.fit_until : self.test_from][: max(self.horizon + 1, min(tail, 100))]])
        return replace(self, values=kept, fit_until=last, test_from=len(kept), origins=np.array([len(kept) - 1]))

    def windows(self, rows: Rows) -> Floats:
        """(N, W) that end with the given rows."""
        found: Floats = self.values[rows[:, None] + np.arange(1 - self.window, 1)]
        return found

    def futures(self, rows: Rows) -> Floats:
        """(N, H) after the given rows."""
        found: Floats = self.values[rows[:, None] + np.arange(1, self.horizon + 1)]
        return found


def _carried(values: Floats) -> Floats:
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    return values[last]
