"""Jobs on their way into the ledger: one, or the items of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from db import ledger, registry
from db.entities import Known
from db.models import Json
from db.standing import Standing
from tasks.jobs import JobSpec, Mark, PredictJob, Stencil, TrainJob, digest, mark
from tasks.placing import Asker, Submitted
from tasks.questions import Question
from tasks.runtime import Runtime


def submit_batch(
    runtime: Runtime, session: Session, asker: Asker, queue: str, jobs: Sequence[tuple[Known, TrainJob | PredictJob]], **changes: Any
) -> Submitted:
    """The rows are made first: `admit` holds the tenant's row, and another request of the tenant must not wait for ten thousand models."""
    deadline_s = runtime.settings.batch_deadline_s
    children = new_jobs(runtime, session, asker, jobs, queue=queue, deadline_s=deadline_s, **changes)
    parent = ledger.NewJob(
        tenant_id=asker.tenant_id,
        kind=children[0].kind,
        queue=queue,
        spec={"items": len(children)},
        spec_hash=digest([child.spec_hash for child in children]),
        label=f"{len(children)} items",
        max_attempts=1,
        deadline_s=None,
        client_metadata=dict(asker.metadata),
    )
    ledger.admit(session, asker.tenant_id, queue, len(children), max_queue=runtime.settings.max_queue)
    return Submitted(ledger.submit_batch(session, parent, children))


def new_jobs(
    runtime: Runtime, session: Session, asker: Asker, jobs: Sequence[tuple[Known, TrainJob | PredictJob]], **changes: Any
) -> list[ledger.NewJob]:
    """The jobs as the ledger takes them, each with these `changes`. A training makes its lineage where it is missing."""
    look = registry.ensure_models if isinstance(jobs[0][1], TrainJob) else registry.find_models
    models = look(session, asker.tenant_id, {(entity.id, job.model) for entity, job in jobs})
    alike: dict[Mark, tuple[Stencil, ledger.NewJob]] = {}
    rows = []
    for entity, job in jobs:
        mine = mark(job)
        if mine not in alike:
            alike[mine] = Stencil(job), new_job(runtime, asker, entity.id, job, None, **changes)
        stencil, like = alike[mine]
        own, spec_hash = stencil.of(job.entity)
        model_id = models.get((entity.id, job.model))
        rows.append(like._replace(own=own, spec_hash=spec_hash, label=job.label, entity_id=entity.id, model_id=model_id))
    return rows


def lineage(session: Session, asker: Asker, entity: Standing, job: TrainJob) -> str:
    """The model that a training is for, made where it is missing."""
    wanted = (entity.id, job.model)
    return entity.models.get(job.model) or registry.ensure_models(session, asker.tenant_id, {wanted})[wanted]


def new_job(
    runtime: Runtime,
    asker: Asker,
    entity_id: int | None,
    job: JobSpec,
    model_id: str | None,
    spec_hash: Callable[[Json], str] = digest,
    **changes: Any,
) -> ledger.NewJob:
    spec = job.as_dict()
    row: dict[str, Any] = {
        "tenant_id": asker.tenant_id,
        "kind": job.kind,
        "queue": job.queue,
        "spec": spec,
        "spec_hash": spec_hash(spec),
        "label": job.label,
        "entity_id": entity_id,
        "model_id": model_id,
        "shape_key": job.shape_key,
        "max_attempts": runtime.settings.max_attempts,
        "deadline_s": runtime.settings.deadline_s,
        "client_metadata": dict(asker.metadata),
    }
    return ledger.NewJob(**row | changes)


def new_question(runtime: Runtime, asker: Asker, asked: Question, job: JobSpec) -> ledger.NewJob:
    """A job that asks something of a version that is known already."""
    return new_job(runtime, asker, asked.answering.entity_id, job, asked.answering.model_id, asked.digest)
