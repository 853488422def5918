"""What a client may ask of a job it has: to cancel it, or to try again."""

from __future__ import annotations

from sqlalchemy import and_, literal, select, update
from sqlalchemy.orm import Session

from db.errors import Conflict, NotFound
from db.ledger.batches import submit_again
from db.ledger.intake import NewJob, submit
from db.ledger.moves import jobs, move, shift, take_off
from db.ledger.reads import get
from db.models import CANCELLED, QUEUED, RUNNING, SUCCEEDED, UNFINISHED, Job


def cancel(session: Session, tenant_id: str, job_id: str) -> Job:
    """A queued job is cancelled at once; a running one is asked to stop; a finished one is left as it is.

    A parent hands it on to its children.
    """
    job = get(session, tenant_id, job_id)
    if job.terminal:
        return job
    if job.children is None:
        _cancel_one(session, job_id)
    else:
        _cancel_batch(session, job_id)
    return get(session, tenant_id, job_id)


def retry(session: Session, tenant_id: str, job_id: str, *, deadline_s: float | None) -> Job:
    """A new job that asks for the same as this failed or cancelled one (or the twin that already does).

    Of a batch, also of one that succeeded in part, it is for the items that did not succeed. `admit` it first: it is one job, or as many
    as there are such items.
    """
    old = get(session, tenant_id, job_id)
    if not old.terminal:
        raise Conflict("job_not_finished", f"Job {job_id} is {old.state}; only a finished job can be tried again.")
    if old.children is not None:
        return _retry_batch(session, old, deadline_s)
    if not old.spec:
        raise NotFound("entity", f"of job {job_id}, which was erased")
    if old.state == SUCCEEDED:
        raise Conflict("job_succeeded", f"Job {job_id} succeeded; there is nothing to try again.")
    return submit(session, _again(old, deadline_s))[0]


def _cancel_one(session: Session, job_id: str) -> None:
    """First the lock, so that the job's state holds still between the two statements."""
    session.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True))
    move(session, and_(jobs.c.id == job_id, jobs.c.state == QUEUED), literal(CANCELLED))
    session.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state == RUNNING).values(cancel_requested=True))


def _cancel_batch(session: Session, parent_id: str) -> None:
    """All children are locked first, in the order of their ids, and the parent last."""
    ours = jobs.c.parent_id == parent_id
    unfinished = select(jobs.c.id).where(ours, jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.id)
    session.execute(unfinished.with_for_update(key_share=True)).all()
    ended = shift(session, and_(ours, jobs.c.state == QUEUED), literal(CANCELLED))
    session.execute(update(jobs).where(ours, jobs.c.state == RUNNING).values(cancel_requested=True))
    flagged = update(jobs).where(jobs.c.id == parent_id, jobs.c.state == RUNNING).values(cancel_requested=True).returning(jobs.c.id)
    if session.execute(flagged).first() is not None:
        take_off(session, parent_id, len(ended))


def _retry_batch(session: Session, old: Job, deadline_s: float | None) -> Job:
    unsuccessful = select(jobs.c.id).where(jobs.c.parent_id == old.id, jobs.c.state != SUCCEEDED, jobs.c.spec != {})
    items = session.scalars(unsuccessful.order_by(jobs.c.id)).all()
    if not items:
        raise Conflict("job_succeeded", f"All items of job {old.id} succeeded; there is nothing to try again.")
    return submit_again(session, _again(old, deadline_s), items)


def _again(old: Job, deadline_s: float | None) -> NewJob:
    return NewJob(
        tenant_id=old.tenant_id,
        kind=old.kind,
        queue=old.queue,
        spec=old.spec,
        spec_hash=old.spec_hash,
        label=old.label,
        max_attempts=old.max_attempts,
        deadline_s=deadline_s,
        entity_id=old.entity_id,
        model_id=old.model_id,
        shape_key=old.shape_key,
        priority=old.priority,
        retry_of=old.id,
        client_metadata=old.client_metadata,
    )
