"""The mind's nouns: a case to learn, an epoch of learning, and what was learned. Every room of ml knows them, they know only values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ml.features import Scaler, Season
from ml.intervals import IntervalTable
from ml.metrics import Scores
from ml.networks import DirectLstm
from ml.series import Bools, Floats, Notice, Parts, Series
from ml.spec import ModelSpec

#: The name under which the network's scores stand beside the baselines'.
LSTM = "lstm"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One entity made ready for training. T rows, C channels, targets first."""

    series: Series
    #: As asked, but for the window, which may have been shortened to what the rows allow.
    spec: ModelSpec
    parts: Parts
    season: Season
    scaler: Scaler
    #: (T, C), short gaps filled, NaN elsewhere
    values: Floats
    #: (T, 2) sine and cosine of the season
    phases: Floats
    warnings: tuple[Notice, ...]

    @property
    def target(self) -> Floats:
        """(T,), NaN where missing."""
        return self.values[:, 0]

    @property
    def known(self) -> Bools:
        """(T,) True where the target is observed or filled."""
        return np.isfinite(self.target)

    @property
    def observed(self) -> Bools:
        """(T,) True where the target was really observed."""
        return self.series.observed[self.spec.targets[0]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the fit part."""

    #: Counted from 1; 0 is the untrained network, which is the last value.
    number: int
    epochs: int
    train_loss: float
    #: Mean absolute error on the stop part as a share of the last value's: below 1 the network is better.
    stop_loss: float
    #: Number of the epoch with the least `stop_loss` so far.
    best: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Everything a forecast needs, and how good it was."""

    entity: str
    #: The effective spec: its window is the one the network reads.
    spec: ModelSpec
    network: DirectLstm
    scaler: Scaler
    season: Season
    step: np.timedelta64
    intervals: IntervalTable
    #: forecaster (`lstm`, `persistence`, `seasonal_naive`) -> part (`calibrate`, `test`) -> scores
    scores: dict[str, dict[str, Scores]]
    #: The forecaster that serves, chosen on the calibrate part.
    served_by: str
    history: tuple[Epoch, ...]
    warnings: tuple[Notice, ...]
    data_from: datetime
    data_until: datetime
    #: Observed target rows.
    rows: int
    #: First moment the network did not learn from.
    fit_until: datetime

    @property
    def step_s(self) -> float:
        return float(self.step / np.timedelta64(1, "ms")) / 1000

    @property
    def target(self) -> str:
        return self.spec.targets[0]


def moment(stamp: np.datetime64) -> datetime:
    """numpy's UTC instant as an aware datetime."""
    return datetime.fromtimestamp(int(stamp.astype("datetime64[ms]").astype(np.int64)) / 1000, tz=UTC)
