"""Schedules: make them, look what comes next and what became of each run, pause and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from flask import g
from sqlalchemy.orm import Session

from db import schedules
from db.models import Schedule, ScheduleRun
from tasks import schedules as planning
from tasks.retrain import CONDITIONS
from tasks.schedules import NewSchedule, timetable_of
from tasks.templates import whom
from tasks.timetable import Due
from webapp.auth import PREFIX
from webapp.context import by, runtime, tenant_id
from webapp.contract import Blueprint
from webapp.pages import decode, number, page, text
from webapp.schemas import schedules as wire
from webapp.schemas.pages import PageQuery
from webapp.schemas.parameters import always
from webapp.schemas.runs import ScheduleRunPage
from webapp.selection import require_makeable

blp = Blueprint("schedules", __name__, description="Jobs that are asked for again and again")

#: Runs to come, and runs that were, that a schedule is shown with.
SHOWN = 5
#: Entities that a template is shown with.
MOST_NAMES = 100


@blp.route("/schedules", methods=["POST"])
@blp.arguments(wire.ScheduleIn)
@blp.response(201, wire.ScheduleInFull, headers=always("Location"), description="The schedule stands.")
@blp.refuses("entity_not_found", "model_not_found", "version_not_found", "version_pruned", "schedule_exists", "too_many_schedules")
def create_schedule(new: NewSchedule) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Have a job asked for again and again

    The template is checked as the route that it stands for checks its body, and refused as there, but for what passes by itself: too little
    data, no active version, a full quota or queue. A selector is looked up at each run, so entities that are made later are meant, too.
    Each due moment is fired once, however many dispatchers run and whatever dies.
    """
    require_makeable(new.order.source, whom(new.order))
    g.body_place, g.body_keys = ("template", new.kind), {"entities", "selector", *new.template}
    row = planning.make(runtime(), tenant_id(), new, by=by())
    found = _in_full(row.id)
    return found, 201, {"Location": found["links"]["self"]}


@blp.route("/schedules")
@blp.arguments(PageQuery, location="query")
@blp.response(200, wire.SchedulePage)
def list_schedules(query: dict[str, Any]) -> dict[str, Any]:
    """List schedules, oldest first"""
    filters = {"list": "schedules"}
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        rows = schedules.page(session, tenant_id(), limit=query["limit"] + 1, after=mark)
        found = page(rows, query["limit"], lambda row: row.id, filters)
        return found | {"data": _described(session, found["data"])}


@blp.route("/schedules/<schedule_id>")
@blp.response(200, wire.ScheduleInFull)
@blp.refuses("schedule_not_found")
def get_schedule(schedule_id: str) -> dict[str, Any]:
    """Look at a schedule, its next five runs and its last five"""
    return _in_full(schedule_id)


@blp.route("/schedules/<schedule_id>", methods=["PATCH"])
@blp.arguments(wire.ScheduleChangeIn)
@blp.response(200, wire.ScheduleInFull)
@blp.refuses("schedule_not_found")
def change_schedule(told: dict[str, Any], schedule_id: str) -> dict[str, Any]:
    """Pause a schedule, or resume it

    Resumed, it goes on with the first run that is due from now on; what was due meanwhile is not made up for.
    """
    planning.pause(runtime(), tenant_id(), schedule_id, paused=told["paused"], by=by())
    return _in_full(schedule_id)


@blp.route("/schedules/<schedule_id>", methods=["DELETE"])
@blp.response(204, description="It fires nothing any more.")
@blp.refuses("schedule_not_found")
def delete_schedule(schedule_id: str) -> None:
    """Delete a schedule and the record of its runs; jobs that it asked for stay"""
    with runtime().sessions.begin() as session:
        schedules.remove(session, tenant_id(), schedule_id, by=by())


@blp.route("/schedules/<schedule_id>/runs")
@blp.arguments(PageQuery, location="query")
@blp.response(200, ScheduleRunPage)
@blp.refuses("schedule_not_found")
def list_schedule_runs(query: dict[str, Any], schedule_id: str) -> dict[str, Any]:
    """List what became of each due moment, newest first"""
    filters = {"list": "schedule_runs", "schedule": schedule_id}
    mark = decode(query["cursor"], filters, number)
    with runtime().sessions() as session:
        row = schedules.get(session, tenant_id(), schedule_id)
        rows = schedules.runs(session, row, limit=query["limit"] + 1, before=mark)
    found = page(rows, query["limit"], lambda run: run.id, filters)
    return found | {"data": [_run(run) for run in found["data"]]}


def _in_full(schedule_id: str) -> dict[str, Any]:
    with runtime().sessions() as session:
        row = schedules.get(session, tenant_id(), schedule_id)
        [found] = _described(session, [row])
        last = schedules.runs(session, row, limit=SHOWN)
    return found | {"next_runs": _next_runs(row), "last_runs": [_run(run) for run in last]}


def _next_runs(row: Schedule) -> list[Due]:
    if row.due_at is None or row.next_at is None:
        return []
    return [Due(row.due_at, row.next_at), *islice(timetable_of(row).upcoming(row.due_at), SHOWN - 1)]


def _described(session: Session, rows: Sequence[Schedule]) -> list[dict[str, Any]]:
    counted = schedules.count_named(session, rows)
    return [_document(session, row, counted.get(row.id, 0)) for row in rows]


def _document(session: Session, row: Schedule, named: int) -> dict[str, Any]:
    here = f"{PREFIX}/schedules/{row.id}"
    same = ("id", "name", "kind", "cron", "every_s", "time_zone", "jitter_s", "missed", "paused", "fired_at", "created_at")
    return {name: getattr(row, name) for name in same} | {
        "template": {row.kind: _whom(session, row) | row.template},
        "entities": named if row.selector is None else None,
        "metadata": row.client_metadata,
        "when": row.conditions and dict.fromkeys(CONDITIONS) | row.conditions,
        "window": row.open_hours,
        "next_run": None if row.due_at is None else {"due_at": row.due_at, "fires_at": row.next_at},
        "links": {"self": here, "runs": f"{here}/runs"},
    }


def _whom(session: Session, row: Schedule) -> dict[str, Any]:
    """As the request named them."""
    if row.selector is not None:
        return {"selector": row.selector}
    names = [each.name for each in schedules.named(session, row, MOST_NAMES)]
    return {"entities": names} if row.job_order.get("batch", row.kind == "pretrain") else {"entity": next(iter(names), None)}


def _run(run: ScheduleRun) -> dict[str, Any]:
    same = ("due_at", "at", "state", "reason", "error", "job_id", "entities", "due", "why", "passed_over")
    links = {} if run.job_id is None else {"job": f"{PREFIX}/jobs/{run.job_id}"}
    return {name: getattr(run, name) for name in same} | {"links": links}
