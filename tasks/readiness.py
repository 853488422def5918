"""Readiness: what a training would be for one entity, and whether there is data enough for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import observations
from db.entities import Known
from db.sources.configs import Config
from ml.errors import InsufficientData, SpecInvalid
from ml.readiness import Coverage, assess
from ml.recipes import Recipe
from ml.requirement import Requirement
from ml.spec import ModelSpec
from tasks.sources import Place

#: Channels that a refusal names: an entity may have a thousand.
LISTED = 20


@dataclass(frozen=True, slots=True)
class Readiness:
    """A recipe resolved for one entity, with every requirement measured."""

    spec: ModelSpec
    requirements: list[Requirement]
    #: Hours before the newest row that a training reads; None reads all.
    look_back_hours: float | None
    #: What the requirements do not say: where a source was searched that holds not one row, or which channels there are where a target is
    #: none of them.
    sought: str | None = None

    @property
    def met(self) -> bool:
        return all(requirement.met for requirement in self.requirements)

    def told(self, entity: str, recipe: str) -> dict[str, Any]:
        """As clients read it."""
        needs = [requirement.as_dict() for requirement in self.requirements]
        about = {"entity": entity, "recipe": recipe, "target": self.spec.targets[0]}
        return about | {"ready": self.met, "requirements": needs}

    def require(self) -> None:
        """Raises InsufficientData when a requirement is unmet."""
        if not self.met:
            raise InsufficientData(self.requirements, self.look_back_hours, self.sought)


def readiness(place: Place, preset: Recipe, target: str | None, overrides: Mapping[str, Any], look_back_hours: float | None) -> Readiness:
    """Resolve the recipe by the channels the entity has there. Raises SpecInvalid, SourceUnavailable, SourceUnreadable."""
    held = _coverage(place)
    spec = preset.resolve(target, held, overrides)
    hours = look_back_hours if look_back_hours is not None else preset.look_back_hours
    return Readiness(spec, _measure(place, preset, spec, hours, held), hours, _sought(place, spec, held))


def require_channel(entity: str, target: str | None, there: Sequence[str]) -> None:
    """Raises SpecInvalid for a target that a client named and that is no channel of an entity which has others: more rows mend no name."""
    if target is not None and there and target not in there:
        raise SpecInvalid("target", target, f"{entity} has no such channel; it has: {_listed(there)}")


def presumed(source: Config, preset: Recipe, target: str | None, overrides: Mapping[str, Any], look_back_hours: float | None) -> Readiness:
    """The same unmeasured, by the channels that the source says it has: a worker measures when it takes the training up."""
    require_channel(f"source {source.name}", target, list(source.channels))
    spec = preset.resolve(target, dict.fromkeys(source.channels, Coverage(1, 1)), overrides)
    return Readiness(spec, [], look_back_hours if look_back_hours is not None else preset.look_back_hours)


def resolved(
    session: Session, found: Sequence[Known], preset: Recipe, target: str | None, overrides: Mapping[str, Any]
) -> dict[int, ModelSpec]:
    """The spec of each of many entities, by id, in one query and unmeasured: the worker measures each when its turn comes."""
    if not (preset.covariates or preset.joint or preset.available):  # nothing in it depends on what an entity has
        return dict.fromkeys((entity.id for entity in found), preset.resolve(target, {}, overrides))
    held = observations.coverage_many(session, [entity.id for entity in found])
    return {entity.id: preset.resolve(target, _known(held[entity.id]), overrides) for entity in found}


def measured(place: Place, preset: Recipe, spec: ModelSpec, look_back_hours: float | None) -> Readiness:
    """The same for a spec already resolved: what a worker asks before it trains."""
    held = _coverage(place)
    return Readiness(spec, _measure(place, preset, spec, look_back_hours, held), look_back_hours, _sought(place, spec, held))


def since(newest: Iterable[datetime | None], look_back_hours: float | None) -> datetime | None:
    """Where a look-back begins: so many hours before the newest row of the targets, not before now, so that old series train too."""
    known = [moment for moment in newest if moment is not None]
    return max(known) - timedelta(hours=look_back_hours) if known and look_back_hours is not None else None


def _sought(place: Place, spec: ModelSpec, held: Mapping[str, Coverage]) -> str | None:
    if not held:
        return place.sought()
    missing = [target for target in spec.targets if target not in held]
    return f"There is no row of {', '.join(missing)}, but of: {_listed(sorted(held))}." if missing else None


def _listed(channels: Sequence[str]) -> str:
    return ", ".join(channels[:LISTED]) + (f" and {len(channels) - LISTED} more" if len(channels) > LISTED else "")


def _measure(place: Place, preset: Recipe, spec: ModelSpec, hours: float | None, held: Mapping[str, Coverage]) -> list[Requirement]:
    begin = since((held[target].last for target in spec.targets if target in held), hours)
    seen = held if begin is None else _coverage(place, begin)
    return assess(spec, preset.needs, seen, now=datetime.now(UTC))


def _coverage(place: Place, begin: datetime | None = None) -> dict[str, Coverage]:
    return _known(place.coverage(since=begin))


def _known(held: Mapping[str, observations.Coverage]) -> dict[str, Coverage]:
    return {name: Coverage(c.rows, c.days, c.first, c.last) for name, c in held.items()}
