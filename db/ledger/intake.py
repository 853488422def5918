"""The intake: what is asked for is written down, once, if there is room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Double, Insert, and_, column, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from db.errors import KeyReused, NotFound, OverQuota, Saturated
from db.ledger.moves import from_now, jobs
from db.models import QUEUED, RUNNING, UNFINISHED, IdempotencyKey, Job, Json, Tenant, new_id


@dataclass(frozen=True, kw_only=True)
class NewJob:
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
    client_metadata: Json = field(default_factory=dict)


def submit(session: Session, new: NewJob) -> tuple[Job, bool]:
    """The job and False, or the unfinished twin that asks for the same and True.

    A twin is an unfinished job of the same model, kind and spec that nobody wants cancelled (the index `single_flight`).
    """
    while True:
        job = session.scalars(_insert_unless_twin(new)).one_or_none()
        if job is not None:
            return job, False
        twin = session.scalars(select(Job).where(*_twin_of(new)).execution_options(populate_existing=True)).one_or_none()
        if twin is not None:
            return twin, True
        # The twin ended between the two statements: the way is free now.


def submit_batch(session: Session, parent: NewJob, children: Sequence[NewJob]) -> Job:
    """The parent: running from the start and without a lease, until its last child ends. Children keep their order in their ids."""
    if not children:
        raise ValueError("A batch needs at least one item.")
    head = replace(parent, model_id=None, shape_key=None)
    family = {"state": RUNNING, "children": len(children), "pending_children": len(children)}
    values = {"id": new_id("job"), **_row(head), **family, "started_at": func.clock_timestamp()}
    job = session.scalars(insert(Job).values(values).returning(Job)).one()
    ids = sorted(new_id("job") for _ in children)
    session.execute(_insert_all([{"id": id_, "parent_id": job.id, **_plain(child)} for id_, child in zip(ids, children, strict=True)]))
    return job


def admit(session: Session, tenant_id: str, queue: str, count: int, *, max_queue: int) -> None:
    """Refuse `count` more jobs with OverQuota or Saturated when there is no room for them.

    The tenant's row stays locked, so its quota is exact. The queue's is shared by all tenants and may be passed by as many
    as ask in the same instant. Parents do no work and are not counted.
    """
    allowed = session.scalar(select(Tenant.max_unfinished).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    if allowed is None:
        raise NotFound("tenant", tenant_id)
    held = _count(session, Job.tenant_id == tenant_id, Job.state.in_(UNFINISHED), Job.pending_children.is_(None))
    if held + count > allowed:
        raise OverQuota(held, allowed)
    waiting = _count(session, Job.queue == queue, Job.state == QUEUED)
    if waiting + count > max_queue:
        raise Saturated(queue, waiting, max_queue)


def recall(session: Session, tenant_id: str, route: str, key: str, request_sha256: str) -> Job | None:
    """The job that this Idempotency-Key was answered with, or None for a new key. KeyReused when the body was another.

    Call it before anything else in the transaction, and after None `remember` the job before the end. It writes the key first, with no job
    (its foreign key waits for the commit): a concurrent twin blocks on that row until the first one's commit and then finds its job,
    or until its rollback and then is the first itself. So a refused request leaves no key behind.
    """
    row = {"tenant_id": tenant_id, "route": route, "key": key, "request_sha256": request_sha256, "job_id": ""}
    first = upsert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(IdempotencyKey.key)
    while session.scalar(first) is None:
        known = session.execute(
            select(IdempotencyKey.request_sha256, IdempotencyKey.job_id).where(_key(tenant_id, route, key))
        ).one_or_none()
        if known is None:
            continue  # it was purged between the two statements
        if known.request_sha256 != request_sha256:
            raise KeyReused(key)
        return session.scalars(select(Job).where(Job.id == known.job_id).execution_options(populate_existing=True)).one()
    return None


def remember(session: Session, tenant_id: str, route: str, key: str, request_sha256: str, job_id: str) -> None:
    """Give the key that `recall` wrote its job, also when that is a twin's. Without this the commit is refused."""
    session.execute(
        update(IdempotencyKey)
        .where(_key(tenant_id, route, key), IdempotencyKey.request_sha256 == request_sha256)
        .values(job_id=job_id)
        .execution_options(synchronize_session=False)
    )


def _key(tenant_id: str, route: str, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyKey.tenant_id == tenant_id, IdempotencyKey.route == route, IdempotencyKey.key == key)


def _insert_unless_twin(new: NewJob) -> Any:
    flight = next(index for index in jobs.indexes if index.name == "single_flight")
    return (
        upsert(Job)
        .values({"id": new_id("job"), **_row(new)})
        .on_conflict_do_nothing(index_elements=["model_id", "kind", "spec_hash"], index_where=flight.dialect_options["postgresql"]["where"])
        .returning(Job)
    )


def _insert_all(rows: Sequence[Json]) -> Insert:
    """One statement with one argument: twice as fast for thousands of rows as a list of inserts."""
    copied = [jobs.c[name] for name in rows[0] if name != "deadline_s"]
    given = (
        func.jsonb_to_recordset(literal(rows, JSONB))
        .table_valued(*(column(c.name, c.type) for c in copied), column("deadline_s", Double()))
        .render_derived(name="given", with_types=True)
    )
    return insert(jobs).from_select(
        [*(c.name for c in copied), "deadline_at"], select(*(given.c[c.name] for c in copied), from_now(given.c.deadline_s))
    )


def _twin_of(new: NewJob) -> Sequence[ColumnElement[bool]]:
    return (
        Job.tenant_id == new.tenant_id,
        Job.model_id == new.model_id,
        Job.kind == new.kind,
        Job.spec_hash == new.spec_hash,
        Job.state.in_(UNFINISHED),
        Job.parent_id.is_(None),
        Job.cancel_requested.is_(False),
    )


def _row(new: NewJob) -> dict[str, Any]:
    plain = _plain(new)
    return {"deadline_at": from_now(plain.pop("deadline_s")), **plain}


def _plain(new: NewJob) -> dict[str, Any]:
    return {f.name: getattr(new, f.name) for f in fields(new)}


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.execute(select(func.count()).select_from(Job).where(*conditions)).scalar_one()
