"""Forecasting: a served version and the newest rows in, a stored and cached forecast out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from db import entities, forecasts
from db.models import Channel, Entity, Json, Version
from db.sources import stored
from ml.errors import ModelError
from ml.fitted import Fitted
from ml.forecaster import Forecast, forecast, recent_rows
from ml.series import RawChannels
from tasks.execute import Work
from tasks.jobs import PredictJob, WhatIfJob
from tasks.questions import serving
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


def predict(shop: Workshop, works: Sequence[Work]) -> None:
    """Answer each prediction in hand."""
    for work in works:
        with work.outcome():
            _predict(shop, work)


def serve(shop: Workshop, work: Work, job: PredictJob | WhatIfJob) -> Served:
    """Load the version that answers and the rows it reads. Raises NotFound, Conflict (pruned), ArtefactCorrupt."""
    work.progress("fetch")
    with shop.sessions() as session:
        entity = entities.get(session, work.job.tenant_id, job.entity)
        version = serving(session, work.job.tenant_id, entity, job.target, job.version)
        fitted = shop.model(version)
        raw = stored.fetch(session, entity.id, fitted.spec.inputs, last_rows=recent_rows(fitted.spec, fitted.step_s))
        channel = next((channel for channel in entities.channels(session, entity.id) if channel.name == version.target), None)
    return Served(entity, version, fitted, raw, channel)


def _predict(shop: Workshop, work: Work) -> None:
    job = PredictJob.from_dict(work.job.spec)
    served = serve(shop, work, job)
    work.progress("forecast")
    [made] = forecast([(served.fitted, served.raw)], horizon=job.horizon, level=job.level)
    if isinstance(made, ModelError):
        raise made
    body = answer(served, made)
    question = forecasts.Question(served.version.id, job.target, served.entity.data_rev, len(made.points), made.level)

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        forecasts.store(
            session,
            work.job.tenant_id,
            question,
            entity_id=served.entity.id,
            job_id=work.job.id,
            data_until=made.data_until,
            body=body,
        )
        return {"forecast": body}, list(made.warnings)

    work.publish(write)
    _remember(shop, work, question, body)


def answer(served: Served, made: Forecast) -> Json:
    """The forecast as clients read it."""
    version = served.version
    origin = {"kind": made.served_by, "model": version.model_id, "version": version.semver}
    about = {"entity": served.entity.name, "unit": served.channel and served.channel.unit, "made_at": _iso(datetime.now(UTC))}
    return made.as_dict() | about | {"served_by": origin, "cached": False}


def _remember(shop: Workshop, work: Work, question: forecasts.Question, body: Json) -> None:
    ttl = shop.settings.forecast_ttl_s
    expires = {"cache_expires_at": _iso(datetime.now(UTC) + timedelta(seconds=ttl))}
    shop.runtime.cache.put(work.job.tenant_id, question, {"job_id": work.job.id, "forecast": body | expires}, ttl)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
