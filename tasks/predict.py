"""Forecasting: a served version and the newest rows in, a stored and cached forecast out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
from sqlalchemy.orm import Session

from db import entities, forecasts
from db.models import Channel, Entity, Json, Version
from db.sources.stored import Series
from ml.errors import ModelError, SpecInvalid, UnusableData
from ml.fitted import Fitted
from ml.floor import floored
from ml.forecaster import forecast, recent_rows
from ml.grid import regularise
from ml.interpretation import interpret
from ml.scenarios import Direction
from ml.series import RawChannels, moment
from ml.telling import Forecast
from tasks import sinks
from tasks.execute import Work
from tasks.history import fetch
from tasks.jobs import Ahead, PredictJob, WhatIfJob
from tasks.questions import fresh_s, keeps, serving
from tasks.sinks import Sending
from tasks.sources import Place, at
from tasks.workshop import Workshop


@dataclass(frozen=True)
class Served:
    """All that an answer is made from."""

    entity: Entity
    version: Version
    fitted: Fitted
    raw: RawChannels
    #: The target's.
    channel: Channel | None


def serve(shop: Workshop, work: Work, job: PredictJob | WhatIfJob) -> Served:
    """Load the version that answers and the rows it reads.

    Raises NotFound, Conflict (pruned), ArtefactCorrupt, SpecInvalid, and as the place of its rows does.
    """
    work.progress("fetch")
    with shop.sessions() as session:
        entity = entities.get(session, work.job.tenant_id, job.entity)
        version = serving(session, work.job.tenant_id, entity, job.target, job.version)
        fitted = shop.model(version)
        channel = next((channel for channel in entities.channels(session, entity.id) if channel.name == version.target), None)
        raw = recent(at(session, shop.runtime, work.job.tenant_id, entity, job.source or version.source), fitted, job.future)
    return Served(entity, version, fitted, raw, channel)


def recent(place: Place, fitted: Fitted, future: Ahead | None = None) -> RawChannels:
    """The newest rows of what the model reads; of what is known ahead, those up to its horizon, and not the newest of a year's plan.

    `future` takes the place of what is stored of the same steps. Raises SpecInvalid where it names what the model does not know ahead:
    another version may have become active since it was asked.
    """
    spec, rows = fitted.spec, recent_rows(fitted.spec, fitted.step_s)
    for name in future or ():
        if name not in spec.future_covariates:
            raise SpecInvalid("future", name, f"the version knows ahead: {', '.join(spec.future_covariates) or 'no channel'}")
    past = [name for name in spec.channels if name not in spec.future_covariates]
    found = fetch(place, past, last_rows=rows)
    if not spec.future_covariates:
        return found
    end = _end(fitted, found)
    if end is None:
        return {**found, **fetch(place, spec.future_covariates, last_rows=rows + spec.horizon)}
    until = moment(end + (spec.horizon + 1) * fitted.step)
    ahead = fetch(place, spec.future_covariates, until=until, last_rows=rows + spec.horizon)
    return {**found, **ahead, **{name: _laid_over(ahead[name], values, end, fitted.step) for name, values in (future or {}).items()}}


def _end(fitted: Fitted, found: RawChannels) -> np.datetime64 | None:
    """The last row of the model's grid, one step before the first that is forecast; None where no row is left of what counts."""
    spec = replace(fitted.spec, covariates=(), future_covariates=(), rolling=(), cadence_s=fitted.step_s)
    try:
        series, _ = regularise(fitted.entity, found, spec)
    except UnusableData:  # which the forecast itself will say
        return None
    end: np.datetime64 = series.times[-1]
    return end


def _laid_over(stored_rows: Series, values: Sequence[float], end: np.datetime64, step: np.timedelta64) -> Series:
    """Rows with those of the first steps after `end` replaced by the values given."""
    stamps, numbers = stored_rows
    half, steps = step / 2, np.arange(1, len(values) + 1)
    kept = (stamps <= end + half) | (stamps > end + steps[-1] * step + half)
    times = np.concatenate([stamps[kept], end + steps * step])
    return times, np.concatenate([numbers[kept], np.asarray(values, dtype=np.float64)])


def predict_one(shop: Workshop, work: Work) -> None:
    """Answer one prediction."""
    job = PredictJob.from_dict(work.job.spec)
    served = serve(shop, work, job)
    work.progress("forecast")
    [made] = forecast([(served.fitted, served.raw)], horizon=job.horizon, level=job.level)
    if isinstance(made, ModelError):
        raise made
    made = floored(made, floor_of(shop, served), served.raw)
    body = answer(served, made)
    kept = keeps(job.future, job.source or served.version.source, served.version.source)  # else nothing to answer anybody else with
    question = asked(served, job, made)

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        if kept:
            about: dict[str, Any] = {"entity_id": served.entity.id, "job_id": work.job.id, "data_until": made.data_until, "body": body}
            forecasts.store(session, work.job.tenant_id, question, **about)
        [sent] = sinks.send(shop.sink, session, [Sending(job.sink, work.job.tenant_id, served.version.id, body)])
        return {"forecast": body} | sent, list(made.warnings)

    work.publish(write)
    if kept:
        _remember(shop, work, question, body, fresh_s(shop.runtime, served.version.source))


def floor_of(shop: Workshop, served: Served) -> float | None:
    """Of the recipe that the version was trained by, as the operator has it now."""
    found = shop.runtime.recipes.get(served.version.recipe or "")
    return None if found is None else found.floor_of(served.version.target)


def asked(served: Served, job: PredictJob, made: Forecast) -> forecasts.Question:
    """What the forecast is the answer to."""
    return forecasts.Question(served.version.id, job.target, served.entity.data_rev, len(made.points), made.level)


def answer(served: Served, made: Forecast) -> Json:
    """The forecast as clients read it."""
    version = served.version
    origin = made.origin | {"model": version.model_id, "version": version.semver}
    unit, direction = (served.channel.unit, served.channel.direction) if served.channel else (None, None)
    said = interpret(made.mean, made.history, unit=unit, direction=cast("Direction | None", direction))
    about = {"entity": served.entity.name, "unit": unit, "made_at": _iso(datetime.now(UTC)), "interpretation": said}
    return made.as_dict() | about | {"served_by": origin, "cached": False}


def _remember(shop: Workshop, work: Work, question: forecasts.Question, body: Json, kept_s: float) -> None:
    shop.runtime.cache.put(work.job.tenant_id, question, remembered(work, body, kept_s), kept_s)


def remembered(work: Work, body: Json, kept_s: float) -> Json:
    """An answer as the cache keeps it, for so long."""
    expires = {"cache_expires_at": _iso(datetime.now(UTC) + timedelta(seconds=kept_s))}
    return {"job_id": work.job.id, "forecast": body | expires}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
