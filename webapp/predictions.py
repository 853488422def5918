"""Predictions: answered from the cache or queued, alone or in batches, and as what-ifs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response

from db import entities, forecasts
from db.errors import NotFound
from db.models import Version
from tasks import submit
from tasks.jobs import WhatIfJob
from tasks.orders import PredictOrder
from tasks.questions import fresh_s
from webapp.answers import accepted, answered, asker
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.schemas import predictions as wire
from webapp.schemas.forecasts import StoredForecast
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import IDEMPOTENCY_KEY, PREFER, SUBMITTED, WAITED
from webapp.schemas.submissions import Asked
from webapp.schemas.what_ifs import WhatIfIn
from webapp.selection import named

blp = Blueprint("predictions", __name__, description="Forecasts with intervals, and scenarios beside them")

#: What stands in the way of an answer, whichever way it is asked for.
_NO_ANSWER = (
    "entity_not_found",
    "model_not_found",
    "version_not_found",
    "version_pruned",
    "no_active_version",
    "quota_exceeded",
    "queue_saturated",
)


@blp.route("/predict", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY, PREFER)
@blp.arguments(wire.PredictIn)
@blp.response(202, Job, headers=WAITED, description="The job stands; its `result` is still null.")
@blp.alt_response(200, schema=Job, headers=WAITED, description="In hand, or ended within `Prefer: wait=n`.", success=True)
@blp.refuses(*_NO_ANSWER)
def predict(asked: Asked[PredictOrder]) -> Response:
    """Forecast one target of one entity"""
    return answered(submit.predict(runtime(), asker(asked.metadata), asked.order))


@blp.route("/predict/batch", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY)
@blp.arguments(wire.PredictBatchIn)
@blp.response(202, Job, headers=SUBMITTED, description="The job stands, and each pair of entity and target is an item of it.")
@blp.refuses("entity_not_found", "quota_exceeded", "queue_saturated")
def predict_batch(asked: wire.BatchAsked) -> Response:
    """Forecast many entities and targets; each pair is an item of one job"""
    order = replace(asked.order, entities=named(asked.whom))
    return accepted(submit.predict(runtime(), asker(asked.metadata), order))


@blp.route("/predict/what-if", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY, PREFER)
@blp.arguments(WhatIfIn)
@blp.response(202, Job, headers=WAITED, description="The job stands; its `result` is still null.")
@blp.alt_response(200, schema=Job, headers=WAITED, description="The job ended within `Prefer: wait=n`.", success=True)
@blp.refuses(*_NO_ANSWER)
def what_if(asked: Asked[WhatIfJob]) -> Response:
    """Forecast scenarios beside a baseline"""
    return answered(submit.what_if(runtime(), asker(asked.metadata), asked.order))


@blp.route("/entities/<name:entity>/forecasts/<name:target>")
@blp.response(200, StoredForecast)
@blp.refuses("entity_not_found", "forecast_not_found")
def get_forecast(entity: str, target: str) -> dict[str, Any]:
    """Read the newest forecast that was made

    Nothing is computed: `stale` says whether POST /predict would bring another one today.
    """
    with runtime().sessions() as session:
        asked = entities.get(session, tenant_id(), entity)
        found = forecasts.newest(session, tenant_id(), asked.id, target)
        if found is None:
            raise NotFound("forecast", f"{entity} {target}")
        kept_s = fresh_s(runtime(), session.get_one(Version, found.version_id).source)
        return found.body | {"cached": True, "stale": not forecasts.stands(session, found, asked.data_rev, kept_s)}
