"""Submitting: a checked order becomes a row in Postgres, in one transaction, and nothing is said to the broker.

`within` is a transaction of the caller's: the job stands with all else that it writes, and the caller rings after its COMMIT.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from db import entities, ledger, registry, standing
from db.entities import Known
from db.models import CANCELLED, SUCCEEDED, Job
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
    PredictJob,
    ReadinessJob,
    TrainJob,
    WhatIfJob,
    digest,
)
from tasks.meaning import backtesting, pretraining, training, trainings
from tasks.metrics import JOBS_ENDED
from tasks.named import entities_named, learned_from, require_free
from tasks.orders import BASE, BacktestOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Sought, Submitted, looked_up, once
from tasks.questions import known, require_changeable, resolve
from tasks.readiness import Readiness
from tasks.rows import lineage, new_job, new_jobs, new_question, submit_batch
from tasks.runtime import Runtime
from tasks.sources import Counted, is_outside, reach, require


def train(runtime: Runtime, asker: Asker, order: TrainOrder, within: Session | None = None) -> Submitted:
    """Queue one training, or a batch of them.

    A single entity is refused with InsufficientData when a requirement is unmet; in a batch such an entity becomes a failed item.
    Entities that only a source knows are made: their models need a home.
    Raises NotFound, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated, KeyReused.
    """
    if order.batch:
        return once(runtime, asker, lambda session: _train_batch(runtime, session, asker, order), within)
    if is_outside(order.source):
        return _train_outside(runtime, asker, order, within)

    def place(session: Session) -> Sought:
        entity = standing.look(session, asker.tenant_id, order.entities[0])
        where = Counted(session, entity.id, entity.held)
        job, ready = training(session, runtime, asker.tenant_id, entity.name, order, lambda: where)
        ready.require()
        return new_job(runtime, asker, entity.id, job, lineage(session, asker, entity, job))

    return once(runtime, asker, place, within, singly=True)


def _train_batch(runtime: Runtime, session: Session, asker: Asker, order: TrainOrder) -> Submitted:
    found = learned_from(session, runtime, asker.tenant_id, order)
    return submit_batch(runtime, session, asker, TRAIN, trainings(session, runtime, asker.tenant_id, found, order))


def _train_outside(runtime: Runtime, asker: Asker, order: TrainOrder, within: Session | None) -> Submitted:
    """By the rows of a source, which may take its time."""
    [name], tenant_id = order.entities, asker.tenant_id

    def ahead(session: Session) -> tuple[TrainJob, Readiness]:
        unmade = Known(0, name, None)  # of a source only the name counts
        return training(session, runtime, tenant_id, name, order, lambda: reach(session, runtime, tenant_id, unmade, order.source))

    def place(session: Session, made: tuple[TrainJob, Readiness]) -> Sought:
        [entity], (job, ready) = learned_from(session, runtime, tenant_id, order), made
        ready.require()
        [row] = new_jobs(runtime, session, asker, [(entity, job)])
        return row

    return looked_up(runtime, asker, ahead, place, within)


def pretrain(runtime: Runtime, asker: Asker, order: PretrainOrder, within: Session | None = None) -> Submitted:
    """Queue the training of a base on many entities. The entity that holds it is made where missing.

    Raises NotFound, SpecInvalid (also where the name is an entity's that holds no base), InsufficientData (too few entities), OverQuota,
    Saturated, KeyReused.
    """

    def place(session: Session) -> Sought:
        found = learned_from(session, runtime, asker.tenant_id, order)
        job = pretraining(session, runtime, found, order)
        require_free(session, asker.tenant_id, order.name)
        holder = entities.put(session, asker.tenant_id, order.name, kind=BASE)
        model = registry.ensure_model(session, asker.tenant_id, holder.id, job.model, BASE)
        return new_job(runtime, asker, holder.id, job, model.id)

    return once(runtime, asker, place, within)


def predict(runtime: Runtime, asker: Asker, order: PredictOrder, within: Session | None = None) -> Submitted:
    """Answer from the cache, or queue a prediction; a batch is always queued.

    Raises NotFound, NoActiveVersion, SpecInvalid, OverQuota, Saturated, KeyReused.
    """

    def place(session: Session) -> Sought:
        sinks.require(runtime, session, asker.tenant_id, order)
        if order.batch:
            return _predict_batch(runtime, session, asker, order)
        entity, target = order.entities[0], order.targets[0]
        asked = resolve(session, runtime, asker.tenant_id, PredictJob(entity, target, *_left_open(order)))
        answer = known(runtime, session, asked)
        if answer is not None:
            return Submitted(answer[0], forecast=answer[1])
        return new_question(runtime, asker, asked, asked.job)

    return once(runtime, asker, place, within, singly=not order.batch)


def what_if(runtime: Runtime, asker: Asker, job: WhatIfJob) -> Submitted:
    """Queue a what-if. Raises NotFound, NoActiveVersion, SpecInvalid, OverQuota, Saturated, KeyReused."""

    def place(session: Session) -> Sought:
        asked = resolve(session, runtime, asker.tenant_id, job)
        require_changeable(asked.answering, job.scenarios)
        effective = replace(job, horizon=asked.horizon, level=asked.level, source=asked.source)
        return new_question(runtime, asker, asked, effective)

    return once(runtime, asker, place, singly=True)


def backtest(runtime: Runtime, asker: Asker, order: BacktestOrder, within: Session | None = None) -> Submitted:
    """Queue a backtest.

    Raises NotFound, NoActiveVersion, Conflict, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated,
    KeyReused.
    """

    def ahead(session: Session) -> tuple[Known, BacktestJob]:
        [entity] = entities_named(session, asker.tenant_id, [order.entity])
        return entity, backtesting(session, runtime, asker.tenant_id, entity, order)

    def place(_: Session, made: tuple[Known, BacktestJob]) -> Sought:
        entity, job = made
        return new_job(runtime, asker, entity.id, job, None)

    return looked_up(runtime, asker, ahead, place, within)


def watch(runtime: Runtime, asker: Asker, order: WatchOrder, within: Session | None = None) -> Submitted:
    """Queue the training of a detector. An entity that only a source knows is made.

    Raises NotFound, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated, KeyReused.
    """

    def ahead(session: Session) -> AnomalyTrainJob:
        unmade = [Known(0, order.entity, None)]  # of a source only the name counts
        [entity] = unmade if is_outside(order.source) else entities_named(session, asker.tenant_id, [order.entity])
        return watching(reach(session, runtime, asker.tenant_id, entity, order.source), order)

    def place(session: Session, job: AnomalyTrainJob) -> Sought:
        [entity] = entities_named(session, asker.tenant_id, [order.entity], made=is_outside(order.source))
        model = registry.ensure_model(session, asker.tenant_id, entity.id, job.model, ANOMALY)
        return new_job(runtime, asker, entity.id, job, model.id)

    return looked_up(runtime, asker, ahead, place, within)


def detect(runtime: Runtime, asker: Asker, order: DetectOrder, within: Session | None = None) -> Submitted:
    """Queue a detection.

    Raises NotFound, NoActiveVersion, Conflict, SpecInvalid, InsufficientData, SourceUnavailable, SourceUnreadable, OverQuota, Saturated,
    KeyReused.
    """

    def ahead(session: Session) -> tuple[AnomalyDetectJob, registry.Answering]:
        return judging(session, runtime, asker.tenant_id, order)

    def place(_: Session, made: tuple[AnomalyDetectJob, registry.Answering]) -> Sought:
        job, held = made
        return new_job(runtime, asker, held.entity_id, job, held.model_id, lambda spec: digest(spec, held.version_id, held.data_rev))

    return looked_up(runtime, asker, ahead, place, within)


def measure(runtime: Runtime, asker: Asker, job: ReadinessJob) -> Submitted:
    """Queue a measurement. It is tried once: whoever asked waits for it, and asks again. Raises SpecInvalid, OverQuota, Saturated."""

    def place(session: Session) -> Sought:
        require(session, runtime, asker.tenant_id, job.source)
        there = entities.find_many(session, asker.tenant_id, [job.entity]).get(job.entity)
        return new_job(runtime, asker, None if there is None else there.id, job, None, max_attempts=1)

    return once(runtime, asker, place, singly=True)


def retry(runtime: Runtime, asker: Asker, job_id: str) -> Submitted:
    """A failed or cancelled job again, as a new one. Raises NotFound, Conflict, OverQuota, Saturated."""

    def place(session: Session) -> Sought:
        old = ledger.get(session, asker.tenant_id, job_id)
        again = 1 if old.children is None else old.children - ledger.item_counts(session, old.id).get(SUCCEEDED, 0)
        ledger.admit(session, asker.tenant_id, old.queue, again, max_queue=runtime.settings.max_queue)
        deadline_s = runtime.settings.deadline_s if old.children is None else runtime.settings.batch_deadline_s
        new = ledger.retry(session, asker.tenant_id, job_id, deadline_s=deadline_s)
        return Submitted(new, deduplicated=new.retry_of != job_id)

    return once(runtime, asker, place)


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
    return submit_batch(runtime, session, asker, BATCH, jobs, shape_key=JOINED)


def _left_open(order: PredictOrder) -> tuple[int | None, float | None, str | None, Ahead | None, str | None, str | None]:
    """What a prediction may leave for the version to say, and where it goes, in the order of PredictJob."""
    return order.horizon, order.level, order.version, order.future, order.source, order.sink
