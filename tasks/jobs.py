"""Job specs: frozen values that know their kind, their queue and what operators read of them.

Processes of two releases read each other's specs while one takes the other's place; docs/decisions/0024 has the rule.
A job is written in the lowest format that says all of it: one that reads the built-in store is an older release's to do as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from db.models import MEASURING_KIND
from ml.anomaly.spec import DetectorSpec
from ml.formats import known, require_readable
from ml.spec import ModelSpec

INTERACTIVE, BATCH, TRAIN = "interactive", "batch", "train"
QUEUES = (INTERACTIVE, BATCH, TRAIN)
#: The queues that each kind of worker serves.
SERVES: Mapping[str, tuple[str, ...]] = {"interactive": (INTERACTIVE, BATCH), "train": (TRAIN,)}

#: Shape of the predictions of a batch: any of them may be answered together; which networks are of one shape shows when they are loaded.
JOINED = "predictions"

Activation = Literal["auto", "always", "never"]
#: channel -> its values over the steps ahead.
Ahead = Mapping[str, Sequence[float]]

#: Holds the format of a stored spec; one of format 1 has none.
FORMAT = "v"
#: Members that a release before this format would pass over, and come to another result: a job that has one says so.
SINCE: Mapping[str, int] = {"source": 2, "sink": 2, "hours": 3}


@dataclass(frozen=True, slots=True)
class BaseRef:
    """The version that a training starts from, pinned when it was asked for."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train one network: a version of one model, or of one per target."""

    kind: ClassVar[str] = "train"
    #: As of every kind: raised with a field that a worker of the release before must not pass over.
    format: ClassVar[int] = 2
    queue: ClassVar[str] = TRAIN
    entity: str
    recipe: str
    spec: ModelSpec
    #: Name of the lineage; defaults to the target.
    model: str
    activation: Activation = "auto"
    #: Only rows of the last so many hours before the newest one; None reads all.
    look_back_hours: float | None = None
    base: BaseRef | None = None
    #: Where its rows are; None is the built-in store.
    source: str | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    @property
    def shape_key(self) -> str:
        return self.spec.shape_key()

    def model_of(self, target: str) -> str:
        """Name of the target's lineage: the one asked for, or its own where the network has several."""
        return self.model if len(self.spec.targets) == 1 else target

    def as_dict(self) -> dict[str, Any]:
        members = {
            "entity": self.entity,
            "recipe": self.recipe,
            "target": self.spec.targets[0],
            "model": self.model,
            "activation": self.activation,
            "look_back_hours": self.look_back_hours,
            "base": self.base and asdict(self.base),
            "source": self.source,
            "spec": self.spec.as_dict(),
        }
        return _written(self, members)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        base = stored.get("base")
        made = {"spec": ModelSpec.from_dict(stored["spec"]), "base": BaseRef(**known(BaseRef, base)) if base else None}
        return cls(**_read(cls, stored) | made)


@dataclass(frozen=True, slots=True)
class PretrainJob:
    """Train one network on many entities, for others to start from. It is kept as a model of an entity of its own."""

    kind: ClassVar[str] = "pretrain"
    format: ClassVar[int] = 2
    queue: ClassVar[str] = TRAIN
    shape_key: ClassVar[str | None] = None
    #: Name of the base, and of the entity that holds it.
    entity: str
    recipe: str
    spec: ModelSpec
    entities: tuple[str, ...]
    activation: Activation = "auto"
    look_back_hours: float | None = None
    source: str | None = None

    @property
    def model(self) -> str:
        return self.spec.targets[0]

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("entity", "recipe", "activation", "look_back_hours", "source")}
        return _written(self, named | {"target": self.model, "entities": list(self.entities), "spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        made = {"entities": tuple(stored["entities"]), "spec": ModelSpec.from_dict(stored["spec"])}
        return cls(**_read(cls, stored) | made)


@dataclass(frozen=True, slots=True)
class ImportJob:
    """Take in a network that was learned elsewhere, for others to start from. It never waits: who asks for it does it."""

    kind: ClassVar[str] = "import"
    format: ClassVar[int] = 1
    queue: ClassVar[str] = INTERACTIVE
    shape_key: ClassVar[str | None] = None
    #: Name of the base, and of the entity that holds it.
    entity: str
    #: As its manifest says, if it does.
    recipe: str | None
    spec: ModelSpec
    #: Of the tensors.
    sha256: str
    bytes: int
    activation: Activation = "auto"

    @property
    def model(self) -> str:
        return self.spec.targets[0]

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in _OF_IMPORT}
        return _written(self, named | {"target": self.model, "spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**_read(cls, stored) | {"spec": ModelSpec.from_dict(stored["spec"])})


_OF_IMPORT = ("entity", "recipe", "sha256", "bytes", "activation")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every question about the future names."""

    kind: ClassVar[str]
    format: ClassVar[int]
    queue: ClassVar[str] = INTERACTIVE
    shape_key: ClassVar[str | None] = None
    entity: str
    target: str
    #: Steps and interval level; None are the version's own.
    horizon: int | None = None
    level: float | None = None
    #: Semantic version asked for; None is the active one at the time the job runs.
    version: str | None = None
    #: Values of known-future covariates, step by step, that stand in the place of stored ones: for this answer alone.
    future: Ahead | None = None
    #: Where the rows are that it reads; None is where the version's training read them.
    source: str | None = None

    @property
    def model(self) -> str:
        """Name of the lineage that answers."""
        return self.target

    @property
    def label(self) -> str:
        return f"{self.entity} {self.target}"

    def as_dict(self) -> dict[str, Any]:
        # By name, as in ModelSpec: a deep copy takes eight times as long.
        return _written(self, {name: getattr(self, name) for name in self.__match_args__})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**_read(cls, stored))


@dataclass(frozen=True, slots=True)
class PredictJob(_Asked):
    """Forecast one target of one entity with its active version, or with a pinned one."""

    kind: ClassVar[str] = "predict"
    format: ClassVar[int] = 2
    #: Where the forecast goes besides our own table.
    sink: str | None = None


@dataclass(frozen=True, slots=True)
class WhatIfJob(_Asked):
    """Forecast named scenarios beside a baseline."""

    kind: ClassVar[str] = "what_if"
    format: ClassVar[int] = 2
    #: As the client wrote them: [{"name": …, "changes": [{"channel", "op", "value", "steps"}]}].
    scenarios: Sequence[Mapping[str, Any]] = ()
    bounds: Literal["warn", "clamp", "reject"] = "warn"
    #: Whether the answer holds the baseline; deltas are told against it either way.
    include_baseline: bool = True


@dataclass(frozen=True, slots=True)
class BacktestJob:
    """Forecast what is known by now as it would have been forecast then: by a recipe, trained anew for each fold, or by a version."""

    kind: ClassVar[str] = "backtest"
    format: ClassVar[int] = 2
    shape_key: ClassVar[str | None] = None
    entity: str
    #: The first one, where a recipe forecasts several.
    target: str
    #: Of a recipe: what is trained, and how often.
    recipe: str | None = None
    spec: ModelSpec | None = None
    folds: int | None = None
    look_back_hours: float | None = None
    #: Of a version: the one that was active, where none was named.
    version: str | None = None
    #: The rows it forecasts; None begins after those that its training had, and goes to the newest.
    begin: datetime | None = None
    end: datetime | None = None
    #: Of a recipe, None is the built-in store; of a version, where its training read.
    source: str | None = None

    @property
    def queue(self) -> str:
        """Those that train wait with the trainings."""
        return BATCH if self.spec is None else TRAIN

    @property
    def model(self) -> str:
        """Name of the lineage that a version is one of."""
        return self.target

    @property
    def label(self) -> str:
        return f"{self.entity} {self.target}"

    def as_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in _OF_BACKTEST}
        span = {name: at and at.isoformat().replace("+00:00", "Z") for name, at in (("from", self.begin), ("to", self.end))}
        return _written(self, plain | span | {"spec": self.spec and self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        spec = ModelSpec.from_dict(stored["spec"]) if stored.get("spec") else None
        return cls(**_read(cls, stored) | {"spec": spec, "begin": _moment(stored, "from"), "end": _moment(stored, "to")})


_OF_BACKTEST = ("entity", "target", "recipe", "folds", "look_back_hours", "version", "source")


@dataclass(frozen=True, slots=True)
class AnomalyTrainJob:
    """Learn what is usual of an entity: a version of one of its detectors."""

    kind: ClassVar[str] = "anomaly_train"
    format: ClassVar[int] = 2
    queue: ClassVar[str] = TRAIN
    shape_key: ClassVar[str | None] = None
    entity: str
    recipe: str
    spec: DetectorSpec
    #: Name of the lineage.
    model: str
    activation: Activation = "auto"
    #: Only rows of the last so many hours before the newest one; None reads all.
    look_back_hours: float | None = None
    source: str | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        return _written(self, {name: getattr(self, name) for name in _OF_ANOMALY_TRAIN} | {"spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**_read(cls, stored) | {"spec": DetectorSpec.from_dict(stored["spec"])})


_OF_ANOMALY_TRAIN = ("entity", "recipe", "model", "activation", "look_back_hours", "source")


@dataclass(frozen=True, slots=True)
class AnomalyDetectJob:
    """Judge the rows of a stretch of time."""

    kind: ClassVar[str] = "anomaly_detect"
    format: ClassVar[int] = 3
    queue: ClassVar[str] = INTERACTIVE
    shape_key: ClassVar[str | None] = None
    entity: str
    model: str
    #: None: so many `hours` before the end, or the newest row, which only a worker can see.
    begin: datetime | None = None
    #: None: to the newest row.
    end: datetime | None = None
    #: Semantic version asked for; None is the active one at the time the job runs.
    version: str | None = None
    #: None is where the version's training read.
    source: str | None = None
    #: Only where `begin` is left to the worker.
    hours: float | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("entity", "model", "version", "source", "hours")}
        span = {name: at and at.isoformat().replace("+00:00", "Z") for name, at in (("from", self.begin), ("to", self.end))}
        return _written(self, plain | span)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        span = {"begin": _moment(stored, "from"), "end": _moment(stored, "to")}
        return cls(**_read(cls, stored) | span)


@dataclass(frozen=True, slots=True)
class ReadinessJob:
    """Measure what a recipe needs, where only a worker can read. The entity need not be known here."""

    kind: ClassVar[str] = MEASURING_KIND
    format: ClassVar[int] = 2
    queue: ClassVar[str] = INTERACTIVE
    shape_key: ClassVar[str | None] = None
    entity: str
    recipe: str
    source: str
    #: None is the recipe's own.
    target: str | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.target or self.recipe}"

    def as_dict(self) -> dict[str, Any]:
        return _written(self, {name: getattr(self, name) for name in self.__match_args__})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**_read(cls, stored))


JobSpec = TrainJob | PretrainJob | ImportJob | PredictJob | WhatIfJob | BacktestJob | AnomalyTrainJob | AnomalyDetectJob | ReadinessJob


def _written(job: JobSpec | _Asked, members: dict[str, Any]) -> dict[str, Any]:
    """In the lowest format that says it all; a member of SINCE that holds nothing is left out, as releases before it wrote the job."""
    said = {name: value for name, value in members.items() if name not in SINCE or value is not None}
    needed = min(job.format, max((SINCE[name] for name in said if name in SINCE), default=1))
    return said if needed == 1 else {FORMAT: needed} | said


def _read(kind: type[JobSpec] | type[_Asked], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The members as they are stored. Raises NewerRelease for a format that this release does not know."""
    require_readable(f"The {kind.kind} job", int(stored.get(FORMAT, 1)), kind.format)
    return known(kind, stored)


def _moment(stored: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(stored[name]) if stored.get(name) else None


def digest(*parts: object) -> str:
    """Hash under which two requests ask for the same thing."""
    return _hashed(_SORTED.encode(parts))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_ENTITY = "entity"
#: What jobs that differ in their entity alone have in common, while they are held.
Mark = tuple[int, ...]


def mark(job: TrainJob | PredictJob) -> Mark:
    """All but whom it is about, known by identity: to compare a thousand specs takes longer than to write them."""
    return tuple([id(getattr(job, name)) for name in job.__match_args__ if name != _ENTITY])


class Stencil:
    """Jobs of one mark as they are stored: what they have in common is written once, for all the thousands of a batch."""

    def __init__(self, job: TrainJob | PredictJob) -> None:
        self._stored = job.as_dict()
        said = [(name, _SORTED.encode({name: value})[1:-1]) for name, value in sorted(self._stored.items())]
        before, after = ([member for name, member in said if here(name)] for here in (_ENTITY.__gt__, _ENTITY.__lt__))
        self._around = [",".join([*before, f'"{_ENTITY}":']), ",".join(["", *after])]

    def of(self, entity: str) -> tuple[dict[str, Any], str]:
        """The job about this entity as it is stored, and its digest."""
        return self._stored | {_ENTITY: entity}, _hashed("[{" + _SORTED.encode(entity).join(self._around) + "}]")


#: Made once: json.dumps makes one for every call that asks for anything of its own.
_SORTED = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
