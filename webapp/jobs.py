"""Jobs: list, look, wait, cancel, retry."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from flask import Response, request

from db import entities, ledger
from db.models import Job
from tasks import documents, status, submit
from tasks.documents import Glance
from tasks.problems import problem
from webapp.answers import Document, accepted, asker, passed_on, watching, written
from webapp.context import runtime, tenant_id, wsgi
from webapp.contract import Blueprint
from webapp.pages import decode, page, text
from webapp.problems import Refusal, answer
from webapp.schemas import jobs as wire
from webapp.schemas.fields import iso, moment
from webapp.schemas.parameters import IDEMPOTENCY_KEY, IF_NONE_MATCH, SUBMITTED, WATCHING
from webapp.watch import until

blp = Blueprint("jobs", __name__, description="One job resource for every kind of work")


@blp.route("/jobs")
@blp.arguments(wire.JobQuery, location="query")
@blp.response(200, wire.JobPage)
@blp.refuses("entity_not_found")
def list_jobs(query: dict[str, Any]) -> Document:
    """List jobs, newest first

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
    return found | {"data": [documents.document(runtime().settings, job) for job in found["data"]]}


@blp.route("/jobs/<job_id>")
@blp.reads(IF_NONE_MATCH)
@blp.arguments(wire.WaitQuery, location="query")
@blp.response(200, wire.Job, headers=WATCHING)
@blp.alt_response(304, headers=WATCHING, description="Nothing changed since the ETag in If-None-Match.", success=True)
@blp.refuses("job_not_found")
def get_job(query: dict[str, Any], job_id: str) -> Response:
    """Look at a job

    200 also for a failed job. With `wait` the answer comes when the ETag is another than the one in If-None-Match (or than the
    present one), when the job ends, or when the time is over.
    """
    seen, text = status.glance(runtime(), tenant_id(), job_id)
    if not query["wait"] and wsgi("HTTP_IF_NONE_MATCH") is None:  # most polls
        return passed_on(text, watching(seen))
    if _behind(seen):
        found = status.fresh(runtime(), tenant_id(), job_id)
        seen, text = Glance.at(found), json.dumps(found)
    patience = min(query["wait"], runtime().settings.max_wait_s)
    if patience > 0 and not seen.terminal and (not request.if_none_match or _known(seen) or _behind(seen)):
        known = max(seen.place, _told())
        found = until(runtime(), tenant_id(), job_id, patience, lambda now: Glance.at(now).place > known)
        seen, text = Glance.at(found), json.dumps(found)
    if _known(seen):
        return Response(status=304, headers=watching(seen))
    if _behind(seen):
        return Response(status=304, headers=watching(seen) | {"ETag": wsgi("HTTP_IF_NONE_MATCH")})
    return passed_on(text, watching(seen))


def _known(seen: Glance) -> bool:
    """Whether the client has this very status."""
    told = wsgi("HTTP_IF_NONE_MATCH")
    return told is not None and (told == f'"{seen.etag}"' or request.if_none_match.contains_weak(seen.etag))


def _behind(seen: Glance) -> bool:
    """Whether the client has seen more than is found: Redis was emptied, or away and is back with what it knew then.

    Whoever sends its ETag is never told anything older. (Progress alone can be lost so; it is on record with the next heartbeat.)
    """
    return wsgi("HTTP_IF_NONE_MATCH") is not None and not seen.terminal and seen.place < _told()


def _told() -> tuple[int, int]:
    """The latest place that the client names as known."""
    named = _ETAG.findall(wsgi("HTTP_IF_NONE_MATCH") or "")
    return max(((int(rev), int(step)) for rev, step in named), default=(-1, -1))


#: Of a job: its revision and the step within. More digits than any job has are none of ours.
_ETAG = re.compile(r'"(\d{1,15})\.(\d{1,15})"')


@blp.route("/jobs/<job_id>/result")
@blp.response(200, wire.Result)
@blp.refuses("job_not_found", "job_not_finished", *(code for code in wire.OUTCOMES if code not in wire.SETTLED))
@blp.refuses(*wire.SETTLED, status=409)
def get_result(job_id: str) -> Document | Response:
    """Read what a succeeded job brought

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
@blp.refuses("job_not_found")
def list_items(query: dict[str, Any], job_id: str) -> Document:
    """List the items of a batch, in the order in which they were given"""
    filters = {"list": "items", "job": job_id, "state": query["state"]}
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        parent: Job = ledger.get(session, tenant_id(), job_id)
        rows = ledger.items(session, tenant_id(), parent.id, state=query["state"], limit=query["limit"] + 1, after=mark)
    return _documents(page(rows, query["limit"], lambda job: job.id, filters))


@blp.route("/jobs/<job_id>/cancel", methods=["POST"])
@blp.response(200, wire.Job, headers=WATCHING)
@blp.refuses("job_not_found")
def cancel_job(job_id: str) -> Response:
    """Cancel a job

    A queued job is cancelled at once, a running one asked to stop (`cancelling`); one that has ended stays as it is. Of a batch, its items.
    """
    found = submit.cancel(runtime(), tenant_id(), job_id)
    return written(found, watching(Glance.at(found)))


@blp.route("/jobs/<job_id>/retry", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY)
@blp.response(
    202, wire.Job, headers=SUBMITTED, description="A new job, with `retry_of`; `deduplicated`: one that asks for the same stood already."
)
@blp.refuses("job_not_found", "entity_not_found", "job_not_finished", "job_succeeded", "quota_exceeded", "queue_saturated")
def retry_job(job_id: str) -> Response:
    """Try a failed or cancelled job again, as a new one

    Of a batch, its items that did not succeed.
    """
    return accepted(submit.retry(runtime(), asker(), job_id))
