"""Training: history in, a judged and published version out. The callback keeps the lease and tells watchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db import entities, observations, registry
from db.models import Entity, Json, Version
from db.sources import stored
from ml import artifact, evaluation
from ml.errors import ArtefactCorrupt, ModelError
from ml.recipes import recipe
from ml.series import RawChannels
from ml.trainer import Case, Epoch, Fitted, fit, prepare
from tasks.execute import Work
from tasks.jobs import TrainJob
from tasks.readiness import measured, since
from tasks.status import finish_at
from tasks.workshop import Workshop

#: Share of a training's progress when an epoch loop begins and ends; fetching, judging and publishing are the rest.
FIT_FROM, FIT_UNTIL = 0.05, 0.95


def train(shop: Workshop, works: Sequence[Work]) -> None:
    """Train a cohort. Each member is published as soon as it is done, and a failing one leaves its mates alone."""
    ready: list[tuple[Work, Case]] = []
    for work in works:
        with work.outcome():
            ready.append((work, _prepare(shop, work)))
    if ready:
        _fit(shop, ready)


def _fit(shop: Workshop, ready: Sequence[tuple[Work, Case]]) -> None:
    cases = [case for _, case in ready]
    try:
        fit(cases, cases[0].spec, _Reporter(shop, ready), device=shop.device)
    except AllStopping:
        for work, _ in ready:
            if not work.settled:
                with work.outcome():
                    work.lease.check(work.job.id)


class AllStopping(Exception):
    """Nobody in the cohort is to go on: end in the middle of an epoch."""


@dataclass(frozen=True)
class _Reporter:
    """What the trainer reports to: watchers see each epoch, stopped members leave, finished ones are published."""

    shop: Workshop
    ready: Sequence[tuple[Work, Case]]

    def epoch(self, member: int, epoch: Epoch) -> bool:
        work, _ = self.ready[member]
        with work.outcome():
            work.progress("fit", **_figures(epoch))
        return not work.settled

    def alive(self) -> None:
        left = [work for work, _ in self.ready if not work.settled]
        for work in left[:1]:
            work.lease.alive()
        if all(work.lease.stopping(work.job.id) for work in left):
            raise AllStopping

    def fitted(self, member: int, fitted: Fitted) -> None:
        work, case = self.ready[member]
        with work.outcome():
            _publish(self.shop, work, case, fitted)

    def failed(self, member: int, error: ModelError) -> None:
        work, _ = self.ready[member]
        with work.outcome():
            raise error


def _prepare(shop: Workshop, work: Work) -> Case:
    job = TrainJob.from_dict(work.job.spec)
    work.progress("fetch", fraction=0.0)
    with shop.sessions() as session:
        entity = entities.get(session, work.job.tenant_id, job.entity)
        # Asked again here: an item of a batch was accepted unmeasured, and rows may have gone since.
        measured(session, entity, recipe(job.recipe, shop.runtime.recipes), job.spec, job.look_back_hours).require()
        raw = _history(session, entity, job)
    work.progress("prepare", fraction=0.02)
    return prepare(job.entity, raw, job.spec)


def _history(session: Session, entity: Entity, job: TrainJob) -> RawChannels:
    """The rows of every input, as far back as the job looks."""
    held = observations.coverage(session, entity.id, channels=job.spec.targets)
    begin = since((c.last for c in held.values()), job.look_back_hours)
    return stored.fetch(session, entity.id, job.spec.inputs, since=begin)


def _figures(epoch: Epoch) -> Json:
    """An epoch as watchers see it. The finish is a worst case: early stopping usually ends sooner."""
    return {
        "fraction": round(FIT_FROM + (FIT_UNTIL - FIT_FROM) * epoch.number / epoch.epochs, 3),
        "epoch": epoch.number,
        "epochs": epoch.epochs,
        "train_loss": epoch.train_loss,
        "val_loss": epoch.stop_loss,
        "best_epoch": epoch.best,
        "finish_at": finish_at(epoch.seconds * (epoch.epochs - epoch.number)),
    }


def _publish(shop: Workshop, work: Work, case: Case, fitted: Fitted) -> None:
    """Judge, keep, publish: the version row, the active flag and the job's success are one transaction."""
    job = TrainJob.from_dict(work.job.spec)
    work.progress("judge", fraction=FIT_UNTIL)
    verdict = _judge(shop, work, job, case, fitted)
    work.progress("publish", fraction=0.98)
    saved = artifact.save(fitted, shop.settings.model_dir)
    new = registry.NewVersion(
        job_id=work.job.id,
        fence=work.claim.fence,
        recipe=job.recipe,
        target=job.spec.targets[0],
        spec=job.spec.as_dict(),
        spec_hash=job.spec.fingerprint(),
        signature=job.spec.signature(),
        served_by=fitted.served_by,
        metrics={name: {part: scores.as_dict() for part, scores in parts.items()} for name, parts in fitted.scores.items()},
        gate=verdict,
        warnings=list(fitted.warnings),
        artefact_sha256=saved.sha256,
        artefact_bytes=saved.bytes,
        data_from=fitted.data_from,
        data_until=fitted.data_until,
    )

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        model_id = _model(session, work, job)
        version = registry.publish(
            session,
            work.job.tenant_id,
            model_id,
            new,
            activation=job.activation,
            gate_passed=bool(verdict["passed"]),
            actor=work.job.id,
        )
        registry.prune(session, work.job.tenant_id, model_id, shop.settings.keep_versions)
        return _result(version), list(fitted.warnings)

    work.publish(write)


def _model(session: Session, work: Work, job: TrainJob) -> str:
    """The lineage the job was submitted for. An entity erased meanwhile is NotFound: nothing is brought back."""
    if work.job.model_id is not None:
        return registry.get_model(session, work.job.tenant_id, work.job.model_id).id
    entity = entities.get(session, work.job.tenant_id, job.entity)
    return registry.ensure_model(session, work.job.tenant_id, entity.id, job.model).id


def _judge(shop: Workshop, work: Work, job: TrainJob, case: Case, fitted: Fitted) -> Json:
    """The gate's verdict: skill, and the incumbent on the same rows."""
    incumbent = _incumbent(shop, work, job)
    comparison = None if incumbent is None else evaluation.compare(incumbent, fitted, case)
    return evaluation.gate(fitted, recipe(job.recipe, shop.runtime.recipes).gate, comparison)


def _incumbent(shop: Workshop, work: Work, job: TrainJob) -> Fitted | None:
    """The active version, if it forecasts the same thing. A damaged one does not stand in its successor's way."""
    if work.job.entity_id is None:
        return None
    with shop.sessions() as session:
        active = registry.active(session, work.job.tenant_id, work.job.entity_id, job.model)
    if active is None or active.signature != job.spec.signature():
        return None
    try:
        return shop.model(active)
    except ArtefactCorrupt:
        return None


def _result(version: Version) -> Json:
    return {
        "model": version.model_id,
        "version": version.semver,
        "active": version.active,
        "served_by": version.served_by,
        "metrics": version.metrics,
        "gate": version.gate,
    }
