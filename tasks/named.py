"""Whom a request names: entities by their names, made where only a source knows them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db import entities
from db.entities import Known
from db.errors import NotFound
from ml.errors import SpecInvalid
from tasks.orders import BASE, PretrainOrder, TrainOrder
from tasks.runtime import Runtime
from tasks.sources import is_outside, require


def require_free(session: Session, tenant_id: str, name: str) -> None:
    """A base must not move in with an entity that has observations and models of its own."""
    there = entities.find_many(session, tenant_id, [name]).get(name)
    if there is not None and there.kind != BASE:
        raise SpecInvalid("name", name, f"an entity of this name is there, of kind {there.kind or 'none'}; give the base a name of its own")


def learned_from(session: Session, runtime: Runtime, tenant_id: str, order: TrainOrder | PretrainOrder) -> list[Known]:
    """Whom a training learns from. Raises NotFound, SpecInvalid for a source that the tenant has not."""
    require(session, runtime, tenant_id, order.source)
    return entities_named(session, tenant_id, order.entities, made=is_outside(order.source))


def entities_named(session: Session, tenant_id: str, names: Sequence[str], *, made: bool = False) -> list[Known]:
    """All of them, in the order named; those that are missing are made, or NotFound for the first of them."""
    if made:
        entities.ensure(session, tenant_id, names)
    found = entities.find_many(session, tenant_id, names)
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise NotFound("entity", missing)
    return [found[name] for name in dict.fromkeys(names)]
