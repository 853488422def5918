"""The intake: a job that is asked for is written down, once, if there is room for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from db.errors import KeyReused, NotFound, OverQuota, Saturated
from db.models import QUEUED, UNFINISHED, IdempotencyKey, Job, Json, new_id
from db.session import ask, to_json

_ROOM = "SELECT allowed, held, waiting FROM room_for_jobs(%(tenant_id)s, %(queue)s)"

# The rest is as the table says for every new job. (Written out: as an expression, and read back whole through the ORM, it took 2 ms more.)
_INSERT_UNLESS_TWIN = """
INSERT INTO jobs (
  id, tenant_id, kind, queue, spec, spec_hash, label, max_attempts, entity_id, model_id, shape_key, priority, retry_of, client_metadata,
  deadline_at
) SELECT
  %(id)s, %(tenant_id)s, %(kind)s, %(queue)s, %(spec)s::jsonb, %(spec_hash)s, %(label)s, %(max_attempts)s, %(entity_id)s::bigint,
  %(model_id)s, %(shape_key)s, %(priority)s, %(retry_of)s, %(client_metadata)s::jsonb,
  clock_timestamp() + make_interval(secs => %(deadline_s)s::double precision)
WHERE {fits}
ON CONFLICT (model_id, kind, spec_hash) WHERE state IN ('queued', 'running') AND parent_id IS NULL AND NOT cancel_requested DO NOTHING
RETURNING created_at, available_at, deadline_at
"""
# One statement, so that the tenant's lock is not held while a client that is busy gets round to the next one.
_IF_THERE_IS_ROOM = """
WITH room AS MATERIALIZED ({room}), made AS ({insert})
SELECT allowed, held, waiting, created_at, available_at, deadline_at FROM room LEFT JOIN made ON true
"""
_SUBMIT = _INSERT_UNLESS_TWIN.format(fits="true")
_PLACE = _IF_THERE_IS_ROOM.format(
    room=_ROOM, insert=_INSERT_UNLESS_TWIN.format(fits="(SELECT held < allowed AND waiting < %(max_queue)s FROM room)")
)

_FIRST = """
INSERT INTO idempotency_keys (tenant_id, route, key, request_sha256, job_id) VALUES (%(tenant)s, %(route)s, %(key)s, %(sha256)s, '')
ON CONFLICT DO NOTHING RETURNING key
"""
_REMEMBER = """
UPDATE idempotency_keys SET job_id = %(job)s
WHERE tenant_id = %(tenant)s AND route = %(route)s AND key = %(key)s AND request_sha256 = %(sha256)s RETURNING job_id
"""


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


class Recalled(NamedTuple):
    """What a request was answered with when it came for the first time, and when that was."""

    job: Job
    asked_at: datetime


def place(session: Session, new: NewJob, *, max_queue: int, id_: str | None = None) -> Placed:
    """`admit` and `submit` in one statement: what a request for one job needs. `id_` is what a new job will be known by."""
    id_ = id_ or new_id("job")
    while True:
        [(allowed, held, waiting, *moments)] = ask(session, _PLACE, _given(id_, new) | {"max_queue": max_queue})
        _require_room(new.tenant_id, new.queue, 1, allowed, held, waiting, max_queue)
        if moments[0] is not None:
            return Placed(_made(id_, new, *moments), False, waiting)
        twin = _twin(session, new)
        if twin is not None:
            return Placed(twin, True, waiting)


def submit(session: Session, new: NewJob) -> tuple[Job, bool]:
    """The job and False, or the unfinished twin that asks for the same and True. `admit` it first.

    A twin is an unfinished job of the same model, kind and spec that nobody wants cancelled (the index `single_flight`).
    """
    while True:
        id_ = new_id("job")
        for moments in ask(session, _SUBMIT, _given(id_, new)):
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


def recall(session: Session, tenant_id: str, route: str, key: str, request_sha256: str) -> Recalled | None:
    """The job that this Idempotency-Key was answered with, or None for a new key. KeyReused when the body was another.

    Call it before anything else in the transaction, and after None `remember` the job before the end. It writes the key first, with no job
    (its foreign key waits for the commit): a concurrent twin blocks on that row until the first one's commit and then finds its job,
    or until its rollback and then is the first itself. So a refused request leaves no key behind.
    """
    while not ask(session, _FIRST, {"tenant": tenant_id, "route": route, "key": key, "sha256": request_sha256}):
        known = session.execute(
            select(IdempotencyKey.request_sha256, IdempotencyKey.job_id, IdempotencyKey.created_at).where(_key(tenant_id, route, key))
        ).one_or_none()
        if known is None:
            continue  # it was purged between the two statements
        if known.request_sha256 != request_sha256:
            raise KeyReused(key)
        job = session.scalars(select(Job).where(Job.id == known.job_id).execution_options(populate_existing=True)).one()
        return Recalled(job, known.created_at)
    return None


def remember(session: Session, tenant_id: str, route: str, key: str, request_sha256: str, job_id: str) -> None:
    """Give the key that `recall` wrote its job, also when that is a twin's. Without this the commit is refused."""
    ask(session, _REMEMBER, {"tenant": tenant_id, "route": route, "key": key, "sha256": request_sha256, "job": job_id})


def remembers(session: Session, tenant_id: str, route: str, key: str, job_id: str) -> bool:
    """Whether this key is on record with this job."""
    held = select(IdempotencyKey.job_id).where(_key(tenant_id, route, key), IdempotencyKey.job_id == job_id)
    return session.scalar(held) is not None


def _key(tenant_id: str, route: str, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyKey.tenant_id == tenant_id, IdempotencyKey.route == route, IdempotencyKey.key == key)


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


def _given(id_: str, new: NewJob) -> dict[str, Any]:
    """As the driver takes it."""
    plain = new.columns()
    return plain | {"id": id_, "spec": to_json(plain["spec"]), "client_metadata": to_json(plain["client_metadata"])}


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
