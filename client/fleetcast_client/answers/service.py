"""The service itself: its recipes, its health, its queues."""

from __future__ import annotations

from dataclasses import dataclass

from fleetcast_client.answers.anomalies import DetectorDefaults
from fleetcast_client.answers.specs import RecipeSpec
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class RecipeNeed(Answer):
    """One thing that a recipe asks of the data."""

    name: str
    of: str
    measure: str
    minimum: float
    #: The covariates it speaks of; empty: all of them.
    group: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RecipeGate(Answer):
    """What a version must reach to become active by itself."""

    min_skill: float
    #: How much worse than the active version it may be: 0.05 is five percent.
    incumbent_tolerance: float
    production_r2: float | None
    production_mape: float | None


@dataclass(frozen=True, kw_only=True)
class Recipe(Answer):
    """A preset: model spec, data requirements, gate."""

    name: str
    title: str
    #: Empty: any channel.
    targets: tuple[str, ...]
    covariates: tuple[str, ...]
    #: One network forecasts all its targets that an entity has, unless one is named.
    joint: bool
    #: Channel that is taken for `spec.available` where an entity has it; null: none.
    available: str | None
    #: Every field's default in this recipe.
    spec: RecipeSpec
    needs: tuple[RecipeNeed, ...]
    gate: RecipeGate
    look_back_hours: float | None
    #: Forecasts of its targets are not below it, where an entity's own rows are not; null: no floor.
    floor: float | None


@dataclass(frozen=True, kw_only=True)
class Watching(Answer):
    """A preset of a detector."""

    name: str
    title: str
    #: Those that an entity has are watched, unless others are named.
    channels: tuple[str, ...]
    #: Every field's default in this recipe.
    spec: DetectorDefaults
    #: Fewest rows that a detector is trained from.
    least_rows: int
    look_back_hours: float | None


@dataclass(frozen=True, kw_only=True)
class RecipeList(Answer):
    """Every preset."""

    data: tuple[Recipe, ...]
    #: Those of `POST /anomalies/train`.
    detectors: tuple[Watching, ...]


@dataclass(frozen=True, kw_only=True)
class Ready(Answer):
    """Whether each thing that answers depend on is there."""

    #: Requests can be answered. Without Redis they can, only slower.
    ready: bool
    postgres: bool
    redis: bool
    #: The database has every migration this code knows.
    migrations: bool
    #: What an operator does about it; null when nothing has to be done.
    fix: str | None


@dataclass(frozen=True, kw_only=True)
class Depth(Answer):
    """How full one queue is."""

    queue: str
    queued: int
    running: int
    #: How long the oldest due job has waited.
    oldest_due_s: float | None
