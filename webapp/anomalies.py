"""Anomalies: detectors that learn what is usual of an entity, and what they found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response

from db import anomalies, entities
from db.anomalies import Told
from tasks import submit
from tasks.alarms import DetectOrder, WatchOrder
from webapp.answers import accepted, answered, asker
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.pages import decode, number, page
from webapp.schemas import anomalies as wire
from webapp.schemas.detectors import WatchIn
from webapp.schemas.fields import iso, moment
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import IDEMPOTENCY_KEY, PREFER, SUBMITTED, WAITED
from webapp.schemas.submissions import Asked
from webapp.selection import require_makeable

blp = Blueprint("anomalies", __name__, description="What is unusual of an entity")


@blp.route("/anomalies/train", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY)
@blp.arguments(WatchIn)
@blp.response(202, Job, headers=SUBMITTED, description="The job stands, and will reach its end. `deduplicated`: it stood already.")
@blp.refuses("entity_not_found", "insufficient_data", "quota_exceeded", "queue_saturated", "source_unavailable", "source_unreadable")
def train_detector(asked: Asked[WatchOrder]) -> Response:
    """Learn what is usual of an entity

    A detector is a model of kind `anomaly`: it has versions, is activated, rolled back, exported and erased like every other. It needs
    no labels. A channel that the entity does not have is refused, and the answer names those that it has.
    """
    require_makeable(asked.order.source, [asked.order.entity])
    return accepted(submit.watch(runtime(), asker(asked.metadata), asked.order))


@blp.route("/anomalies/detect", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY, PREFER)
@blp.arguments(wire.DetectIn)
@blp.response(202, Job, headers=WAITED, description="The job stands; its `result` is still null.")
@blp.alt_response(200, schema=Job, headers=WAITED, description="The job ended within `Prefer: wait=n`.", success=True)
@blp.refuses("entity_not_found", "model_not_found", "version_not_found", "version_pruned", "no_active_version")
@blp.refuses("insufficient_data", "quota_exceeded", "queue_saturated", "source_unavailable", "source_unreadable")
def detect_anomalies(asked: Asked[DetectOrder]) -> Response:
    """Judge the rows of a stretch of time

    By default the last 24 hours of the entity's own rows, whatever the clock says. Whether a row is called depends on that row and
    earlier ones alone. What is found is kept, and listed with `GET /entities/{entity}/anomalies`; judging the same again changes nothing.
    """
    return answered(submit.detect(runtime(), asker(asked.metadata), asked.order))


@blp.route("/entities/<name:entity>/anomalies")
@blp.arguments(wire.AnomalyQuery, location="query")
@blp.response(200, wire.AnomalyPage)
@blp.refuses("entity_not_found")
def list_anomalies(query: dict[str, Any], entity: str) -> dict[str, Any]:
    """List what detections found, newest first"""
    filters = {"list": "anomalies", "entity": entity} | {name: query[name] for name in ("begin", "end", "severity")}
    mark = decode(query["cursor"], filters, _read_mark)
    with runtime().sessions() as session:
        found = anomalies.page(
            session,
            entities.get(session, tenant_id(), entity),
            since=query["begin"],
            until=query["end"],
            severity=query["severity"],
            limit=query["limit"] + 1,
            after=mark,
        )
    listed = page(found, query["limit"], _mark, filters)
    return listed | {"data": [_document(told) for told in listed["data"]]}


def _document(told: Told) -> dict[str, Any]:
    columns = ("at", "score", "severity", "contributions", "model_id", "job_id", "found_at")
    return {column: getattr(told.row, column) for column in columns} | {"version": told.version}


def _mark(told: Told) -> list[Any]:
    return [iso(told.row.at), told.row.id]


def _read_mark(mark: Any) -> tuple[datetime, int]:
    at, row = mark
    return moment(at), number(row)
