"""Training: history in, a judged and published version out. The callback keeps the lease and tells watchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from db import entities, registry
from db.errors import NotFound
from db.models import Json, Version
from ml import artifact
from ml.errors import ArtefactCorrupt, ModelError
from ml.fitted import Base, Case, Epoch, Fitted
from ml.gate import compare, gate
from ml.recipes import recipe
from ml.reference import reference_of
from ml.series import RawChannels
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from tasks.documents import finish_at
from tasks.execute import Work
from tasks.history import fetch
from tasks.jobs import TrainJob
from tasks.readiness import measured, since
from tasks.sources import Place, at, origin
from tasks.workshop import Workshop, no_memory_left

log = structlog.get_logger()

#: Share of a training's progress when an epoch loop begins and ends; fetching, judging and publishing are the rest.
FIT_FROM, FIT_UNTIL = 0.05, 0.95
#: Members of a cohort, each with what it learns from.
Ready = Sequence[tuple[Work, Case]]


def train(shop: Workshop, works: Sequence[Work]) -> None:
    """Train a cohort. Each member is published as soon as it is done, and a failing one leaves its mates alone."""
    ready: list[tuple[Work, Case]] = []
    for work in works:
        with work.outcome():
            ready.append((work, _prepare(shop, work)))
    if ready:
        _fit(shop, ready)


def _fit(shop: Workshop, ready: Ready) -> None:
    """Where memory is too small for all together it is tried in halves, so that in the end only a member too large by itself fails."""
    if _fits(shop, ready):
        return
    left = _unsettled(ready)
    shop.clear_memory()
    for half in (left[::2], left[1::2]):
        if half:
            _fit(shop, half)


def _fits(shop: Workshop, ready: Ready) -> bool:
    """Train together; each member that is left has its outcome then. False: there was not enough memory for those that are left."""
    cases = [case for _, case in ready]
    try:
        fit(cases, cases[0].spec, _Reporter(shop, ready), device=shop.device)
    except AllStopping:
        for work, _ in _unsettled(ready):
            with work.outcome():
                work.lease.check(work.job.id)
    except (MemoryError, RuntimeError) as error:
        left = [work for work, _ in _unsettled(ready)]
        if len(left) > 1 and no_memory_left(error):
            log.warning("cohort_halved", jobs=[work.job.id for work in left])
            return False
        if not left:
            raise
        for work in left:
            with work.outcome():
                raise
    return True


def _unsettled(ready: Ready) -> Ready:
    return [(work, case) for work, case in ready if not work.settled]


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
            work.progress("fit", **figures(epoch))
        return not work.settled

    def alive(self) -> None:
        left = [work for work, _ in _unsettled(self.ready)]
        for work in left[:1]:
            work.lease.alive()
        if all(work.lease.stopping(work.job.id) for work in left):
            raise AllStopping

    def fitted(self, member: int, fitted: tuple[Fitted, ...]) -> None:
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
        place = at(session, shop.runtime, work.job.tenant_id, entities.get(session, work.job.tenant_id, job.entity), job.source)
        # Asked again here: an item of a batch was accepted unmeasured, and rows may have gone since.
        measured(place, recipe(job.recipe, shop.runtime.recipes), job.spec, job.look_back_hours).require()
        raw = history(place, job.spec, job.look_back_hours)
    work.progress("prepare", fraction=0.02)
    return prepare(job.entity, raw, job.spec, _base(shop, work, job))


def _base(shop: Workshop, work: Work, job: TrainJob) -> Base | None:
    """The network to start from, as it was pinned at submission. Raises NotFound, Conflict (pruned), ArtefactCorrupt."""
    if job.base is None:
        return None
    with shop.sessions() as session:
        pinned = registry.version(session, work.job.tenant_id, job.base.model, job.base.version)
    return shop.base(pinned)


def history(place: Place, spec: ModelSpec, look_back_hours: float | None) -> RawChannels:
    """The rows of every channel, as far back as the job looks."""
    held = place.coverage(spec.targets)
    begin = since((c.last for c in held.values()), look_back_hours)
    return fetch(place, spec.channels, since=begin)


def figures(epoch: Epoch) -> Json:
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


def _publish(shop: Workshop, work: Work, case: Case, fitted: Sequence[Fitted]) -> None:
    """Judge, keep, publish: version rows, active flags and the job's success are one transaction, however many targets there are."""
    job = TrainJob.from_dict(work.job.spec)
    work.progress("judge", fraction=FIT_UNTIL)
    verdicts = [_judge(shop, work, job, case, one) for one in fitted]
    work.progress("publish", fraction=0.98)
    new = [_version(shop, work, job, case, *judged) for judged in zip(fitted, verdicts, strict=True)]

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        written = [work.publish_version(session, one, job.activation, _model(session, work, job, one.target)) for one in new]
        first, *others = [_result(version) for version in written]
        return first | {"others": others}, list({str(notice): notice for one in fitted for notice in one.warnings}.values())

    work.publish(write)


def _version(shop: Workshop, work: Work, job: TrainJob, case: Case, fitted: Fitted, verdict: Json) -> registry.NewVersion:
    saved = artifact.save(fitted, shop.settings.model_dir)
    return registry.NewVersion(
        job_id=work.job.id,
        fence=work.claim.fence,
        recipe=job.recipe,
        target=fitted.target,
        spec=job.spec.as_dict(),
        spec_hash=job.spec.fingerprint(),
        signature=job.spec.signature(fitted.target),
        served_by=fitted.served_by,
        metrics={name: {part: scores.as_dict() for part, scores in parts.items()} for name, parts in fitted.scores.items()},
        gate=verdict,
        warnings=list(fitted.warnings),
        artefact_sha256=saved.sha256,
        artefact_bytes=saved.bytes,
        data_from=fitted.data_from,
        data_until=fitted.data_until,
        reference=reference_of(case, fitted, work.alive).as_dict(),
        source=origin(job.source),
    )


def _model(session: Session, work: Work, job: TrainJob, target: str) -> str:
    """The target's lineage; the first target's was made when the job was submitted. Raises NotFound for an entity erased meanwhile."""
    if work.job.model_id is None or work.job.entity_id is None:
        raise NotFound("entity", job.entity)
    if target == job.spec.targets[0]:
        return registry.get_model(session, work.job.tenant_id, work.job.model_id).id
    return registry.ensure_model(session, work.job.tenant_id, work.job.entity_id, job.model_of(target)).id


def _judge(shop: Workshop, work: Work, job: TrainJob, case: Case, fitted: Fitted) -> Json:
    """The gate's verdict: skill, and the incumbent on the same rows."""
    incumbent = _incumbent(shop, work, job, fitted.target)
    comparison = None if incumbent is None else compare(incumbent, fitted, case, work.alive)
    return gate(fitted, recipe(job.recipe, shop.runtime.recipes).gate, comparison)


def _incumbent(shop: Workshop, work: Work, job: TrainJob, target: str) -> Fitted | None:
    """The active version, if it forecasts the same thing. A damaged one does not stand in its successor's way."""
    if work.job.entity_id is None:
        return None
    with shop.sessions() as session:
        active = registry.active(session, work.job.tenant_id, work.job.entity_id, job.model_of(target))
    if active is None or active.signature != job.spec.signature(target):
        return None
    try:
        return shop.model(active)
    except ArtefactCorrupt:
        return None


def _result(version: Version) -> Json:
    return {
        "target": version.target,
        "model": version.model_id,
        "version": version.semver,
        "active": version.active,
        "served_by": version.served_by,
        "metrics": version.metrics,
        "gate": version.gate,
    }
