"""Pretraining: many entities' histories in, one network out for trainings to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from db import entities, registry
from db.errors import NotFound
from db.models import Json, Version
from ml import artifact
from ml.errors import InsufficientData, ModelError, UnusableData
from ml.fitted import Case, Epoch, Pretrained
from ml.lessons import MOST_POOLED, numbers_of
from ml.metrics import Scores
from ml.requirement import Requirement
from ml.series import Notice, moment, notice
from ml.trainer import prepare, pretrain
from tasks.execute import Work
from tasks.jobs import PretrainJob
from tasks.orders import FEWEST
from tasks.sources import at, origin
from tasks.train import FIT_UNTIL, figures, history
from tasks.workshop import Workshop

#: Notices about single entities that are kept with a base.
MOST_NOTICES = 50


def pretrain_base(shop: Workshop, works: Sequence[Work]) -> None:
    """Make each base in hand."""
    for work in works:
        with work.outcome():
            _pretrain(shop, work)


@dataclass(frozen=True)
class _Watcher:
    """Who watches the training: clients see each epoch, and a job that must stop stops between two batches."""

    work: Work

    def epoch(self, _: int, epoch: Epoch) -> bool:
        self.work.progress("fit", **figures(epoch))
        return True

    def alive(self) -> None:
        self.work.alive()


def _pretrain(shop: Workshop, work: Work) -> None:
    job = PretrainJob.from_dict(work.job.spec)
    cases, notices = _cases(shop, work, job)
    learned = pretrain(cases, job.spec, _Watcher(work), device=shop.device)
    if learned is None:
        raise UnusableData("Pretraining ended before its first epoch.")
    work.progress("publish", fraction=FIT_UNTIL)
    new = _version(shop, work, job, cases, learned)

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        version = work.publish_version(session, new, job.activation)
        return _result(job, version, learned), notices

    work.publish(write)


def _cases(shop: Workshop, work: Work, job: PretrainJob) -> tuple[list[Case], list[Notice]]:
    """The entities that can be learned from. One that cannot, or no longer fits in, is left out and said so. Raises InsufficientData."""
    cases: list[Case] = []
    notices: list[Notice] = []
    numbers = 0
    for done, name in enumerate(job.entities):
        work.progress("fetch", fraction=0.05 * done / len(job.entities), entities=len(cases))
        work.lease.alive()
        try:
            with shop.sessions() as session:
                place = at(session, shop.runtime, work.job.tenant_id, entities.get(session, work.job.tenant_id, name), job.source)
                raw = history(place, job.spec, job.look_back_hours)
            case = prepare(name, raw, job.spec)
        except (ModelError, NotFound) as error:
            notices.append(notice("entity_left_out", f"{name} was left out: {error}", entity=name))
            continue
        numbers += numbers_of(case)
        if numbers > MOST_POOLED:
            left = len(job.entities) - done
            notices.insert(0, notice("entity_left_out", f"{name} and those after it do not fit into memory: {left} left out.", entity=name))
            break
        cases.append(case)
    if len(cases) < FEWEST:
        raise InsufficientData([Requirement(f"{job.model}.entities", len(cases), FEWEST, "entity", False)])
    return cases, notices[:MOST_NOTICES]


def _version(shop: Workshop, work: Work, job: PretrainJob, cases: Sequence[Case], learned: Pretrained) -> registry.NewVersion:
    saved = artifact.save_base(learned, shop.settings.model_dir)
    begin, end = _span(cases)
    skill = 1 - sum(learned.losses.values()) / len(learned.losses)
    stop = Scores(n=len(learned.losses), skill=skill)
    return registry.NewVersion(
        job_id=work.job.id,
        fence=work.claim.fence,
        recipe=job.recipe,
        target=job.model,
        spec=job.spec.as_dict(),
        spec_hash=job.spec.fingerprint(),
        signature=job.spec.signature(job.model),
        served_by=job.spec.network,
        metrics={job.spec.network: {"stop": stop.as_dict()}},
        gate={
            "passed": skill > 0,
            "checks": [{"name": "skill", "have": skill, "need": 0.0, "met": skill > 0}],
            "production_ready": None,
        },
        warnings=[],  # those of the job name entities, and a version outlives its job
        artefact_sha256=saved.sha256,
        artefact_bytes=saved.bytes,
        data_from=begin,
        data_until=end,
        source=origin(job.source),
    )


def _span(cases: Sequence[Case]) -> tuple[datetime, datetime]:
    spans = [case.series.times[[0, -1]] for case in cases]
    return moment(min(span[0] for span in spans)), moment(max(span[1] for span in spans))


def _result(job: PretrainJob, version: Version, learned: Pretrained) -> Json:
    return {
        "base": job.entity,
        "target": job.model,
        "model": version.model_id,
        "version": version.semver,
        "active": version.active,
        "entities": len(learned.losses),
        "skill": version.metrics[job.spec.network]["stop"]["skill"],
        "losses": learned.losses,
        "gate": version.gate,
    }
