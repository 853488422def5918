"""Jobs that end with a version: trainings, bases, imports, detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from db.registry import Mode
from ml.anomaly.spec import DetectorSpec
from ml.formats import known
from ml.spec import ModelSpec
from tasks.jobs.formats import read, written
from tasks.jobs.queues import INTERACTIVE, TRAIN


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
    activation: Mode = "auto"
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
        return written(self, members)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        base = stored.get("base")
        made = {"spec": ModelSpec.from_dict(stored["spec"]), "base": BaseRef(**known(BaseRef, base)) if base else None}
        return cls(**read(cls, stored) | made)


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
    activation: Mode = "auto"
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
        return written(self, named | {"target": self.model, "entities": list(self.entities), "spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        made = {"entities": tuple(stored["entities"]), "spec": ModelSpec.from_dict(stored["spec"])}
        return cls(**read(cls, stored) | made)


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
    activation: Mode = "auto"

    @property
    def model(self) -> str:
        return self.spec.targets[0]

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in _OF_IMPORT}
        return written(self, named | {"target": self.model, "spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**read(cls, stored) | {"spec": ModelSpec.from_dict(stored["spec"])})


_OF_IMPORT = ("entity", "recipe", "sha256", "bytes", "activation")


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
    activation: Mode = "auto"
    #: Only rows of the last so many hours before the newest one; None reads all.
    look_back_hours: float | None = None
    source: str | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    def as_dict(self) -> dict[str, Any]:
        return written(self, {name: getattr(self, name) for name in _OF_ANOMALY_TRAIN} | {"spec": self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**read(cls, stored) | {"spec": DetectorSpec.from_dict(stored["spec"])})


_OF_ANOMALY_TRAIN = ("entity", "recipe", "model", "activation", "look_back_hours", "source")
