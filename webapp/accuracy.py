"""Accuracy: forecasts beside what happened, and whether the version that serves still knows its entity."""

from __future__ import annotations

from typing import Any

from tasks.accuracy import accuracy
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.schemas import accuracy as wire

blp = Blueprint("accuracy", __name__, description="What forecasts were worth once what they spoke of had happened")


@blp.route("/entities/<name:entity>/accuracy/<name:target>")
@blp.response(200, wire.ModelAccuracy)
@blp.refuses("entity_not_found", "model_not_found")
def get_accuracy(entity: str, target: str) -> dict[str, Any]:
    """Hold a model's forecasts against what happened, version by version

    Of several forecasts of one version from the same last row the first counts; what-ifs and forecasts with a `future` of their own do
    not, and backtests are none. Each step is compared with the observation of its moment, as it is stored now. `drift` is the judgement
    about the version that serves as of now; `GET /models/{model_id}` tells the last one that was written down.
    """
    with runtime().sessions() as session:
        return accuracy(session, tenant_id(), entity, target, runtime().settings.accuracy_days)
