"""Who answers: the version that serves, or the one that was pinned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from db.errors import Conflict, NoActiveVersion
from db.models import Entity, Json, Model, Version
from db.registry.lineages import Lineage
from db.registry.rows import FRESH, numbers, require
from db.session import ask

_ANSWERING = """
SELECT e.id, e.data_rev, m.id, v.id, concat_ws('.', v.major, v.minor, v.patch), v.spec, v.source, v.pruned_at, f.made_at
FROM entities e
LEFT JOIN models m ON m.entity_id = e.id AND m.kind = %(kind)s AND m.name = %(name)s
LEFT JOIN versions v ON v.model_id = m.id AND CASE
  WHEN %(major)s::integer IS NULL THEN v.active
  ELSE (v.major, v.minor, v.patch) = (%(major)s::integer, %(minor)s::integer, %(patch)s::integer)
END
LEFT JOIN forecasts f ON f.version_id = v.id AND f.target = %(name)s AND f.data_rev = e.data_rev
  AND f.horizon = coalesce(%(horizon)s::integer, (v.spec->>'horizon')::integer)
  AND f.level = coalesce(%(level)s::double precision, (v.spec->>'level')::double precision)
WHERE e.tenant_id = %(tenant)s AND e.name = %(entity)s
"""

_SOURCES = """
SELECT m.entity_id, m.name, v.source FROM models m JOIN versions v ON v.model_id = m.id AND v.active AND v.source IS NOT NULL
WHERE m.tenant_id = %(tenant)s AND m.kind = %(kind)s AND m.entity_id = ANY(%(entities)s::bigint[]) AND m.name = ANY(%(names)s::text[])
"""


@dataclass(frozen=True, slots=True)
class Answering:
    """Which version answers for an entity and a model, and how far the entity's data have come."""

    entity_id: int
    data_rev: int
    model_id: str
    version_id: str
    semver: str
    spec: Json
    #: Where its training read; None is the built-in store.
    source: str | None
    #: When a forecast of these steps at this level was made by this version from all the data there are; None: it was not.
    made_at: datetime | None


def sources(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """Where the active versions of these lineages read, of those that do not read our own observations."""
    asked = {"entities": list({entity_id for entity_id, _ in wanted}), "names": list({name for _, name in wanted})}
    found = ask(session, _SOURCES, {"tenant": tenant_id, "kind": kind, **asked})
    return {(entity_id, name): source for entity_id, name, source in found}


def active(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Version | None:
    """The version that serves, if any was ever made active."""
    asked = sa.select(Version).join(Model, Model.id == Version.model_id).where(Version.active)
    return session.scalar(asked.where(Model.tenant_id == tenant_id, Model.entity_id == entity_id, Model.kind == kind, Model.name == name))


def answering(
    session: Session,
    tenant_id: str,
    entity: str,
    name: str,
    semver: str | None,
    kind: str = "forecast",
    *,
    horizon: int | None = None,
    level: float | None = None,
) -> Answering:
    """The pinned version, else the active one: one statement for the one question that every prediction begins with.

    `horizon` and `level` are those of the forecast that is asked for, where they are not the version's own.

    Raises NotFound for the entity, the model or the version; NoActiveVersion where nothing was pinned and nothing is active; Conflict for a
    pruned one.
    """
    major, minor, patch = (None, None, None) if semver is None else numbers(semver)
    pinned = {"major": major, "minor": minor, "patch": patch}
    given = {"tenant": tenant_id, "entity": entity, "kind": kind, "name": name, "horizon": horizon, "level": level, **pinned}
    row = require(next(iter(ask(session, _ANSWERING, given)), None), "entity", entity)
    entity_id, data_rev, model_id, version_id, number, spec, source, pruned_at, made_at = row
    if semver is None and version_id is None:
        raise NoActiveVersion(entity, name)
    require(model_id, "model", f"{entity} {name}")
    require(version_id, "version", str(semver))
    if pruned_at is not None:
        raise Conflict("version_pruned", f"Version {semver} was pruned; its artefact is gone.")
    return Answering(entity_id, data_rev, model_id, version_id, number, spec, source, made_at)


def answering_many(session: Session, tenant_id: str, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], tuple[Entity, Version]]:
    """The entity and the active version of each (entity, name of the model), by one statement. Those that have none are left out.

    Of the versions only what a forecast is made by: their metrics are read when asked for.
    """
    pairs = sa.tuple_(Entity.name, Model.name).in_(wanted)
    asked = sa.select(Entity, Model.name, Version).join(Model, Model.entity_id == Entity.id).join(Version, Version.model_id == Model.id)
    asked = asked.where(Entity.tenant_id == tenant_id, Entity.name.in_([entity for entity, _ in wanted]), pairs)
    asked = asked.where(Model.kind == "forecast", Version.active).options(defer(Version.metrics), defer(Version.gate))
    rows = session.execute(asked, execution_options=FRESH)
    return {(entity.name, name): (entity, version) for entity, name, version in rows}
