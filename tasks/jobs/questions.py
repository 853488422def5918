"""Jobs that ask something of versions and of data: predictions, what-ifs, backtests, detections, measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from db.models import MEASURING_KIND
from ml.spec import ModelSpec
from tasks.jobs.formats import read, span_read, span_written, written
from tasks.jobs.queues import BATCH, INTERACTIVE, TRAIN

#: channel -> its values over the steps ahead.
Ahead = Mapping[str, Sequence[float]]


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
        return written(self, {name: getattr(self, name) for name in self.__match_args__})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**read(cls, stored))


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
        return written(self, plain | span_written(self.begin, self.end) | {"spec": self.spec and self.spec.as_dict()})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        spec = ModelSpec.from_dict(stored["spec"]) if stored.get("spec") else None
        return cls(**read(cls, stored) | span_read(stored) | {"spec": spec})


_OF_BACKTEST = ("entity", "target", "recipe", "folds", "look_back_hours", "version", "source")


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
        return written(self, plain | span_written(self.begin, self.end))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**read(cls, stored) | span_read(stored))


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
        return written(self, {name: getattr(self, name) for name in self.__match_args__})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**read(cls, stored))
