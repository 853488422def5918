"""Entities, their observations and what is still missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class EntityRow(Answer):
    """An entity in a list."""

    entity: str
    kind: str | None
    attributes: Mapping[str, Any]
    #: Counts deliveries of observations.
    data_rev: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Channel(Answer):
    """A channel and what is known of it."""

    name: str
    unit: str | None
    direction: str | None
    lower_bound: float | None
    upper_bound: float | None


@dataclass(frozen=True, kw_only=True)
class Entity(EntityRow):
    """An entity with its channels."""

    channels: tuple[Channel, ...]


@dataclass(frozen=True, kw_only=True)
class Fault(Answer):
    """One field that is wrong."""

    #: JSON pointer into the body; /query/…, /headers/… or /path/… outside it; /line/n in lines and CSV.
    pointer: str
    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Delivered(Answer):
    """What became of one delivery of observations."""

    entity: str
    #: Values taken.
    accepted: int
    #: Moments among them that were known before.
    replaced: int
    #: Rows or values not taken.
    rejected: int
    #: Why, for the first hundred of them.
    errors: tuple[Fault, ...]
    #: Counts deliveries of observations of this entity.
    data_rev: int


@dataclass(frozen=True, kw_only=True)
class FleetDelivered(Answer):
    """What became of one delivery of observations of many entities."""

    #: Of which at least one value was taken.
    entities: int
    #: Values taken.
    accepted: int
    #: Moments among them that were known before.
    replaced: int
    #: Rows or values not taken.
    rejected: int
    #: Why, for the first hundred of them.
    errors: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class Observation(Answer):
    """One value of one channel."""

    channel: str
    at: datetime
    value: float


@dataclass(frozen=True, kw_only=True)
class Requirement(Answer):
    """One thing that the data must have."""

    name: str
    have: float
    need: float
    unit: str
    met: bool
    #: Date when it will be met at the present pace.
    eta: str | None


@dataclass(frozen=True, kw_only=True)
class Readiness(Answer):
    """Every data requirement of a recipe, measured."""

    entity: str
    recipe: str
    #: The first of those measured.
    target: str
    #: Every requirement is met: a training would be accepted.
    ready: bool
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, kw_only=True)
class Erasure(Answer):
    """The receipt of an erasure. It names nobody."""

    id: str
    #: SHA-256 of `<id>:<name>`: who knows the name can tell that it is this one.
    entity_sha256: str
    #: The key that asked for it, by its public part.
    erased_by: str
    #: `X-Request-Id` of the request.
    request_id: str | None
    #: Rows that left, by table; jobs that were scrubbed; artefacts to be deleted.
    erased: Mapping[str, int]
    #: From then on nobody was answered from it.
    erased_at: datetime
    #: When Redis and the disk had followed; null until then.
    done_at: datetime | None
