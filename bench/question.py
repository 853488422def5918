"""The test bench's examination paper: one series as it is put to everybody, and how an answer is marked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.metrics import score
from ml.series import Bools, Floats, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What follows each of N origins in the last fifth of a series, H steps each. T rows on a regular grid."""

    set: str
    series: str
    #: (T,) NaN where no row is and none was carried forward.
    values: Floats
    #: Rows before it are learned from.
    fit_until: int
    #: Rows before it may end a training or choose a model; nobody learns from those after it.
    test_from: int
    #: (N,) the last known row of each window.
    origins: Rows
    #: (N, H) pairs that count: the row is really observed and lies in the test part.
    counted: Bools
    #: (N, H) NaN where no row is.
    truth: Floats
    #: In-sample mean absolute error of the seasonal naive forecast: what an error is divided by to make a MASE.
    scale: float
    #: Rows of one season.
    season: int
    #: Rows read, after our own shortening for short series: the same for everybody.
    window: int
    hidden_size: int
    num_layers: int
    dropout: float

    @property
    def horizon(self) -> int:
        return int(self.counted.shape[1])

    @property
    def rows(self) -> int:
        """Rows of the grid that are known."""
        return int(np.isfinite(self.values).sum())

    def mase(self, said: Floats) -> float:
        """Of (N, H) forecasts. Raises ValueError where a counted pair has no forecast."""
        if not np.isfinite(said[self.counted]).all():
            raise ValueError(f"{self.set}/{self.series}: a forecast is missing")
        found = score(self.truth, said, self.counted, self.scale).mase
        assert found is not None
        return found

    def hand_over(self, file: Path) -> None:
        """Write what a rival may know: not the truth, though the rows that later windows read are among the values."""
        np.savez(file, allow_pickle=False, **self._handed())

    def digest(self) -> str:
        """Hash of all that an answer depends on."""
        found = hashlib.sha256()
        for name, value in sorted(self._handed().items()):
            found.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return found.hexdigest()[:16]

    def _handed(self) -> dict[str, Any]:
        names = ("values", "fit_until", "test_from", "origins", "season", "window", "horizon", "hidden_size", "num_layers", "dropout")
        return {name: np.asarray(getattr(self, name)) for name in names}
