"""Backtests: history in, what forecasts of it would have been worth out. Nothing is published but the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db import entities
from db.models import Json
from ml.backtest import Backtest, of_recipe, of_version
from ml.errors import UnusableData
from ml.fitted import Epoch, Fitted
from ml.series import RawChannels
from ml.spec import ModelSpec
from tasks.documents import finish_at
from tasks.execute import Work
from tasks.history import fetch
from tasks.jobs import BacktestJob
from tasks.meaning import require_bounded
from tasks.questions import serving
from tasks.sources import Place, at, is_unmeasured
from tasks.train import FIT_FROM, FIT_UNTIL, figures, history
from tasks.workshop import Workshop


def backtest(shop: Workshop, works: Sequence[Work]) -> None:
    """Make each backtest in hand."""
    for work in works:
        with work.outcome():
            _backtest(shop, work)


@dataclass(frozen=True)
class _Watcher:
    """Who watches fold after fold: clients see each epoch, and a job that must stop stops between two batches."""

    work: Work
    folds: int = 1

    def epoch(self, fold: int, epoch: Epoch) -> bool:
        done = (fold + epoch.number / epoch.epochs) / self.folds
        left = self.folds * epoch.epochs * (1 - done) * epoch.seconds
        told = {"fold": fold + 1, "folds": self.folds, "fraction": _share(done), "finish_at": finish_at(left)}
        self.work.progress("fit", **figures(epoch) | told)
        return True

    def alive(self) -> None:
        self.work.alive()


def _share(done: float) -> float:
    return round(FIT_FROM + (FIT_UNTIL - FIT_FROM) * done, 3)


def _backtest(shop: Workshop, work: Work) -> None:
    job = BacktestJob.from_dict(work.job.spec)
    work.progress("fetch", fraction=0.0)
    made, origin = _of_version(shop, work, job) if job.spec is None else _of_recipe(shop, work, job, job.spec)
    work.progress("publish", fraction=FIT_UNTIL)
    result = {"entity": job.entity, **origin, **made.as_dict()}
    work.publish(lambda _: (result, list(made.warnings)))


def _of_recipe(shop: Workshop, work: Work, job: BacktestJob, spec: ModelSpec) -> tuple[Backtest, Json]:
    with shop.sessions() as session:
        place = at(session, shop.runtime, work.job.tenant_id, entities.get(session, work.job.tenant_id, job.entity), job.source)
        raw = history(place, spec, job.look_back_hours)
    if is_unmeasured(place):
        require_bounded(min(len(raw[target][0]) for target in spec.targets), "look_back_hours", job.look_back_hours)
    folds = job.folds or 1
    made = of_recipe(job.entity, raw, spec, folds, _Watcher(work, folds), device=shop.device)
    if made is None:
        raise UnusableData("The backtest ended before its last fold.")
    return made, {"recipe": job.recipe, "model": None, "version": None}


def _of_version(shop: Workshop, work: Work, job: BacktestJob) -> tuple[Backtest, Json]:
    """Raises NotFound, Conflict (pruned), ArtefactCorrupt."""
    with shop.sessions() as session:
        entity = entities.get(session, work.job.tenant_id, job.entity)
        version = serving(session, work.job.tenant_id, entity, job.target, job.version)
        fitted = shop.model(version)
        place = at(session, shop.runtime, work.job.tenant_id, entity, job.source or version.source)
        raw = _since_training(place, job, fitted)
    if is_unmeasured(place):
        require_bounded(len(raw[fitted.target][0]), "from", job.begin and job.begin.isoformat())
    work.progress("forecast", fraction=FIT_FROM)
    made = of_version(fitted, raw, job.begin, job.end, _Watcher(work).alive)
    return made, {"recipe": version.recipe, "model": version.model_id, "version": version.semver}


def _since_training(place: Place, job: BacktestJob, fitted: Fitted) -> RawChannels:
    """The rows that the training had and those after it, and as far beyond the end as the version knows ahead."""
    ahead = timedelta(seconds=(fitted.spec.horizon + 1) * fitted.step_s)
    until = None if job.end is None else job.end + ahead
    return fetch(place, fitted.spec.channels, since=fitted.data_from - timedelta(seconds=fitted.step_s), until=until)
