"""Entities and their channels: whom and what the observations are about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import audit, erasures, receipts
from db.audit import OPERATOR, By
from db.errors import NotFound
from db.ledger.moves import move
from db.models import (
    CANCELLED,
    MEASURING_KIND,
    UNFINISHED,
    Attempt,
    Channel,
    Entity,
    Erasure,
    IdempotencyKey,
    Job,
    Model,
    Receipt,
    ScheduleEntity,
    ScheduleRun,
    Version,
)
from db.selectors import means
from db.session import ask, to_json


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """What a client says about a channel; what it leaves None is unknown."""

    name: str
    unit: str | None = None
    #: `higher` or `lower`: which way is better.
    direction: str | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None


class Known(NamedTuple):
    """An entity as whoever only refers to it needs it."""

    id: int
    name: str
    kind: str | None


class Erased(NamedTuple):
    """What is left to do outside Postgres, after commit."""

    #: Artefacts nobody refers to any more, to be removed.
    artefacts: set[str]
    #: What Redis is to forget. It is also a row, so that it is done even if this process ends first.
    erasure: Erasure
    receipt: Receipt


_NAMED = "SELECT id, name, kind FROM entities WHERE tenant_id = %(tenant)s AND name = ANY(%(names)s::text[])"
_MEANT = f"""
SELECT e.id, e.name, e.kind FROM entities e WHERE e.tenant_id = %(tenant)s AND {means("%(selector)s::jsonb")} ORDER BY e.name
"""  # noqa: S608  # of our own words alone


def put(
    session: Session,
    tenant_id: str,
    name: str,
    *,
    kind: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    channels: Sequence[ChannelInfo] = (),
) -> Entity:
    """Make the entity, or bring it up to date. What is None stays as it was; so does a channel that is not named."""
    given = {"kind": kind, "attributes": None if attributes is None else dict(attributes)}
    told = {field: value for field, value in given.items() if value is not None}
    statement = insert(Entity).values(tenant_id=tenant_id, name=name, **told)
    # Setting the name to itself changes nothing and yet locks and returns the row.
    statement = statement.on_conflict_do_update(index_elements=["tenant_id", "name"], set_={"name": name, **told})
    entity = session.scalars(statement.returning(Entity), execution_options={"populate_existing": True}).one()
    _put_channels(session, entity, channels)
    return entity


def _put_channels(session: Session, entity: Entity, channels: Sequence[ChannelInfo]) -> None:
    told = {c.name: asdict(c) for c in channels}  # of a channel told twice the last counts
    if not told:
        return
    ours = {"tenant_id": entity.tenant_id, "entity_id": entity.id}
    statement = insert(Channel).values([told[name] | ours for name in sorted(told)])
    facts = {field: statement.excluded[field] for field in ("unit", "direction", "lower_bound", "upper_bound")}
    session.execute(
        statement.on_conflict_do_update(index_elements=["entity_id", "name"], set_=facts).returning(Channel),
        execution_options={"populate_existing": True},
    )


def ensure(session: Session, tenant_id: str, names: Collection[str]) -> dict[str, Entity]:
    """The entities of these names, made where missing."""
    found = _held(session, tenant_id, names)
    missing = sorted(set(names) - found.keys())  # in order, so that two that make the same ones wait for each other in a row
    if not missing:
        return found
    session.execute(insert(Entity).values([{"tenant_id": tenant_id, "name": name} for name in missing]).on_conflict_do_nothing())
    return _held(session, tenant_id, names)


def _held(session: Session, tenant_id: str, names: Iterable[str]) -> dict[str, Entity]:
    statement = sa.select(Entity).where(Entity.tenant_id == tenant_id, Entity.name == sa.func.any(list(names)))
    return {entity.name: entity for entity in session.scalars(statement)}


def get(session: Session, tenant_id: str, name: str) -> Entity:
    entity = session.scalar(sa.select(Entity).where(Entity.tenant_id == tenant_id, Entity.name == name))
    if entity is None:
        raise NotFound("entity", name)
    return entity


def find_many(session: Session, tenant_id: str, names: Iterable[str]) -> dict[str, Known]:
    """Those of the named entities that exist, by name."""
    return {name: Known(id_, name, kind) for id_, name, kind in ask(session, _NAMED, {"tenant": tenant_id, "names": list(names)})}


def page(session: Session, tenant_id: str, *, limit: int, after: int | None = None, kind: str | None = None) -> list[Entity]:
    """Oldest first. `after` is the id of the last entity of the page before."""
    statement = sa.select(Entity).where(Entity.tenant_id == tenant_id)
    if after is not None:
        statement = statement.where(Entity.id > after)
    if kind is not None:
        statement = statement.where(Entity.kind == kind)
    return list(session.scalars(statement.order_by(Entity.id).limit(limit)))


def select(
    session: Session,
    tenant_id: str,
    *,
    kind: str | None = None,
    has_channel: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> list[Known]:
    """All entities that a selector means (`db.selectors`), by name."""
    selector = {"kind": kind, "has_channel": has_channel, "attributes": attributes}
    return [Known(*row) for row in ask(session, _MEANT, {"tenant": tenant_id, "selector": to_json(selector)})]


def channels(session: Session, entity_id: int) -> list[Channel]:
    """By name."""
    return list(session.scalars(sa.select(Channel).where(Channel.entity_id == entity_id).order_by(Channel.name)))


def channels_named(session: Session, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Channel]:
    """Those of the channels (entity id, name) that there are."""
    ids = [entity_id for entity_id, _ in wanted]
    asked = sa.select(Channel).where(Channel.entity_id.in_(ids), sa.tuple_(Channel.entity_id, Channel.name).in_(wanted))
    return {(channel.entity_id, channel.name): channel for channel in session.scalars(asked)}


def delete(session: Session, tenant_id: str, name: str, *, by: By = OPERATOR) -> Erased:
    """Erase the entity and all that hangs on it; its jobs stay, and tell nothing of it any more. `by`: for the receipt and the audit."""
    entity = get(session, tenant_id, name)
    _claim_measurements(session, entity)
    _lock_what_goes(session, entity)
    erasure = erasures.begin(session, entity)
    of_entity = sa.select(Model.id).where(Model.entity_id == entity.id)
    # Those of pruned versions too: they may lie there for an hour more.
    orphans = set(session.scalars(sa.select(Version.artefact_sha256).where(Version.model_id.in_(of_entity))))
    scrubbed = _scrub_jobs(session, entity)
    _scrub_runs(session, entity)
    erased = receipts.count(session, entity)
    session.delete(entity)
    session.flush()
    kept = sa.select(Version.artefact_sha256).where(Version.artefact_sha256.in_(orphans), Version.pruned_at.is_(None))
    orphans -= set(session.scalars(kept))
    receipt = receipts.write(session, entity, erased | scrubbed, erasure, orphans, by)
    audit.write(session, tenant_id, audit.ENTITY_ERASED, receipt.id, by)
    return Erased(orphans, erasure, receipt)


def _claim_measurements(session: Session, entity: Entity) -> None:
    """Jobs that measured it in a source before it was known here name it, and had no row of it to hang on: they are its own as well."""
    of_nobody = (Job.tenant_id == entity.tenant_id, Job.kind == sa.literal_column(f"'{MEASURING_KIND}'"), Job.entity_id.is_(None))
    named = sa.update(Job).where(*of_nobody, Job.spec["entity"].astext == entity.name).values(entity_id=entity.id)
    session.execute(named, execution_options={"synchronize_session": False})


def _lock_what_goes(session: Session, entity: Entity) -> None:
    """Jobs, then models, then the entity: the order in which a publication takes them, so that the two wait and never deadlock."""
    for table in (Job, Model):
        rows = sa.select(table.id).where(table.tenant_id == entity.tenant_id, table.entity_id == entity.id)
        session.execute(rows.order_by(table.id).with_for_update(key_share=True))
    session.execute(sa.select(Entity.id).where(Entity.id == entity.id).with_for_update())


def _scrub_jobs(session: Session, entity: Entity) -> dict[str, int]:
    """End the entity's jobs, so that a worker's fence is gone before it can write, and take what tells of it out of them (ABOUT_ENTITY).

    Returns how many there were, and how many Idempotency-Keys of theirs: these go, for a client may have put a name into them.
    """
    ours = sa.and_(Job.tenant_id == entity.tenant_id, Job.entity_id == entity.id)
    move(session, sa.and_(ours, Job.state.in_(UNFINISHED)), sa.literal(CANCELLED))
    attempts = sa.update(Attempt).where(Attempt.job_id.in_(sa.select(Job.id).where(ours))).values(error=sa.null())
    session.execute(attempts, execution_options={"synchronize_session": False})
    keys = sa.delete(IdempotencyKey).where(
        IdempotencyKey.tenant_id == entity.tenant_id, IdempotencyKey.job_id.in_(sa.select(Job.id).where(ours))
    )
    forgotten = session.execute(keys.returning(IdempotencyKey.job_id), execution_options={"synchronize_session": False}).all()
    blank = {"label": "erased", "spec": {}, "spec_hash": "erased", "progress": {}, "warnings": [], "client_metadata": {}}
    gone = dict.fromkeys(("entity_id", "model_id", "result", "error"), sa.null())
    scrub = sa.update(Job).where(ours).values(**blank, **gone).returning(Job.id)
    scrubbed = session.execute(scrub, execution_options={"synchronize_session": False}).all()
    return {"jobs": len(scrubbed), "idempotency_keys": len(forgotten)}


def _scrub_runs(session: Session, entity: Entity) -> None:
    """Take what may tell of the entity out of the runs of schedules that name it. The schedules themselves lose its name with its row."""
    about = sa.select(ScheduleEntity.schedule_id).where(ScheduleEntity.entity_id == entity.id)
    told = sa.update(ScheduleRun).where(ScheduleRun.schedule_id.in_(about), ScheduleRun.error.is_not(None))
    session.execute(told.values(error=sa.null()), execution_options={"synchronize_session": False})
