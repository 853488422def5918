"""Backtests: what forecasts of the past would have been worth, in numbers and drawn."""

from __future__ import annotations

from flask import Response

from tasks import status, submit
from tasks.jobs import BacktestJob
from tasks.orders import BacktestOrder
from webapp import drawing
from webapp.answers import answered, asker
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.negotiate import SVG
from webapp.problems import Refusal
from webapp.schemas import backtests as wire
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import IDEMPOTENCY_KEY, PREFER, WAITED
from webapp.schemas.submissions import Asked

blp = Blueprint("backtests", __name__, description="Forecasts of what is known by now, scored")

#: A browser that shows the drawing as a page of its own is to run and to fetch nothing, whatever came in.
_INERT = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


@blp.route("/backtests", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY, PREFER)
@blp.arguments(wire.BacktestIn)
@blp.response(202, Job, headers=WAITED, description="The job stands; its `result` is still null.")
@blp.alt_response(200, schema=Job, headers=WAITED, description="The job ended within `Prefer: wait=n`.", success=True)
@blp.refuses("entity_not_found", "model_not_found", "version_not_found", "version_pruned", "no_active_version")
@blp.refuses("insufficient_data", "quota_exceeded", "queue_saturated", "source_unavailable", "source_unreadable")
def backtest(asked: Asked[BacktestOrder]) -> Response:
    """Try a recipe or a version on the past

    Of a recipe: the later half of the rows is cut into `folds`. Each is forecast, after every row, by a network that was trained as
    `POST /models/train` would have trained it on the rows before, and no later one was read. Nothing of it is published.
    Of a version: nothing is trained; it forecasts what came after the rows that its training had, or the span that is named. What its
    training had is told apart and does not count. Errors are told beside the naive baselines', for each step of the horizon.
    """
    return answered(submit.backtest(runtime(), asker(asked.metadata), asked.order))


@blp.route("/backtests/<job_id>/chart.svg")
@blp.response(200, {"type": "string"}, content_type=SVG, description="The drawing; no script in it, and nothing from elsewhere.")
@blp.refuses("job_not_found", "job_not_finished")
def get_chart(job_id: str) -> Response:
    """Draw a backtest: error by step, and truth beside forecast

    404 also for a job that is no backtest, or that brought no result.
    """
    found = status.read(runtime(), tenant_id(), job_id)
    if found["kind"] != BacktestJob.kind:
        raise Refusal("job_not_found", f"Job {job_id} is of kind {found['kind']}; only backtests are drawn.")
    if not found["terminal"]:
        raise Refusal("job_not_finished", f"Job {job_id} is {found['state']}.")
    if found["result"] is None:
        raise Refusal("job_not_found", f"Backtest {job_id} has no result to draw: it is {found['state']}, or its entity was erased.")
    return Response(drawing.backtest(found["result"]), content_type=SVG, headers={"Content-Security-Policy": _INERT})
