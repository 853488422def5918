"""Predictions: answered from the cache or queued, alone or in batches, and as what-ifs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from db import entities, forecasts
from db.errors import NotFound
from tasks import submit
from tasks.jobs import WhatIfJob
from tasks.submit import PredictOrder
from webapp.answers import Answer, accepted, answered, asker
from webapp.bodies import Blueprint
from webapp.context import runtime, tenant_id
from webapp.schemas import predictions as wire
from webapp.schemas.jobs import IDEMPOTENCY_KEY, PREFER, Asked, Job
from webapp.selection import named

blp = Blueprint("predictions", __name__, description="Forecasts with intervals, and scenarios beside them")


@blp.route("/predict", methods=["POST"])
@blp.doc(parameters=[IDEMPOTENCY_KEY, PREFER])
@blp.arguments(wire.PredictIn)
@blp.response(202, Job)
@blp.alt_response(200, schema=Job, description="The answer was in hand, or came within `Prefer: wait=n`.", success=True)
def predict(asked: Asked[PredictOrder]) -> Answer:
    """Forecast one target of one entity"""
    return answered(submit.predict(runtime(), asker(asked.metadata), asked.order))


@blp.route("/predict/batch", methods=["POST"])
@blp.doc(parameters=[IDEMPOTENCY_KEY])
@blp.arguments(wire.PredictBatchIn)
@blp.response(202, Job)
def predict_batch(asked: wire.BatchAsked) -> Answer:
    """Forecast many entities and targets; each pair is an item of one job"""
    order = replace(asked.order, entities=named(asked.whom))
    return accepted(submit.predict(runtime(), asker(asked.metadata), order))


@blp.route("/predict/what-if", methods=["POST"])
@blp.doc(parameters=[IDEMPOTENCY_KEY, PREFER])
@blp.arguments(wire.WhatIfIn)
@blp.response(202, Job)
@blp.alt_response(200, schema=Job, description="The answer came within `Prefer: wait=n`.", success=True)
def what_if(asked: Asked[WhatIfJob]) -> Answer:
    """Forecast scenarios beside a baseline"""
    return answered(submit.what_if(runtime(), asker(asked.metadata), asked.order))


@blp.route("/entities/<name:entity>/forecasts/<name:target>")
@blp.response(200, wire.Forecast)
def get_forecast(entity: str, target: str) -> dict[str, Any]:
    """The newest forecast that was made"""
    with runtime().sessions() as session:
        found = forecasts.newest(session, tenant_id(), entities.get(session, tenant_id(), entity).id, target)
    if found is None:
        raise NotFound("forecast", f"{entity} {target}")
    return found.body | {"cached": True}
