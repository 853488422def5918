"""What a job was asked, with the defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.asking import Scenario
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Split(Answer):
    """Chronological shares of the rows."""

    fit: float
    stop: float
    calibrate: float
    test: float


@dataclass(frozen=True, kw_only=True)
class RecipeSpec(Answer):
    """Every field of a spec that a recipe decides."""

    #: Rows of the rolling means that are read of each covariate besides; 4 at most.
    rolling: tuple[int, ...]
    #: Rows of the targets that are not above 0 do not count.
    positive: bool
    network: str
    #: Steps of history that the network reads.
    window: int
    #: Steps that it forecasts.
    horizon: int
    #: Width of a layer.
    hidden_size: int
    #: Layers.
    num_layers: int
    #: Share of a layer left out at random while learning.
    dropout: float
    #: Most passes over the rows learned from.
    epochs: int
    #: Epochs without a better loss on held-back rows before training ends.
    patience: int
    #: Windows' worth of rows per update.
    batch_size: int
    #: Peak of the one-cycle rate.
    learning_rate: float
    loss: str
    split: Split
    #: Level of the intervals, for requests that name none.
    level: float
    #: Longest run of missing steps that is filled forward.
    fill_limit: int
    #: Seconds between rows; null finds them from the data.
    cadence_s: float | None
    #: The same seed on the same data gives the same model.
    seed: int


@dataclass(frozen=True, kw_only=True)
class Spec(RecipeSpec):
    """Everything that decides what a training does, apart from the data."""

    #: Channels forecast, by one network.
    targets: tuple[str, ...]
    #: Channels read beside the target, known up to the last observation only. With the targets and the known-future ones, 64 at most.
    covariates: tuple[str, ...]
    #: Channels whose values over the horizon are known when a forecast is made, as a promotion or a holiday is: stored ahead as
    #: observations, or brought by the request as `future`.
    future_covariates: tuple[str, ...]
    #: Channel that is 0 where the targets' rows do not count, as the price of what is not on sale; null: all do.
    available: str | None


@dataclass(frozen=True, kw_only=True)
class BaseRef(Answer):
    """The version that a training starts from, as it was when it was asked for."""

    model: str
    version: str


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Answer):
    """A training, defaults filled in."""

    entity: str
    recipe: str
    #: The first of `spec.targets`.
    target: str
    #: Name of the lineage; where there are several targets, that of the first.
    model: str
    activation: str
    look_back_hours: float | None
    #: The network to start from; null: from none.
    base: BaseRef | None
    #: The source that was named; left out where none was.
    source: str | None = None
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class PretrainSpec(Answer):
    """The training of a base, defaults filled in."""

    #: Name of the base, and of the entity that holds it.
    entity: str
    recipe: str
    #: The first of `spec.targets`, and the name of the model that holds the base.
    target: str
    #: Those it is to be learned from.
    entities: tuple[str, ...]
    activation: str
    look_back_hours: float | None
    #: The source that was named; left out where none was.
    source: str | None = None
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class ImportSpec(Answer):
    """The import of a base. Its job has ended when it is first seen, and it is never tried again."""

    #: Name of the base, and of the entity that holds it.
    entity: str
    #: As its manifest says.
    recipe: str | None
    #: The first of `spec.targets`, and the name of the model that holds the base.
    target: str
    activation: str
    #: Of the tensors.
    sha256: str
    #: That they take.
    bytes: int
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class PredictSpec(Answer):
    """A forecast, defaults filled in. Those of an item of a batch are filled in when it runs."""

    entity: str
    target: str
    horizon: int | None
    level: float | None
    #: Null: the one that is active when the job runs.
    version: str | None
    #: By channel, the values ahead that the request brought; null: what is stored counts.
    future: Mapping[str, tuple[float, ...]] | None
    #: The source that was named; left out where none was.
    source: str | None = None
    #: Where the forecast goes besides.
    sink: str | None = None


@dataclass(frozen=True, kw_only=True)
class WhatIfSpec(Answer):
    """A what-if, defaults filled in."""

    entity: str
    target: str
    horizon: int | None
    level: float | None
    #: Null: the one that is active when the job runs.
    version: str | None
    #: By channel, the values ahead that the request brought; null: what is stored counts.
    future: Mapping[str, tuple[float, ...]] | None
    #: The source that was named; left out where none was.
    source: str | None = None
    scenarios: tuple[Scenario, ...]
    bounds: str
    #: The result holds the baseline.
    include_baseline: bool


@dataclass(frozen=True, kw_only=True)
class BacktestSpec(Answer):
    """A backtest, defaults filled in: of a recipe, or, where that is null, of a version."""

    entity: str
    #: Of several, the first of `spec.targets`.
    target: str
    recipe: str | None
    #: What is trained for each fold.
    spec: Spec | None
    folds: int | None
    look_back_hours: float | None
    #: The one that was active when it was asked for, where none was named.
    version: str | None
    from_: datetime | None
    to: datetime | None
    #: The source that was named; left out where none was.
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadinessSpec(Answer):
    """A measurement that only a worker can make, of what a recipe needs."""

    entity: str
    recipe: str
    #: Null: the recipe's own.
    target: str | None
    #: A source that the operator named; ours otherwise.
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSpec(Answer):
    """A batch: what was asked stands in its items."""

    items: int


@dataclass(frozen=True, kw_only=True)
class Erased(Answer):
    """Of a job whose entity was erased nothing is told."""
