"""The intake of batches: a parent and its thousands of children are written down in two statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Double, TableValuedAlias, column, func, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from db.ledger.intake import NewJob
from db.ledger.moves import from_now, jobs
from db.models import RUNNING, Job, new_id, new_ids


def submit_batch(session: Session, parent: NewJob, children: Sequence[NewJob]) -> Job:
    """The parent: running from the start and without a lease, until its last child ends. Children keep their order in their ids."""
    if not children:
        raise ValueError("A batch needs at least one item.")
    job = _parent(session, parent, len(children))
    columns = dict(zip(NewJob._fields, zip(*children, strict=True), strict=True))
    common = {name: values[0] for name, values in columns.items() if values.count(values[0]) == len(values)}
    differing = {name: values for name, values in columns.items() if name not in common}
    given = _given({"id": new_ids("job", len(children)), **differing})
    told: dict[str, ColumnElement[Any]] = {name: literal(value, _TYPES[name]) for name, value in common.items()}
    told |= {name: given.c[name] for name in ("id", *differing)}
    nothing = literal({}, JSONB)
    told["spec"] = told["spec"].concat(func.coalesce(told.pop("own"), nothing))
    told["client_metadata"] = func.coalesce(told["client_metadata"], nothing)
    _insert(session, job, told.pop("deadline_s"), told)
    return job


def submit_again(session: Session, parent: NewJob, originals: Sequence[str]) -> Job:
    """The parent of a batch whose children ask for the same as these jobs, in their order. What they ask for stays in Postgres."""
    job = _parent(session, parent, len(originals))
    given = _given({"id": new_ids("job", len(originals)), "retry_of": originals})
    old = select(jobs).join(given, jobs.c.id == given.c.retry_of).add_columns(given.c.id.label("new_id")).subquery()
    told = {name: old.c[name] for name in _SAME} | {"id": old.c.new_id, "retry_of": old.c.id}
    _insert(session, job, literal(parent.deadline_s, Double()), told)
    return job


#: What a job that asks for the same as another has from it.
_SAME = [name for name in NewJob._fields if name in jobs.c and name != "retry_of"]
#: How each member of a NewJob is written.
_TYPES = {name: column.type for name, column in jobs.c.items()} | {"deadline_s": Double(), "spec": JSONB()}
_TYPES |= dict.fromkeys(["client_metadata", "own"], JSONB(none_as_null=True))


def _parent(session: Session, new: NewJob, children: int) -> Job:
    plain = new.columns() | {"model_id": None, "shape_key": None}
    deadline = from_now(plain.pop("deadline_s"))
    family = {"state": RUNNING, "children": children, "pending_children": children, "started_at": func.clock_timestamp()}
    values = plain | family | {"id": new_id("job"), "deadline_at": deadline}
    return session.scalars(insert(Job).values(values).returning(Job)).one()


def _given(columns: Mapping[str, Sequence[Any]]) -> TableValuedAlias:
    """A table of what differs from child to child, in one argument: twice as fast for thousands of rows as a list of inserts."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    recordset = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(*(column(name, _TYPES[name]) for name in columns))
    return recordset.render_derived(name="given", with_types=True)


def _insert(session: Session, parent: Job, deadline_s: ColumnElement[Any], told: Mapping[str, ColumnElement[Any]]) -> None:
    whole = dict(told) | {"parent_id": literal(parent.id), "deadline_at": from_now(deadline_s)}
    session.execute(insert(jobs).from_select(list(whole), select(*whole.values())))
