"""Reading the ledger: jobs and their tries, as clients and operators look them up. Nothing here locks or writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, func, select, text, tuple_
from sqlalchemy.orm import Session, aliased

from db.errors import NotFound
from db.models import Attempt, Entity, Job, Tenant

#: How many jobs are named for each reason of failure.
NAMED = 3


@dataclass(frozen=True)
class Failures:
    """Children of a batch that failed for one reason."""

    #: Of their problem.
    code: str
    count: int
    #: The first of them.
    job_ids: list[str]


_FAILURES = text("""
SELECT coalesce(error->>'code', 'internal') AS code, count(*), (array_agg(id ORDER BY id))[1:CAST(:named AS integer)] AS job_ids
FROM jobs WHERE parent_id = :parent AND state = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1
""")


def get(session: Session, tenant_id: str, job_id: str) -> Job:
    """The job as it is now. NotFound for one of another tenant."""
    found = select(Job).where(Job.tenant_id == tenant_id, Job.id == job_id).execution_options(populate_existing=True)
    job = session.scalars(found).one_or_none()
    if job is None:
        raise NotFound("job", job_id)
    return job


def get_many(session: Session, tenant_id: str, job_ids: Collection[str]) -> list[Job]:
    """Those of the tenant's jobs that there are, as they are now, by id."""
    found = select(Job).where(Job.tenant_id == tenant_id, Job.id.in_(job_ids)).order_by(Job.id).execution_options(populate_existing=True)
    return list(session.scalars(found))


def page(
    session: Session,
    tenant_id: str,
    *,
    kind: str | None = None,
    state: str | None = None,
    entity_id: int | None = None,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> list[Job]:
    """The tenant's jobs, newest first, from behind `before` (created_at, id). Items of batches appear only when an entity is asked for."""
    found = select(Job).where(Job.tenant_id == tenant_id).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    found = found.where(Job.parent_id.is_(None)) if entity_id is None else found.where(Job.entity_id == entity_id)
    if kind is not None:
        found = found.where(Job.kind == kind)
    if state is not None:
        found = found.where(Job.state == state)
    if before is not None:
        found = found.where(tuple_(Job.created_at, Job.id) < before)
    return list(session.scalars(found))


def items(session: Session, tenant_id: str, parent_id: str, *, state: str | None = None, limit: int, after: str | None = None) -> list[Job]:
    """The children of a parent in the order in which they were given, from behind the id `after`."""
    found = select(Job).where(Job.tenant_id == tenant_id, Job.parent_id == parent_id).order_by(Job.id).limit(limit)
    if state is not None:
        found = found.where(Job.state == state)
    if after is not None:
        found = found.where(Job.id > after)
    return list(session.scalars(found))


def failures(session: Session, parent_id: str) -> list[Failures]:
    """Why children of the parent failed, the most frequent reason first."""
    return [Failures(*row) for row in session.execute(_FAILURES, {"parent": parent_id, "named": NAMED})]


def find(session: Session, job_id: str) -> Job:
    """The job whoever's it is: for operators, never for a client's request."""
    job = session.scalars(select(Job).where(Job.id == job_id).execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound("job", job_id)
    return job


def attempts(session: Session, job_id: str) -> list[Attempt]:
    """The tries at a job, the first one first."""
    return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number, Attempt.fence)))


@dataclass(frozen=True, kw_only=True)
class Sought:
    """Which jobs an operator means; what is None narrows nothing."""

    tenant_id: str | None = None
    state: str | None = None
    kind: str | None = None
    queue: str | None = None
    #: The entity's name.
    entity: str | None = None
    #: Asked for or ended no longer ago than this.
    since: timedelta | None = None
    #: Of the problem it failed with.
    code: str | None = None
    #: Whether items of batches are meant too.
    items: bool = True
    #: Only jobs that do the work themselves (of a batch its items), and that nobody has asked for again.
    not_retried: bool = False


def survey(session: Session, sought: Sought, limit: int) -> list[tuple[Job, str]]:
    """The jobs of all tenants that are sought, newest first (ids sort by time), each with the name of its tenant."""
    found = select(Job, Tenant.name).join(Tenant, Tenant.id == Job.tenant_id).where(*_sought(sought))
    return [(job, tenant) for job, tenant in session.execute(found.order_by(Job.id.desc()).limit(limit))]


def _sought(sought: Sought) -> list[ColumnElement[bool]]:
    same = {Job.tenant_id: sought.tenant_id, Job.state: sought.state, Job.kind: sought.kind, Job.queue: sought.queue}
    conditions = [column == value for column, value in same.items() if value is not None]
    if sought.entity is not None:
        conditions.append(Job.entity_id.in_(select(Entity.id).where(Entity.name == sought.entity)))
    if sought.code is not None:
        conditions.append(Job.error["code"].astext == sought.code)
    if sought.since is not None:
        conditions.append(func.greatest(Job.created_at, Job.finished_at) >= func.clock_timestamp() - sought.since)
    if not sought.items:
        conditions.append(Job.parent_id.is_(None))
    if sought.not_retried:
        again = aliased(Job)
        conditions += [Job.children.is_(None), ~exists().where(again.retry_of == Job.id)]
    return conditions


def steps(session: Session, job_ids: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """How far each job has come, by (tenant, id): its revision, and in it its progress, or of a batch the number of items that ended."""
    step = func.coalesce(Job.children - Job.pending_children, Job.progress["seq"].as_integer(), 0)
    rows = session.execute(select(Job.tenant_id, Job.id, Job.rev, step).where(Job.id.in_(job_ids)))
    return {(tenant_id, job_id): (rev, at or 0) for tenant_id, job_id, rev, at in rows}
