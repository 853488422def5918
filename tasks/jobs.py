"""Job specs: frozen values that know their kind, their queue and what operators read of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

from ml.spec import ModelSpec

INTERACTIVE, BATCH, TRAIN = "interactive", "batch", "train"
QUEUES = (INTERACTIVE, BATCH, TRAIN)
#: The queues that each kind of worker serves.
SERVES: Mapping[str, tuple[str, ...]] = {"interactive": (INTERACTIVE, BATCH), "train": (TRAIN,)}

Activation = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train one version of one model."""

    kind: ClassVar[str] = "train"
    queue: ClassVar[str] = TRAIN
    entity: str
    recipe: str
    spec: ModelSpec
    #: Name of the lineage; defaults to the target.
    model: str
    activation: Activation = "auto"
    #: Only rows of the last so many hours before the newest one; None reads all.
    look_back_hours: float | None = None

    @property
    def label(self) -> str:
        return f"{self.entity} {self.model}"

    @property
    def shape_key(self) -> str:
        return self.spec.shape_key()

    def as_dict(self) -> dict[str, Any]:
        return {
            "entity": self.entity,
            "recipe": self.recipe,
            "target": self.spec.targets[0],
            "model": self.model,
            "activation": self.activation,
            "look_back_hours": self.look_back_hours,
            "spec": self.spec.as_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            entity=stored["entity"],
            recipe=stored["recipe"],
            spec=ModelSpec.from_dict(stored["spec"]),
            model=stored["model"],
            activation=stored["activation"],
            look_back_hours=stored["look_back_hours"],
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every question about the future names."""

    queue: ClassVar[str] = INTERACTIVE
    shape_key: ClassVar[str | None] = None
    entity: str
    target: str
    #: Steps and interval level; None are the version's own.
    horizon: int | None = None
    level: float | None = None
    #: Semantic version asked for; None is the active one at the time the job runs.
    version: str | None = None

    @property
    def model(self) -> str:
        """Name of the lineage that answers."""
        return self.target

    @property
    def label(self) -> str:
        return f"{self.entity} {self.target}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class PredictJob(_Asked):
    """Forecast one target of one entity with its active version, or with a pinned one."""

    kind: ClassVar[str] = "predict"


@dataclass(frozen=True, slots=True)
class WhatIfJob(_Asked):
    """Forecast named scenarios beside a baseline."""

    kind: ClassVar[str] = "what_if"
    #: As the client wrote them: [{"name": …, "changes": [{"channel", "op", "value", "steps"}]}].
    scenarios: Sequence[Mapping[str, Any]] = ()
    bounds: Literal["warn", "clamp", "reject"] = "warn"


JobSpec = TrainJob | PredictJob | WhatIfJob


def digest(*parts: object) -> str:
    """Hash under which two requests ask for the same thing."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
