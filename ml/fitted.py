"""The mind's nouns: a case to learn, an epoch of learning, and what was learned. Every room of ml knows them, they know only values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from ml.blend import Blend
from ml.features import Scaler, Season, phase_of
from ml.intervals import IntervalTable
from ml.metrics import Scores
from ml.networks import Network
from ml.series import Bools, Floats, Notice, Parts, Series, Times
from ml.spec import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A network learned elsewhere, to start from: the entity's own earlier version, another's, or one pretrained on many."""

    spec: ModelSpec
    network: Network


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
    #: (T + H, 2) sine and cosine of the season
    phases: Floats
    warnings: tuple[Notice, ...]
    base: Base | None = None

    @property
    def targets(self) -> Floats:
        """(T, K), NaN where missing."""
        return self.values[:, : len(self.spec.targets)]

    @property
    def known(self) -> Bools:
        """(T, K) True where the target is observed or filled."""
        return np.isfinite(self.targets)

    @property
    def observed(self) -> Bools:
        """(T, K) True where the target was really observed."""
        return np.stack([self.series.observed[name] for name in self.spec.targets], axis=1)

    @property
    def futures(self) -> Floats:
        """(T, G) the known-future covariates."""
        return self.values[:, len(self.spec.inputs) - len(self.spec.future_covariates) :]


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
class Pretrained:
    """A network learned from many entities, for others to start from. It serves nobody by itself."""

    spec: ModelSpec
    network: Network
    history: tuple[Epoch, ...]
    #: entity -> its mean absolute error on the stop part as a share of the last value's
    losses: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Everything a forecast of one target needs, and how good it was. Those of several targets share their network."""

    entity: str
    target: str
    #: The effective spec: its window is the one the network reads.
    spec: ModelSpec
    network: Network
    scaler: Scaler
    season: Season
    step: np.timedelta64
    intervals: IntervalTable
    #: forecaster (the network's name, `persistence`, `seasonal_naive`) -> part (`calibrate`, `test`) -> scores
    scores: dict[str, dict[str, Scores]]
    #: The forecaster that serves: the blend, or a baseline where too few rows were held back to find one.
    served_by: str
    #: Shares of the blend; None where a baseline serves.
    blend: Blend | None
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
    def column(self) -> int:
        """Of the target, among the channels read."""
        return self.spec.targets.index(self.target)

    def half_widths(self, level: float, origins: Times) -> Floats:
        """(N, H) of the intervals after origins at these moments, each at its phase of the season where phases tell something."""
        table = self.intervals
        number = 1 if table.phases is None else len(table.phases)
        return np.broadcast_to(table.half_width(level, phase_of(origins, self.season, number)), (len(origins), self.spec.horizon))

    @property
    def by_network(self) -> bool:
        """The network has a part in what is served."""
        return self.blend is not None
