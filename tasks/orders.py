"""Orders: what a client asks for, before anybody has looked whether it can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from db.registry import Mode
from tasks.jobs import Ahead

#: Kind of the model, and of the entity, that holds a network for others to start from.
BASE = "base"
#: Folds of a backtest, where none are named.
FOLDS = 4
#: Fewest entities that a base is learned from: one would make it that entity's own model.
FEWEST = 2


@dataclass(frozen=True, slots=True)
class BaseOrder:
    """The network to start from: a model by its id, or a shared base by its name; the active version unless one is pinned."""

    model: str | None = None
    name: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class TrainOrder:
    recipe: str
    entities: tuple[str, ...]
    target: str | None = None
    model: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    activation: Mode = "auto"
    look_back_hours: float | None = None
    base: BaseOrder | None = None
    #: Where the rows are; None is the built-in store.
    source: str | None = None
    #: One parent job with an item for each entity, also for a single one.
    batch: bool = False


@dataclass(frozen=True, slots=True)
class PretrainOrder:
    """A base: its name, and whom it is learned from."""

    name: str
    recipe: str
    entities: tuple[str, ...]
    target: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    activation: Mode = "auto"
    look_back_hours: float | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class PredictOrder:
    entities: tuple[str, ...]
    targets: tuple[str, ...]
    horizon: int | None = None
    level: float | None = None
    version: str | None = None
    future: Ahead | None = None
    #: None is where the version's training read.
    source: str | None = None
    sink: str | None = None
    batch: bool = False


@dataclass(frozen=True, slots=True)
class BacktestOrder:
    """Of a recipe, with what is trained; or, without one, of a version, with the rows that it forecasts."""

    entity: str
    target: str | None = None
    recipe: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    folds: int = FOLDS
    look_back_hours: float | None = None
    version: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    source: str | None = None
