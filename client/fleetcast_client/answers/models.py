"""Models, their versions, and what a training brought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.answers.anomalies import DetectorMetrics, DetectorSpec
from fleetcast_client.answers.forecasts import Notice
from fleetcast_client.answers.gates import Verdict
from fleetcast_client.answers.specs import Spec
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Scores(Answer):
    """Errors of one forecaster on one part; null where there is no such number."""

    #: Pairs of origin and step.
    n: int
    mae: float | None
    rmse: float | None
    r2: float | None
    #: Percent, over the `mape_n` pairs whose truth is not next to nothing.
    mape: float | None
    mape_n: int
    #: Percent.
    smape: float | None
    mase: float | None
    #: 1 minus the error over that of the best naive baseline.
    skill: float | None
    #: Share of truths inside the interval.
    coverage: float | None
    winkler: float | None


@dataclass(frozen=True, kw_only=True)
class PartScores(Answer):
    """Of the rows that decided who serves, and of those that decided nothing."""

    calibrate: Scores
    test: Scores


@dataclass(frozen=True, kw_only=True)
class Metrics(Answer):
    """What serves, the network under its family's name, and the naive baselines."""

    blend: PartScores | None = None
    lstm: PartScores | None = None
    seq2seq: PartScores | None = None
    persistence: PartScores
    seasonal_naive: PartScores


@dataclass(frozen=True, kw_only=True)
class StopScores(Answer):
    """Of a base: the rows that said when to stop, of all its entities. `n` counts these, and the `skill` is over the last value."""

    stop: Scores


@dataclass(frozen=True, kw_only=True)
class BaseMetrics(Answer):
    """A network that serves nobody: it stands beside the last value alone."""

    lstm: StopScores | None = None
    seq2seq: StopScores | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedVersion(Answer):
    """One version that a training published."""

    target: str
    model: str
    version: str
    #: It serves from now on.
    active: bool
    served_by: str
    metrics: Metrics
    gate: Verdict


@dataclass(frozen=True, kw_only=True)
class TrainResult(TrainedVersion):
    """What a training brought: the version of its target, or of the first of several."""

    #: The same for the other targets of the network.
    others: tuple[TrainedVersion, ...]


@dataclass(frozen=True, kw_only=True)
class PretrainResult(Answer):
    """What the training of a base brought."""

    #: Its name, for `base.name` of a training.
    base: str
    target: str
    model: str
    version: str
    #: Trainings that name the base start from it from now on.
    active: bool
    #: How many it was learned from; of the others `warnings` tell.
    entities: int
    #: 1 minus the mean of `losses`.
    skill: float
    #: By entity: its error over that of the last value, on the rows that said when to stop.
    losses: Mapping[str, float]
    gate: Verdict


@dataclass(frozen=True, kw_only=True)
class ImportResult(Answer):
    """What an import brought."""

    #: Its name, for `base.name` of a training.
    base: str
    target: str
    model: str
    version: str
    #: Trainings that name the base start from it from now on.
    active: bool
    gate: Verdict


@dataclass(frozen=True, kw_only=True)
class Artefact(Answer):
    """What a version is on disk."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Version(Answer):
    """One trained instance of a model."""

    version: str
    model: str
    #: It is the one that serves.
    active: bool
    #: The training that made it, or the import that brought it.
    job: str
    recipe: str | None
    target: str
    spec: Spec | DetectorSpec
    #: `blend`: the network and plainer parts, in shares; a baseline where too few rows were held back.
    served_by: str
    #: Those of a base and of a detector are other ones, and of an imported base there are none.
    metrics: Metrics | BaseMetrics | DetectorMetrics
    gate: Verdict
    warnings: tuple[Notice, ...]
    #: First observation it learned from; null of an imported base.
    data_from: datetime | None
    #: Last observation it learned from; null of an imported base.
    data_until: datetime | None
    #: Where its training read, and its forecasts read too; null: our own observations.
    source: str | None
    artefact: Artefact
    created_at: datetime
    #: Since when its artefact is gone.
    pruned_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DriftBrief(Answer):
    """The last verdict about the version that serves."""

    #: `unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to compare with.
    verdict: str
    #: Recent errors over the version's usual ones.
    error_ratio: float | None
    #: When this version was first given this verdict.
    since: datetime
    judged_at: datetime


@dataclass(frozen=True, kw_only=True)
class Model(Answer):
    """The lineage: which version serves, and which came last."""

    id: str
    entity: str
    #: `base`: a network for others to start from, which forecasts for nobody.
    kind: str
    #: The target, unless the training named another.
    name: str
    active_version: Version | None
    latest_version: Version | None
    #: Null where no version serves, or the one that does was not judged yet.
    drift: DriftBrief | None
    created_at: datetime
    #: Paths: self, versions, activations.
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Activation(Answer):
    """One move of the active flag."""

    kind: str
    from_: str | None
    to: str
    reason: str | None
    #: `key:` and the public part of an API key, or the job that published.
    actor: str
    at: datetime
