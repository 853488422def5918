"""The dashboard: pages about what a tenant has, for people who have logged in. What they do there goes through the API like all else."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from db import entities, ledger, overview
from db.models import Job
from tasks import documents, status
from tasks.accuracy import accuracy
from webapp.charts import SPANS, chart
from webapp.context import identity, runtime, tenant_id
from webapp.health import depths
from webapp.logins import PAGES
from webapp.pages import decode, number, page, text
from webapp.paper import readable, sheet
from webapp.portrait import portrait
from webapp.problems import fault, invalid
from webapp.schemas.fields import iso, moment, name_fault
from webapp.schemas.jobs import KINDS, STATES

blp = Blueprint(PAGES, __name__)
blp.after_request(readable)

#: Rows of one page of a list.
ROWS = 25


@blp.context_processor
def _visitor() -> dict[str, Any]:
    return {"who": identity(), "may": identity().scopes}


@blp.get("/")
def list_entities() -> Response:
    sought = _asked("q")
    filters = {"list": "overview", "q": sought}
    mark = decode(request.args.get("cursor"), filters, number)
    with runtime().sessions() as session:
        found = overview.entities(session, tenant_id(), containing=sought, limit=ROWS + 1, after=mark or 0)
        under_way = overview.under_way(session, tenant_id())
    listed = page(found, ROWS, lambda glance: glance.id, filters)
    return sheet("entities.html", listed=listed, sought=sought, first=mark is None, under_way=under_way, depths=depths())


@blp.get("/entities/<name:entity>")
def show_entity(entity: str) -> Response:
    channel, span = _asked("channel") or None, request.args.get("span")
    with runtime().sessions() as session:
        found = entities.get(session, tenant_id(), entity)
        told = portrait(session, found, channel)
    return sheet("entity.html", entity=found, spans=list(SPANS), span=span if span in SPANS else None, **told)


@blp.get("/charts/<name:entity>")
def show_chart(entity: str) -> Response:
    """The numbers of a picture, for the script that draws it."""
    channel = _asked("channel")
    with runtime().sessions() as session:
        found = entities.get(session, tenant_id(), entity)
        return jsonify(chart(session, found, channel, request.args.get("span")))


@blp.get("/accuracy/<name:entity>")
def show_accuracy(entity: str) -> Response:
    """It reads many forecasts, so the page about an entity asks for it when all else is there."""
    with runtime().sessions() as session:
        told = accuracy(session, tenant_id(), entity, _asked("target"), runtime().settings.accuracy_days)
    return sheet("accuracy.html", told=told)


@blp.get("/jobs")
def list_jobs() -> Response:
    kind, state, entity = (_asked(name) or None for name in ("kind", "state", "entity"))
    filters = {"list": "dashboard jobs", "kind": kind, "state": state, "entity": entity}
    mark = decode(request.args.get("cursor"), filters, _job_mark)
    with runtime().sessions() as session:
        about = entities.get(session, tenant_id(), entity).id if entity else None
        rows = ledger.page(session, tenant_id(), kind=kind, state=state, entity_id=about, limit=ROWS + 1, before=mark)
    listed = page(rows, ROWS, lambda job: [iso(job.created_at), job.id], filters)
    listed["data"] = [_brief(job) for job in listed["data"]]
    return sheet("jobs.html", listed=listed, asked=filters, first=mark is None, kinds=KINDS, states=STATES, depths=depths())


@blp.get("/jobs/<job_id>")
def show_job(job_id: str) -> Response:
    found = status.read(runtime(), tenant_id(), job_id)
    with runtime().sessions() as session:
        items = ledger.items(session, tenant_id(), job_id, limit=ROWS) if found["batch"] else []
    return sheet("job.html", job=found, items=[_brief(job) for job in items])


def _brief(job: Job) -> dict[str, Any]:
    """A job as a list shows it; of a batch, how many of its items have ended."""
    told = documents.document(runtime().settings, job)
    if job.children is not None and job.pending_children is not None:
        told["progress"] = {"ended": job.children - job.pending_children, "total": job.children}
    return told


def _job_mark(mark: Any) -> Any:
    created_at, job_id = mark
    return moment(created_at), text(job_id)


def _asked(name: str) -> str:
    """What the address says of it, as Postgres may be asked. Raises Refusal."""
    value = request.args.get(name, "")
    wrong = name_fault(value) if value else None
    if wrong is not None:
        raise invalid(fault(f"/query/{name}", "invalid", wrong))
    return value
