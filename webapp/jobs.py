"""Jobs: list, look, wait, cancel, retry."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, request

from db import entities, ledger
from db.models import Job
from tasks import status, submit
from tasks.problems import problem
from webapp.answers import Answer, Document, accepted, asker, etag, shown, watching
from webapp.bodies import Blueprint
from webapp.context import runtime, tenant_id
from webapp.pages import decode, page, text
from webapp.problems import Refusal, answer
from webapp.schemas import jobs as wire
from webapp.schemas.fields import iso, moment
from webapp.watch import until

blp = Blueprint("jobs", __name__, description="One job resource for every kind of work")


@blp.route("/jobs")
@blp.arguments(wire.JobQuery, location="query")
@blp.response(200, wire.JobPage)
def list_jobs(query: dict[str, Any]) -> Document:
    """Newest first

    Items of batches appear only when an entity is asked for.
    """
    filters = {"list": "jobs"} | {name: query[name] for name in ("kind", "state", "entity")}
    mark = decode(query["cursor"], filters, _read_mark)
    with runtime().sessions() as session:
        entity = entities.get(session, tenant_id(), query["entity"]) if query["entity"] else None
        rows = ledger.page(
            session,
            tenant_id(),
            kind=query["kind"],
            state=query["state"],
            entity_id=entity.id if entity else None,
            limit=query["limit"] + 1,
            before=mark,
        )
    return _documents(page(rows, query["limit"], lambda job: [iso(job.created_at), job.id], filters))


def _read_mark(mark: Any) -> tuple[datetime, str]:
    created_at, job_id = mark
    return moment(created_at), text(job_id)


def _documents(found: dict[str, Any]) -> Document:
    return found | {"data": [shown(status.document(job)) for job in found["data"]]}


@blp.route("/jobs/<job_id>")
@blp.arguments(wire.WaitQuery, location="query")
@blp.response(200, wire.Job)
@blp.alt_response(304, description="Nothing changed since the ETag in If-None-Match.", success=True)
def get_job(query: dict[str, Any], job_id: str) -> Answer | Response:
    """How a job stands

    200 also for a failed job. With `wait` the answer comes when the ETag is another than the one in If-None-Match (or than the
    present one), when the job ends, or when the time is over.
    """
    found = status.read(runtime(), tenant_id(), job_id)
    patience = min(query["wait"], runtime().settings.max_wait_s)
    if patience > 0 and not found["terminal"] and (not request.if_none_match or _seen(found)):
        known = etag(found)
        found = until(runtime(), tenant_id(), job_id, patience, lambda now: etag(now) != known)
    if _seen(found):
        return Response(status=304, headers=watching(found))
    return shown(found), 200, watching(found)


def _seen(found: Document) -> bool:
    return request.if_none_match.contains_weak(etag(found))


@blp.route("/jobs/<job_id>/result")
@blp.response(200, wire.Result)
def get_result(job_id: str) -> Document | Response:
    """What a succeeded job brought

    A job that did not succeed answers with its own problem; one that has not ended, with 409.
    """
    found = status.read(runtime(), tenant_id(), job_id)
    if not found["terminal"]:
        raise Refusal("job_not_finished", f"Job {job_id} is {found['state']}.")
    if found["state"] != "succeeded":
        error = found["error"] or problem("cancelled", f"Job {job_id} was cancelled.")
        # The outcome is settled: a 5xx would make clients and proxies ask again.
        return answer(error | {"status": error["status"] if error["status"] < 500 else 409})
    return {"job": job_id, "kind": found["kind"], "result": found["result"]}


@blp.route("/jobs/<job_id>/items")
@blp.arguments(wire.ItemQuery, location="query")
@blp.response(200, wire.JobPage)
def list_items(query: dict[str, Any], job_id: str) -> Document:
    """The items of a batch, in the order in which they were given"""
    filters = {"list": "items", "job": job_id, "state": query["state"]}
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        parent: Job = ledger.get(session, tenant_id(), job_id)
        rows = ledger.items(session, tenant_id(), parent.id, state=query["state"], limit=query["limit"] + 1, after=mark)
    return _documents(page(rows, query["limit"], lambda job: job.id, filters))


@blp.route("/jobs/<job_id>/cancel", methods=["POST"])
@blp.response(200, wire.Job)
def cancel_job(job_id: str) -> Answer:
    """A queued job is cancelled at once, a running one asked to stop; one that has ended stays as it is"""
    with runtime().sessions.begin() as session:
        ledger.cancel(session, tenant_id(), job_id)
    found = status.fresh(runtime(), tenant_id(), job_id)
    return shown(found), 200, watching(found)


@blp.route("/jobs/<job_id>/retry", methods=["POST"])
@blp.doc(parameters=[wire.IDEMPOTENCY_KEY])
@blp.response(202, wire.Job)
def retry_job(job_id: str) -> Answer:
    """A failed or cancelled job again, as a new one

    Of a batch, its items that did not succeed.
    """
    return accepted(submit.retry(runtime(), asker(), job_id))
