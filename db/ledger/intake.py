"""The intake: a job that is asked for is written down, once, if there is room for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import NotFound, OverQuota, Saturated
from db.models import QUEUED, UNFINISHED, Job, Json, new_id
from db.session import ask, to_json

_ROOM = "SELECT allowed, held, waiting FROM room_for_jobs(%(tenant_id)s, %(queue)s)"

# What is asked for comes as one parameter, so that the statement is the same for one job and for a hundred, and stays prepared.
_ASKED = """
SELECT * FROM jsonb_to_recordset(%(asked)s::jsonb) AS asked (
  n int, id text, kind text, spec jsonb, spec_hash text, label text, max_attempts int, entity_id bigint, model_id text, shape_key text,
  priority int, retry_of text, client_metadata jsonb, deadline_s double precision
)
"""
# The rest is as the table says for every new job. (Written out: as an expression, and read back whole through the ORM, it took 2 ms more.)
_INSERT_UNLESS_TWIN = """
INSERT INTO jobs (
  id, tenant_id, kind, queue, spec, spec_hash, label, max_attempts, entity_id, model_id, shape_key, priority, retry_of, client_metadata,
  deadline_at
) SELECT
  id, %(tenant_id)s, kind, %(queue)s, spec, spec_hash, label, max_attempts, entity_id, model_id, shape_key, priority, retry_of,
  client_metadata, clock_timestamp() + make_interval(secs => deadline_s)
FROM asked WHERE {fits} ORDER BY n
ON CONFLICT (model_id, kind, spec_hash) WHERE state IN ('queued', 'running') AND parent_id IS NULL AND NOT cancel_requested DO NOTHING
RETURNING id, created_at, available_at, deadline_at
"""
# One statement, so that the tenant's lock is not held while a client that is busy gets round to the next one.
_IF_THERE_IS_ROOM = """
WITH room AS MATERIALIZED ({room}), asked AS MATERIALIZED ({asked}), made AS ({insert})
SELECT allowed, held, waiting, id, created_at, available_at, deadline_at FROM room LEFT JOIN made ON true
"""
_SUBMIT = f"WITH asked AS ({_ASKED}) {_INSERT_UNLESS_TWIN.format(fits='true')}"
_PLACE = _IF_THERE_IS_ROOM.format(
    room=_ROOM,
    asked=_ASKED,
    insert=_INSERT_UNLESS_TWIN.format(fits="(SELECT n < allowed - held AND n < %(max_queue)s - waiting FROM room)"),
)


class NewJob(NamedTuple):
    """A job before it is written down; the fields are those of `db.models.Job`."""

    tenant_id: str
    kind: str
    queue: str
    spec: Json
    spec_hash: str
    label: str
    max_attempts: int
    #: Seconds from now to the deadline; None for no deadline.
    deadline_s: float | None
    entity_id: int | None = None
    model_id: str | None = None
    shape_key: str | None = None
    priority: int = 0
    retry_of: str | None = None
    #: None for none.
    client_metadata: Json | None = None
    #: Members that `spec` lacks: thousands of a batch can share the rest of theirs.
    own: Json | None = None

    def columns(self) -> dict[str, Any]:
        """By column, with the whole spec; and `deadline_s`."""
        plain = self._asdict()
        own = plain.pop("own") or {}
        return plain | {"spec": self.spec | own, "client_metadata": self.client_metadata or {}}


class Placed(NamedTuple):
    """A job that was let in: the new one, or the twin that stood already."""

    job: Job
    deduplicated: bool
    #: How many waited in its queue before.
    waiting: int


def place(session: Session, new: NewJob, *, max_queue: int, id_: str | None = None) -> Placed:
    """`admit` and `submit` in one statement: what a request for one job needs. `id_` is what a new job will be known by."""
    id_ = id_ or new_id("job")
    while True:
        placed, waiting = _place(session, {id_: new}, max_queue)
        for job in placed:
            return Placed(job, False, waiting)
        twin = _twin(session, new)
        if twin is not None:
            return Placed(twin, True, waiting)


def place_together(session: Session, asked: Mapping[str, NewJob], *, max_queue: int) -> dict[str, Placed]:
    """Requests of one tenant for one queue that came at once, in one statement: by the id that each new job will be known by.

    Who is missing in the answer is not written: a twin stands already, or the room ended before it. `place` tells which. Each waits behind
    those before it. Raises OverQuota, Saturated, NotFound when there is room for none.
    """
    placed, waiting = _place(session, asked, max_queue)
    made = {job.id: job for job in placed}
    return {id_: Placed(made[id_], False, waiting + before) for before, id_ in enumerate(id_ for id_ in asked if id_ in made)}


def _place(session: Session, asked: Mapping[str, NewJob], max_queue: int) -> tuple[list[Job], int]:
    """Those that are new, and how many waited in the queue before."""
    first = next(iter(asked.values()))
    found = ask(session, _PLACE, _given(asked) | {"max_queue": max_queue})
    allowed, held, waiting, *_ = found[0]
    _require_room(first.tenant_id, first.queue, 1, allowed, held, waiting, max_queue)
    return [_made(id_, asked[id_], *moments) for _, _, _, id_, *moments in found if id_ is not None], int(waiting)


def submit(session: Session, new: NewJob) -> tuple[Job, bool]:
    """The job and False, or the unfinished twin that asks for the same and True. `admit` it first.

    A twin is an unfinished job of the same model, kind and spec that nobody wants cancelled (the index `single_flight`).
    """
    while True:
        for id_, *moments in ask(session, _SUBMIT, _given({new_id("job"): new})):
            return _made(id_, new, *moments), False
        twin = _twin(session, new)
        if twin is not None:
            return twin, True


def admit(session: Session, tenant_id: str, queue: str, count: int, *, max_queue: int) -> int:
    """How many wait in the queue. Refuses `count` more jobs with OverQuota or Saturated when there is no room for them.

    The tenant's row stays locked, so its quota is exact. The queue's is shared by all tenants and may be passed by as many
    as ask in the same instant. Parents do no work and are not counted.
    """
    [(allowed, held, waiting)] = ask(session, _ROOM, {"tenant_id": tenant_id, "queue": queue})
    _require_room(tenant_id, queue, count, allowed, held, waiting, max_queue)
    return int(waiting)


def _require_room(tenant_id: str, queue: str, count: int, allowed: int | None, held: int, waiting: int, max_queue: int) -> None:
    if allowed is None:
        raise NotFound("tenant", tenant_id)
    if held + count > allowed:
        raise OverQuota(held, allowed)
    if waiting + count > max_queue:
        raise Saturated(queue, waiting, max_queue)


def _twin(session: Session, new: NewJob) -> Job | None:
    """The one that stood in the way. None when it ended meanwhile: the way is free now."""
    twin = select(Job).where(
        Job.tenant_id == new.tenant_id,
        Job.model_id == new.model_id,
        Job.kind == new.kind,
        Job.spec_hash == new.spec_hash,
        Job.state.in_(UNFINISHED),
        Job.parent_id.is_(None),
        Job.cancel_requested.is_(False),
    )
    return session.scalars(twin.execution_options(populate_existing=True)).one_or_none()


def _given(asked: Mapping[str, NewJob]) -> dict[str, Any]:
    """As the driver takes it: all of one tenant and queue."""
    first = next(iter(asked.values()))
    rows = to_json([{"n": n, "id": id_, **new.columns()} for n, (id_, new) in enumerate(asked.items())])
    return {"tenant_id": first.tenant_id, "queue": first.queue, "asked": rows}


def _made(id_: str, new: NewJob, created_at: datetime, available_at: datetime, deadline_at: datetime | None) -> Job:
    """The job as it was just written, without reading it back."""
    told = {name: value for name, value in new.columns().items() if name != "deadline_s"}
    fresh = {"state": QUEUED, "rev": 1, "progress": {}, "warnings": [], "attempt": 0, "crashes": 0, "dispatch_no": 0}
    asked = {"cancel_requested": False, "drain_requested": False}
    moments = {"created_at": created_at, "available_at": available_at, "deadline_at": deadline_at}
    job = Job()
    # No session will write it again. Set one by one, as changes to be written, its members take as long as a statement.
    vars(job).update(id=id_, **told, **fresh, **asked, **moments)
    return job
