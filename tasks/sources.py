"""Where a job's rows are: in our own store, or in a source that the operator named. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from db import entities, observations, tenants
from db.entities import Known
from db.models import Entity
from db.observations import Coverage
from db.sources.configs import BUILT_IN, Config
from db.sources.source import Source, Whom
from ml.errors import SpecInvalid
from tasks.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Store:
    """An entity's rows among our own observations."""

    session: Session
    entity_id: int

    def coverage(self, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        return observations.coverage(self.session, self.entity_id, channels, since)

    def newest(self, channels: Collection[str]) -> datetime | None:
        return observations.newest(self.session, self.entity_id, channels)

    def channels(self) -> list[str]:
        """All that the entity has, also those that have no row yet."""
        return [channel.name for channel in entities.channels(self.session, self.entity_id)]

    def sought(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Counted(Store):
    """The same, counted whole already by the statement that found the entity."""

    held: Mapping[str, Coverage]

    def coverage(self, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        whole = channels is None and since is None
        return dict(self.held) if whole else observations.coverage(self.session, self.entity_id, channels, since)


@dataclass(frozen=True, slots=True)
class Outside:
    """An entity's rows in a source. Raises SourceUnavailable and SourceUnreadable."""

    source: Source
    config: Config
    whom: Whom

    def coverage(self, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        return self.source.coverage(self.whom, channels, since)

    def newest(self, channels: Collection[str]) -> datetime | None:
        return max((held.last for held in self.coverage(channels).values() if held.last is not None), default=None)

    def channels(self) -> list[str]:
        """As the operator's file has them, with rows or not: no other can be read."""
        return sorted(self.config.channels)

    def sought(self) -> str | None:
        return f"Source {self.config.name} was asked for: {self.source.sought(self.whom)}."


#: What operators who named a source forget.
IF_NEW = "A new one has to be named in SOURCES_FILE for this tenant, and the house started again since."
#: What readiness measures and handlers fetch from.
Place = Store | Outside


def is_outside(source: str | None) -> bool:
    return source not in (None, BUILT_IN)


def origin(source: str | None) -> str | None:
    """What a version remembers of where its training read; None is the built-in store."""
    return source if is_outside(source) else None


def at(session: Session, runtime: Runtime, tenant_id: str, entity: Entity | Known, source: str | None) -> Place:
    """Where the entity's rows are. Raises as `outside` does."""
    if is_outside(source):
        return outside(session, runtime, tenant_id, entity.name, str(source))
    return Store(session, entity.id)


def outside(session: Session, runtime: Runtime, tenant_id: str, entity: str, source: str) -> Outside:
    """Rows of that name in a source. The session gives its connection back: somebody else's database may take its time.

    So never inside a transaction that is to be committed. Raises SpecInvalid for a source that the tenant has not, SourceUnreadable for one
    that cannot be opened here.
    """
    tenant = require(session, runtime, tenant_id, source)
    session.close()
    return Outside(runtime.sources.open(source), runtime.sources.configs[source], Whom(entity, tenant))


def require(session: Session, runtime: Runtime, tenant_id: str, source: str | None) -> str:
    """The tenant's name; nobody looks for it where no source is named. Raises SpecInvalid, naming those that the tenant has."""
    if not is_outside(source):
        return ""
    tenant = tenants.name_of(session, tenant_id)
    there = runtime.sources.of(tenant)
    if source not in there:
        raise SpecInvalid("source", source, f"no such source; known: {', '.join([BUILT_IN, *there])}. {IF_NEW}")
    return tenant


def reach(session: Session, runtime: Runtime, tenant_id: str, entity: Entity | Known, source: str | None) -> Place | Config:
    """For the web process: where the entity's rows are, or what the source says of itself where only a worker can read its kind.

    Raises as `at` does.
    """
    if is_outside(source):
        require(session, runtime, tenant_id, source)
        config = runtime.sources.configs[str(source)]
        if not config.light:
            return config
    return at(session, runtime, tenant_id, entity, source)


def is_unmeasured(place: Place) -> bool:
    """Whether who asked for the job could not look there: what it needs is for the worker to see."""
    return isinstance(place, Outside) and not place.config.light
