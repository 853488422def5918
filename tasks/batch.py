"""Predictions in hand: one by itself, those of a batch together, their rows gathered and answered in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db import entities, forecasts, registry
from db.models import Json
from ml.errors import ModelError
from ml.floor import floored
from ml.forecaster import forecast, require_bounds
from ml.telling import Forecast
from tasks import sinks
from tasks.execute import Work
from tasks.gather import Found, gather
from tasks.jobs import PredictJob
from tasks.predict import Served, answer, asked, floor_of, predict_one, remembered
from tasks.questions import fresh_s
from tasks.sinks import Sending
from tasks.sources import origin
from tasks.together import publish_together
from tasks.workshop import Workshop


@dataclass(frozen=True)
class Made:
    """An answer on its way to be published."""

    work: Work
    question: forecasts.Question
    served: Served
    forecast: Forecast
    body: Json
    sink: str | None
    #: For how long others are given the answer; None where it is for its asker alone.
    kept_s: float | None


def predict(shop: Workshop, works: Sequence[Work]) -> None:
    """Answer each prediction in hand. Whoever cannot be answered among others is answered alone, and fails alone."""
    if len(works) > 1:
        made = _made(shop, _served(shop, _found(shop, works)))
        if made:
            _publish(shop, made)
    for work in works:
        if not work.settled:
            with work.outcome():
                predict_one(shop, work)


def _found(shop: Workshop, works: Sequence[Work]) -> list[Found]:
    """Those that are answered by an active version, with it loaded; not those that name another one or bring a future of their own."""
    jobs = _asking_of_the_active(works)
    with shop.sessions() as session:
        answering = registry.answering_many(session, works[0].job.tenant_id, {(job.entity, job.target) for _, job in jobs})
    found: list[Found] = []
    for work, job in jobs:
        entity, version = answering.get((job.entity, job.target), (None, None))
        if entity is not None and version is not None:
            with work.outcome():
                work.alive()
                fitted = shop.model(version)
                require_bounds(fitted, job.horizon, job.level)
                found.append(Found(work, job, entity, version, fitted, origin(job.source or version.source)))
    return found


def _asking_of_the_active(works: Sequence[Work]) -> list[tuple[Work, PredictJob]]:
    jobs: list[tuple[Work, PredictJob]] = []
    for work in works:
        with work.outcome():
            job = PredictJob.from_dict(work.job.spec)
            if job.version is None and job.future is None:
                jobs.append((work, job))
    return jobs


def _served(shop: Workshop, found: Sequence[Found]) -> list[tuple[Found, Served]]:
    """With their rows. Those whose rows nobody could read among others' are left out."""
    with shop.sessions() as session:
        channels = entities.channels_named(session, {(each.entity.id, each.version.target) for each in found})
    raws = gather(shop, found)
    there = [(each, raws[each.work.job.id]) for each in found if each.work.job.id in raws]
    return [(each, each.with_rows(raw, channels.get((each.entity.id, each.version.target)))) for each, raw in there]


def _made(shop: Workshop, served: Sequence[tuple[Found, Served]]) -> list[Made]:
    """Answered together where they are asked for the same steps and the same interval; who cannot be answered fails alone."""
    groups: dict[tuple[int | None, float | None], list[tuple[Found, Served]]] = {}
    for each in served:
        groups.setdefault((each[0].job.horizon, each[0].job.level), []).append(each)
    made: list[Made] = []
    for (horizon, level), some in groups.items():
        said = forecast([(one.fitted, one.raw) for _, one in some], horizon=horizon, level=level)
        for (found, one), told in zip(some, said, strict=True):
            with found.work.outcome():
                if isinstance(told, ModelError):
                    raise told
                kept_s = fresh_s(shop.runtime, found.source) if found.source == one.version.source else None
                said_so = floored(told, floor_of(shop, one), one.raw)
                made.append(Made(found.work, asked(one, found.job, told), one, said_so, answer(one, said_so), found.job.sink, kept_s))
    return made


def _publish(shop: Workshop, made: Sequence[Made]) -> None:
    """All in one transaction, each under its own fence; then the cache learns of those that were."""
    by_job = {one.work.job.id: one for one in made}

    def write(session: Session, held: Sequence[Work]) -> Mapping[str, tuple[Json, Sequence[Json]]]:
        ours = [by_job[work.job.id] for work in held]
        forecasts.store_all(session, ours[0].work.job.tenant_id, [_kept(one) for one in ours if one.kept_s is not None])
        sent = sinks.send(shop.sink, session, [_sending(one) for one in ours])
        return {one.work.job.id: ({"forecast": one.body} | told, list(one.forecast.warnings)) for one, told in zip(ours, sent, strict=True)}

    publish_together(shop, [one.work for one in made], write)
    for kept_s in {one.kept_s for one in made if one.kept_s is not None}:
        answers = {one.question: remembered(one.work, one.body, kept_s) for one in made if one.work.settled and one.kept_s == kept_s}
        shop.runtime.cache.put_all(made[0].work.job.tenant_id, answers, kept_s)


def _sending(made: Made) -> Sending:
    return Sending(made.sink, made.work.job.tenant_id, made.served.version.id, made.body)


def _kept(made: Made) -> forecasts.Made:
    return forecasts.Made(made.question, made.served.entity.id, made.work.job.id, made.forecast.data_until, made.body)
