"""Submitting: a checked order becomes a row in Postgres, in one transaction, and nothing is said to the broker.

`within` is a transaction of the caller's: the job stands with all else that it writes, and the caller rings after its COMMIT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from psycopg.errors import ForeignKeyViolation
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from db import entities, ledger, registry, standing
from db.entities import Known
from db.errors import NotFound
from db.models import CANCELLED, SUCCEEDED, Job, Json, new_id
from db.standing import Standing
from ml.errors import SpecInvalid
from tasks import sinks, status
from tasks.alarms import ANOMALY, DetectOrder, WatchOrder, judging, watching
from tasks.jobs import (
    BATCH,
    JOINED,
    TRAIN,
    Ahead,
    AnomalyDetectJob,
    AnomalyTrainJob,
    BacktestJob,
    JobSpec,
    Mark,
    PredictJob,
    ReadinessJob,
    Stencil,
    TrainJob,
    WhatIfJob,
    digest,
    mark,
)
from tasks.metrics import JOBS_ENDED
from tasks.orders import BASE, BacktestOrder, PredictOrder, PretrainOrder, TrainOrder, backtesting, pretraining, training, trainings
from tasks.questions import Question, known, require_changeable, resolve
from tasks.readiness import Readiness
from tasks.runtime import Runtime
from tasks.sources import Counted, is_outside, reach, require

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and under which Idempotency-Key."""

    tenant_id: str
    route: str = ""
    key: str | None = None
    body_sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    job: Job
    #: An unfinished job already asked for the same thing; this is that one.
    deduplicated: bool = False
    #: The same Idempotency-Key was answered before with this job.
    replayed: bool = False
    #: A forecast already in hand; `job` is the one that made it.
    forecast: Mapping[str, Any] | None = None
    #: How many waited in the queue before a job that is new.
    ahead: int | None = None


#: Places what is asked for. A new job that one statement writes gets the id that is told: it is known before anything is sent, so that the
#: job can be found where Postgres' answer is lost.
Placing = Callable[[Session, str], Submitted]


def train(runtime: Runtime, asker: Asker, order: TrainOrder, within: Session | None = None) -> Submitted:
    """Queue one training, or a batch of them.

    A single entity is refused with InsufficientData when a requirement is unmet; in a batch such an entity becomes a failed item.
    Entities that only a source knows are made: their models need a home.
    Raises NotFound, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated, KeyReused.
    """
    if order.batch:
        return _once(runtime, asker, lambda session, _: _train_batch(runtime, session, asker, order), within)
    if is_outside(order.source):
        return _train_outside(runtime, asker, order, within)

    def place(session: Session, job_id: str) -> Submitted:
        entity = standing.look(session, asker.tenant_id, order.entities[0])
        where = Counted(session, entity.id, entity.held)
        job, ready = training(session, runtime, asker.tenant_id, entity.name, order, lambda: where)
        ready.require()
        return _submit_one(runtime, session, _row(runtime, asker, entity.id, job, _lineage(session, asker, entity, job)), job_id)

    return _once(runtime, asker, place, within, singly=True)


def _train_batch(runtime: Runtime, session: Session, asker: Asker, order: TrainOrder) -> Submitted:
    found = _whom(session, runtime, asker.tenant_id, order)
    return _submit_batch(runtime, session, asker, TRAIN, trainings(session, runtime, asker.tenant_id, found, order))


def _train_outside(runtime: Runtime, asker: Asker, order: TrainOrder, within: Session | None) -> Submitted:
    """By the rows of a source, which may take its time."""
    [name], tenant_id = order.entities, asker.tenant_id

    def ahead(session: Session) -> tuple[TrainJob, Readiness]:
        unmade = Known(0, name, None)  # of a source only the name counts
        return training(session, runtime, tenant_id, name, order, lambda: reach(session, runtime, tenant_id, unmade, order.source))

    def place(session: Session, made: tuple[TrainJob, Readiness]) -> Submitted:
        [entity], (job, ready) = _whom(session, runtime, tenant_id, order), made
        ready.require()
        [row] = _rows(runtime, session, asker, [(entity, job)])
        return _submit_one(runtime, session, row)

    return _looked_up(runtime, asker, ahead, place, within)


def pretrain(runtime: Runtime, asker: Asker, order: PretrainOrder, within: Session | None = None) -> Submitted:
    """Queue the training of a base on many entities. The entity that holds it is made where missing.

    Raises NotFound, SpecInvalid (also where the name is an entity's that holds no base), InsufficientData (too few entities), OverQuota,
    Saturated, KeyReused.
    """

    def place(session: Session, _: str) -> Submitted:
        found = _whom(session, runtime, asker.tenant_id, order)
        job = pretraining(session, runtime, found, order)
        require_free(session, asker.tenant_id, order.name)
        holder = entities.put(session, asker.tenant_id, order.name, kind=BASE)
        model = registry.ensure_model(session, asker.tenant_id, holder.id, job.model, BASE)
        return _submit_one(runtime, session, _row(runtime, asker, holder.id, job, model.id))

    return _once(runtime, asker, place, within)


def predict(runtime: Runtime, asker: Asker, order: PredictOrder, within: Session | None = None) -> Submitted:
    """Answer from the cache, or queue a prediction; a batch is always queued.

    Raises NotFound, NoActiveVersion, SpecInvalid, OverQuota, Saturated, KeyReused.
    """

    def place(session: Session, job_id: str) -> Submitted:
        sinks.require(runtime, session, asker.tenant_id, order)
        if order.batch:
            return _predict_batch(runtime, session, asker, order)
        entity, target = order.entities[0], order.targets[0]
        asked = resolve(session, runtime, asker.tenant_id, PredictJob(entity, target, *_left_open(order)))
        answer = known(runtime, session, asked)
        if answer is not None:
            return Submitted(answer[0], forecast=answer[1])
        return _submit_one(runtime, session, _asking(runtime, asker, asked, asked.job), job_id)

    return _once(runtime, asker, place, within, singly=not order.batch)


def what_if(runtime: Runtime, asker: Asker, job: WhatIfJob) -> Submitted:
    """Queue a what-if. Raises NotFound, NoActiveVersion, SpecInvalid, OverQuota, Saturated, KeyReused."""

    def place(session: Session, job_id: str) -> Submitted:
        asked = resolve(session, runtime, asker.tenant_id, job)
        require_changeable(asked.answering, job.scenarios)
        effective = replace(job, horizon=asked.horizon, level=asked.level, source=asked.source)
        return _submit_one(runtime, session, _asking(runtime, asker, asked, effective), job_id)

    return _once(runtime, asker, place, singly=True)


def backtest(runtime: Runtime, asker: Asker, order: BacktestOrder, within: Session | None = None) -> Submitted:
    """Queue a backtest.

    Raises NotFound, NoActiveVersion, Conflict, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated,
    KeyReused.
    """

    def ahead(session: Session) -> tuple[Known, BacktestJob]:
        [entity] = entities_named(session, asker.tenant_id, [order.entity])
        return entity, backtesting(session, runtime, asker.tenant_id, entity, order)

    def place(session: Session, made: tuple[Known, BacktestJob]) -> Submitted:
        entity, job = made
        return _submit_one(runtime, session, _row(runtime, asker, entity.id, job, None))

    return _looked_up(runtime, asker, ahead, place, within)


def watch(runtime: Runtime, asker: Asker, order: WatchOrder, within: Session | None = None) -> Submitted:
    """Queue the training of a detector. An entity that only a source knows is made.

    Raises NotFound, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated, KeyReused.
    """

    def ahead(session: Session) -> AnomalyTrainJob:
        unmade = [Known(0, order.entity, None)]  # of a source only the name counts
        [entity] = unmade if is_outside(order.source) else entities_named(session, asker.tenant_id, [order.entity])
        return watching(reach(session, runtime, asker.tenant_id, entity, order.source), order)

    def place(session: Session, job: AnomalyTrainJob) -> Submitted:
        [entity] = entities_named(session, asker.tenant_id, [order.entity], made=is_outside(order.source))
        model = registry.ensure_model(session, asker.tenant_id, entity.id, job.model, ANOMALY)
        return _submit_one(runtime, session, _row(runtime, asker, entity.id, job, model.id))

    return _looked_up(runtime, asker, ahead, place, within)


def detect(runtime: Runtime, asker: Asker, order: DetectOrder, within: Session | None = None) -> Submitted:
    """Queue a detection.

    Raises NotFound, NoActiveVersion, Conflict, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated,
    KeyReused.
    """

    def ahead(session: Session) -> tuple[AnomalyDetectJob, registry.Answering]:
        return judging(session, runtime, asker.tenant_id, order)

    def place(session: Session, made: tuple[AnomalyDetectJob, registry.Answering]) -> Submitted:
        job, held = made
        row = _row(runtime, asker, held.entity_id, job, held.model_id, lambda spec: digest(spec, held.version_id, held.data_rev))
        return _submit_one(runtime, session, row)

    return _looked_up(runtime, asker, ahead, place, within)


def measure(runtime: Runtime, asker: Asker, job: ReadinessJob) -> Submitted:
    """Queue a measurement. It is tried once: whoever asked waits for it, and asks again. Raises SpecInvalid, OverQuota, Saturated."""

    def place(session: Session, job_id: str) -> Submitted:
        require(session, runtime, asker.tenant_id, job.source)
        there = entities.find_many(session, asker.tenant_id, [job.entity]).get(job.entity)
        row = _row(runtime, asker, None if there is None else there.id, job, None, max_attempts=1)
        return _submit_one(runtime, session, row, job_id)

    return _once(runtime, asker, place, singly=True)


def retry(runtime: Runtime, asker: Asker, job_id: str) -> Submitted:
    """A failed or cancelled job again, as a new one. Raises NotFound, Conflict, OverQuota, Saturated."""

    def place(session: Session, _: str) -> Submitted:
        old = ledger.get(session, asker.tenant_id, job_id)
        again = 1 if old.children is None else old.children - ledger.item_counts(session, old.id).get(SUCCEEDED, 0)
        ledger.admit(session, asker.tenant_id, old.queue, again, max_queue=runtime.settings.max_queue)
        deadline_s = runtime.settings.deadline_s if old.children is None else runtime.settings.batch_deadline_s
        new = ledger.retry(session, asker.tenant_id, job_id, deadline_s=deadline_s)
        return Submitted(new, deduplicated=new.retry_of != job_id)

    return _once(runtime, asker, place)


def cancel(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    """End a queued job, ask a running one to stop, leave one that has ended; of a batch, its items. How it stands then. Raises NotFound."""
    with runtime.sessions.begin() as session:
        before = _cancelled(session, ledger.get(session, tenant_id, job_id))
        job = ledger.cancel(session, tenant_id, job_id)
        ended = _cancelled(session, job) - before
    runtime.meter.count(JOBS_ENDED, job.kind, CANCELLED, by=ended)
    return status.fresh(runtime, tenant_id, job_id)


def _cancelled(session: Session, job: Job) -> int:
    """How much work of this job was cancelled: itself, or items of it."""
    return int(job.state == CANCELLED) if job.children is None else ledger.item_counts(session, job.id).get(CANCELLED, 0)


def _predict_batch(runtime: Runtime, session: Session, asker: Asker, order: PredictOrder) -> Submitted:
    found = entities_named(session, asker.tenant_id, order.entities)
    require(session, runtime, asker.tenant_id, order.source)
    pairs = [(entity, target) for entity in found for target in order.targets]
    own = registry.sources(session, asker.tenant_id, [(entity.id, target) for entity, target in pairs]) if runtime.sources.configs else {}
    of_source = {source: _left_open(replace(order, source=source)) for source in {order.source, *own.values()}}
    said = [of_source[order.source or own.get((entity.id, target))] for entity, target in pairs]
    jobs = [(entity, PredictJob(entity.name, target, *each)) for (entity, target), each in zip(pairs, said, strict=True)]
    return _submit_batch(runtime, session, asker, BATCH, jobs, shape_key=JOINED)


def _left_open(order: PredictOrder) -> tuple[int | None, float | None, str | None, Ahead | None, str | None, str | None]:
    """What a prediction may leave for the version to say, and where it goes, in the order of PredictJob."""
    return order.horizon, order.level, order.version, order.future, order.source, order.sink


def _looked_up(
    runtime: Runtime,
    asker: Asker,
    ahead: Callable[[Session], Made],
    place: Callable[[Session, Made], Submitted],
    within: Session | None = None,
) -> Submitted:
    """Look up and measure first, in no transaction: a source may take its time. What the key was answered with is not measured again."""
    with runtime.sessions() as session:
        recalled = _recalled(session, asker)
        if recalled is not None:
            return recalled
        made = ahead(session)
    return _once(runtime, asker, lambda session, _: place(session, made), within)


def _once(runtime: Runtime, asker: Asker, place: Placing, within: Session | None = None, *, singly: bool = False) -> Submitted:
    """Place a job in one transaction with its Idempotency-Key, then ring. The job exists once this returns.

    `singly`: without a key, what is placed is written by one statement, which is a transaction by itself.
    """
    submitted, job_id = None, new_id("job")
    if within is not None:
        with _told_of_erasure(), within.begin_nested():
            return _placed(within, asker, partial(place, within, job_id))
    sessions = runtime.singly if singly and asker.key is None else runtime.sessions
    try:
        with _told_of_erasure(), sessions.begin() as session:
            runtime.pace.learn(session)
            submitted = _recalled(session, asker) or _placed(session, asker, partial(place, session, job_id))
            job_id = submitted.job.id
    except OperationalError as error:
        written = _written(runtime, asker, job_id) if error.connection_invalidated else None
        if written is None:
            raise
        submitted = Submitted(written) if submitted is None else replace(submitted, job=written)
    if submitted.forecast is None and not submitted.replayed:
        runtime.ringer.ring()
    return submitted


@contextmanager
def _told_of_erasure() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if isinstance(error.orig, ForeignKeyViolation):
            raise NotFound("entity", "that was erased while this was asked") from error
        raise


def _recalled(session: Session, asker: Asker) -> Submitted | None:
    """What this Idempotency-Key was answered with before."""
    if asker.key is None:
        return None
    found = ledger.recall(session, asker.tenant_id, asker.route, asker.key, asker.body_sha256)
    return None if found is None else _replayed(*found)


def _replayed(job: Job, asked_at: datetime) -> Submitted:
    """As it was answered then: by a job that had ended before, which made the forecast, or by one that stood already, or by a new one."""
    if job.finished_at is not None and job.finished_at < asked_at and job.result is not None:
        return Submitted(job, replayed=True, forecast=job.result["forecast"] | {"cached": True})
    return Submitted(job, deduplicated=job.created_at < asked_at, replayed=True)


def _placed(session: Session, asker: Asker, place: Callable[[], Submitted]) -> Submitted:
    submitted = place()
    if asker.key is not None:
        ledger.remember(session, asker.tenant_id, asker.route, asker.key, asker.body_sha256, submitted.job.id)
    return submitted


def _written(runtime: Runtime, asker: Asker, job_id: str) -> Job | None:
    """The job, where the connection broke at COMMIT, or at the statement that is a transaction by itself, and took only its answer along.

    Where Postgres is still at it the client hears 503 and asks again; with an Idempotency-Key it then gets this job.
    """
    try:
        with runtime.sessions() as session:
            # A job that stood before says nothing of this COMMIT; the key that was written with it does.
            if asker.key is not None and not ledger.remembers(session, asker.tenant_id, asker.route, asker.key, job_id):
                return None
            return ledger.get(session, asker.tenant_id, job_id)
    except NotFound:
        return None


def _submit_one(runtime: Runtime, session: Session, row: ledger.NewJob, job_id: str | None = None) -> Submitted:
    job, deduplicated, waiting = ledger.place(session, row, max_queue=runtime.settings.max_queue, id_=job_id)
    return Submitted(job, deduplicated, ahead=None if deduplicated else waiting)


def _submit_batch(
    runtime: Runtime, session: Session, asker: Asker, queue: str, jobs: Sequence[tuple[Known, TrainJob | PredictJob]], **changes: Any
) -> Submitted:
    """The rows are made first: `admit` holds the tenant's row, and another request of the tenant must not wait for ten thousand models."""
    deadline_s = runtime.settings.batch_deadline_s
    children = _rows(runtime, session, asker, jobs, queue=queue, deadline_s=deadline_s, **changes)
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


def _rows(
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
            alike[mine] = Stencil(job), _row(runtime, asker, entity.id, job, None, **changes)
        stencil, like = alike[mine]
        spec, spec_hash = stencil.of(job.entity)
        about: dict[str, Any] = {"label": job.label, "entity_id": entity.id, "model_id": models.get((entity.id, job.model))}
        rows.append(replace(like, spec=spec, spec_hash=spec_hash, **about))
    return rows


def _lineage(session: Session, asker: Asker, entity: Standing, job: TrainJob) -> str:
    """The model that a training is for, made where it is missing."""
    wanted = (entity.id, job.model)
    return entity.models.get(job.model) or registry.ensure_models(session, asker.tenant_id, {wanted})[wanted]


def _row(
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


def _asking(runtime: Runtime, asker: Asker, asked: Question, job: JobSpec) -> ledger.NewJob:
    """A job that asks something of a version that is known already."""
    return _row(runtime, asker, asked.answering.entity_id, job, asked.answering.model_id, asked.digest)


def require_free(session: Session, tenant_id: str, name: str) -> None:
    """A base must not move in with an entity that has observations and models of its own."""
    there = entities.find_many(session, tenant_id, [name]).get(name)
    if there is not None and there.kind != BASE:
        raise SpecInvalid("name", name, f"an entity of this name is there, of kind {there.kind or 'none'}; give the base a name of its own")


def _whom(session: Session, runtime: Runtime, tenant_id: str, order: TrainOrder | PretrainOrder) -> list[Known]:
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
