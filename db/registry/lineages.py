"""Lineages: models made where they are missing, found by whom they are of, and listed with what serves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from db.models import Entity, Model, Version, new_ids
from db.registry.rows import newest_first, require
from db.session import ask, to_json, together

#: Which lineage: (entity id, name).
Lineage = tuple[int, str]

_MODELS = """
SELECT entity_id, name, id FROM models
WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND entity_id = ANY(%(entities)s::bigint[]) AND name = ANY(%(names)s::text[])
"""

_MAKE = """
INSERT INTO models (id, tenant_id, kind, entity_id, name)
SELECT id, %(tenant)s, %(kind)s, entity_id, name
FROM jsonb_to_recordset(%(missing)s::jsonb) AS made (id text, entity_id bigint, name text)
ON CONFLICT DO NOTHING RETURNING entity_id, name, id
"""


@dataclass(frozen=True, slots=True)
class Heads:
    """What a list of models shows of each."""

    entity: str
    active: Version | None
    latest: Version | None


def ensure_model(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Model:
    """The lineage, made where missing."""
    found = find_model(session, tenant_id, entity_id, name, kind)
    if found is not None:
        return found
    new = insert(Model).values(tenant_id=tenant_id, entity_id=entity_id, name=name, kind=kind)
    made: Model | None = session.scalar(new.on_conflict_do_nothing().returning(Model))
    # Neither found nor made: somebody else made it in between, and committed; or it is another tenant's.
    return require(made or find_model(session, tenant_id, entity_id, name, kind), "entity", str(entity_id))


def ensure_models(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """The lineages of many (entity id, name), made where missing, as model ids. One statement however many there are."""
    known = find_models(session, tenant_id, wanted, kind)
    missing = sorted(set(wanted) - known.keys())  # in order, so that two that make the same ones wait for each other in a row
    if not missing:
        return known
    together(session)
    ids = zip(missing, new_ids("mdl", len(missing)), strict=True)
    rows = [{"id": id_, "entity_id": entity_id, "name": name} for (entity_id, name), id_ in ids]
    made = ask(session, _MAKE, {"tenant": tenant_id, "kind": kind, "missing": to_json(rows)})  # as arrays they take three times as long
    known |= {(entity_id, name): model_id for entity_id, name, model_id in made}
    return known if len(made) == len(missing) else find_models(session, tenant_id, wanted, kind)  # others made some meanwhile


def find_models(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """Those of the lineages that there are."""
    asked = {"entities": [entity_id for entity_id, _ in wanted], "names": list({name for _, name in wanted})}
    found = ask(session, _MODELS, {"tenant": tenant_id, "kind": kind, **asked})
    return {(entity_id, name): model_id for entity_id, name, model_id in found}


def find_model(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Model | None:
    return session.scalar(sa.select(Model).filter_by(tenant_id=tenant_id, entity_id=entity_id, kind=kind, name=name))


def get_model(session: Session, tenant_id: str, model_id: str) -> Model:
    return require(session.scalar(sa.select(Model).where(Model.tenant_id == tenant_id, Model.id == model_id)), "model", model_id)


def models(
    session: Session,
    tenant_id: str,
    *,
    entity: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    limit: int,
    after: str | None = None,
) -> list[Model]:
    """Oldest first (ids sort by time). `entity` is its name; `after` is the id of the last model of the page before."""
    asked = sa.select(Model).where(Model.tenant_id == tenant_id)
    if entity is not None:
        named = sa.select(Entity.id).where(Entity.tenant_id == tenant_id, Entity.name == entity)
        asked = asked.where(Model.entity_id == named.scalar_subquery())
    if name is not None:
        asked = asked.where(Model.name == name)
    if kind is not None:
        asked = asked.where(Model.kind == kind)
    if after is not None:
        asked = asked.where(Model.id > after)
    return list(session.scalars(asked.order_by(Model.id).limit(limit)))


def heads(session: Session, models: Sequence[Model]) -> dict[str, Heads]:
    """The entity's name, the active and the latest version of each model, by the model's id."""
    ids = [model.id for model in models]
    named = sa.select(Model.id, Entity.name).join(Entity, Entity.id == Model.entity_id).where(Model.id.in_(ids))
    active = {v.model_id: v for v in session.scalars(sa.select(Version).where(Version.model_id.in_(ids), Version.active))}
    newest = sa.select(Version).ext(distinct_on(Version.model_id)).where(Version.model_id.in_(ids))
    latest = {v.model_id: v for v in session.scalars(newest.order_by(Version.model_id, *newest_first()))}
    return {id_: Heads(entity, active.get(id_), latest.get(id_)) for id_, entity in session.execute(named)}
