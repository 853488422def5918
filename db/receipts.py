"""Receipts of erasures: how much of an entity there was in which table, and whether every store has followed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, Table, exists, func, select, update
from sqlalchemy.orm import Session

from db.audit import By
from db.errors import NotFound
from db.models import (
    Attempt,
    AuditEntry,
    Base,
    Entity,
    Erasure,
    IdempotencyKey,
    Job,
    Login,
    Receipt,
    Schedule,
    ScheduleRun,
    Webhook,
    new_id,
)

#: Receipts that one round takes up. What is left waits for the next.
LIMIT = 100
#: Tables whose rows stay when an entity leaves, and why they may. Rows of every other table leave with it, and a test sees to that.
STAYING: Mapping[str, str] = {
    "tenants": "of its owner",
    "api_keys": "of its owner",
    Login.__tablename__: "of its owner's keys",
    Webhook.__tablename__: "of its owner; what they were told of the entity leaves",
    Job.__tablename__: "scrubbed of all that tells of it",
    Attempt.__tablename__: "scrubbed of what went wrong",
    IdempotencyKey.__tablename__: "those of its jobs are deleted, for clients put names into them",
    Schedule.__tablename__: "of its owner; whom it names stands in rows that leave",
    ScheduleRun.__tablename__: "scrubbed of what went wrong",
    Erasure.__tablename__: "ids that Redis is to forget",
    Receipt.__tablename__: "counts, and its hashed name",
    AuditEntry.__tablename__: "ids, numbers of versions and scopes; of its erasure the receipt's id",
}


def leaving(entity_id: int) -> dict[str, ColumnElement[bool]]:
    """Which rows of which table leave with an entity. Read from the foreign keys, so no new table is forgotten."""
    found = {table.name: _hanging_on(table, entity_id) for table in Base.metadata.sorted_tables}
    return {name: which for name, which in found.items() if which is not None}


def _hanging_on(table: Table, entity_id: int) -> ColumnElement[bool] | None:
    """Which rows of a table are deleted with an entity; None: its foreign keys do not lead to one."""
    if table.name == Entity.__tablename__:
        return table.c.id == entity_id
    for key in table.foreign_key_constraints:
        leads = key.ondelete == "CASCADE" and key.referred_table is not table
        above = _hanging_on(key.referred_table, entity_id) if leads else None
        if above is not None:
            here, there = next((e.parent, e.column) for e in key.elements if e.parent.name != "tenant_id")
            return here == entity_id if there.table.name == Entity.__tablename__ else here.in_(select(there).where(above))
    return None


def count(session: Session, entity: Entity) -> dict[str, int]:
    """What is there of the entity now, by table. Empty ones are left out."""
    counts = (
        select(func.count()).select_from(Base.metadata.tables[name]).where(which).scalar_subquery().label(name)
        for name, which in leaving(entity.id).items()
    )
    row = session.execute(select(*counts)).one()
    return {name: number for name, number in row._mapping.items() if number}


def write(session: Session, entity: Entity, erased: Mapping[str, int], erasure: Erasure, artefacts: Collection[str], by: By) -> Receipt:
    """Of an erasure in this very transaction."""
    id_ = new_id("ers")
    receipt = Receipt(
        id=id_,
        tenant_id=entity.tenant_id,
        entity_sha256=hashed(id_, entity.name),
        erased_by=by.actor,
        request_id=by.request_id,
        erased={**erased, "artefacts": len(artefacts)},
        erasure_id=erasure.id,
        artefacts=sorted(artefacts),
    )
    session.add(receipt)
    session.flush()
    return receipt


def hashed(receipt_id: str, name: str) -> str:
    """The name as a receipt has it. The receipt's id is its salt."""
    return hashlib.sha256(f"{receipt_id}:{name}".encode()).hexdigest()


def get(session: Session, tenant_id: str, receipt_id: str) -> Receipt:
    found = session.scalar(select(Receipt).where(Receipt.tenant_id == tenant_id, Receipt.id == receipt_id))
    if found is None:
        raise NotFound("erasure", receipt_id)
    return found


def page(session: Session, tenant_id: str, *, limit: int, before: str | None = None) -> list[Receipt]:
    """Newest first (ids sort by time). `before` is the id of the last one of the page before."""
    asked = select(Receipt).where(Receipt.tenant_id == tenant_id).order_by(Receipt.id.desc()).limit(limit)
    return list(session.scalars(asked if before is None else asked.where(Receipt.id < before)))


def undone(session: Session) -> Sequence[Receipt]:
    """Those whose stores have not all followed, oldest first."""
    return session.scalars(select(Receipt).where(Receipt.done_at.is_(None)).order_by(Receipt.id).limit(LIMIT)).all()


def leave(session: Session, receipt_id: str, artefacts: Collection[str]) -> None:
    """Of its artefacts only these still lie on the disk."""
    session.execute(update(Receipt).where(Receipt.id == receipt_id).values(artefacts=sorted(artefacts)))


def finish(session: Session) -> int:
    """Note those as done that every store has followed. How many."""
    waits = exists().where(Erasure.id == Receipt.erasure_id)
    over = update(Receipt).where(Receipt.done_at.is_(None), func.cardinality(Receipt.artefacts) == 0, ~waits)
    stamped = over.values(done_at=func.clock_timestamp()).returning(Receipt.id)
    return len(session.execute(stamped, execution_options={"synchronize_session": False}).all())
