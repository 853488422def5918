"""Answers about jobs: the ledger's document with its links, its ETag and the moment to ask again."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Response, request

from db.models import SUCCEEDED
from tasks import status
from tasks.documents import Glance
from tasks.placing import Asker, Submitted
from webapp.auth import PREFIX
from webapp.bodies import whole_body
from webapp.context import runtime, tenant_id
from webapp.problems import Refusal, answer, fault, invalid
from webapp.watch import ended

Document = dict[str, Any]

#: Seconds until an unfinished job of a queue is worth asking about again while nobody can say when it will end.
ASK_AGAIN_S = {"interactive": 1, "batch": 5, "train": 5}
#: Longest a poller is sent away, whatever the estimate: it may be wrong, and a cancel should be seen.
LONGEST_S = 60
#: Problems of such a job that are answers to the request; what befell the worker is none.
ANSWERED = ("source_unavailable", "source_unreadable")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b")


def asker(metadata: Mapping[str, Any] | None = None) -> Asker:
    """Who asks, with the Idempotency-Key if there is one. The path is part of the route: two jobs' retries are two requests."""
    route = f"{request.method} {request.path}"
    key = _idempotency_key()
    return Asker(tenant_id(), route, key, hashlib.sha256(whole_body()).hexdigest() if key else "", metadata or {})


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise invalid(fault("/headers/Idempotency-Key", "invalid", "Must be 1 to 255 printable ASCII characters."))
    return key


def accepted(submitted: Submitted) -> Response:
    """202: the job stands in Postgres."""
    return _answer(_standing(submitted), submitted, 202)


def answered(submitted: Submitted) -> Response:
    """200 when the job has ended, or ends while the client is willing to wait; else 202."""
    found = _standing(submitted)
    patience = preferred_wait()
    if patience > 0 and not found["terminal"]:
        found = ended(tenant_id(), found, patience)
    if submitted.forecast is not None:
        found = found | {"result": {"forecast": submitted.forecast}}
    return _answer(found, submitted, 200 if found["terminal"] else 202)


def brought(submitted: Submitted) -> Response:
    """What the job brought, or its problem, as if the question had been answered here; 202 and the job where it does not end in time.

    Whoever says nothing waits as long as the server allows: a client that asks a question is there for its answer.
    """
    found = _standing(submitted)
    wished = preferred_wait() if "Prefer" in request.headers else runtime().settings.max_wait_s
    if wished > 0:
        found = ended(tenant_id(), found, wished)
    if not found["terminal"]:
        return _answer(found, submitted, 202)
    if found["state"] == SUCCEEDED:
        return written(found["result"], {})
    code = found["error"]["code"] if found["error"] else found["state"]
    if code not in ANSWERED:
        raise Refusal("internal", f"Job {found['id']}, which was to find it out, ended as {code}.")
    return answer(found["error"])


def _standing(submitted: Submitted) -> Document:
    if submitted.ahead is not None:
        return status.newborn(runtime(), submitted.job, submitted.ahead)
    return status.fresh(runtime(), tenant_id(), submitted.job.id)


def preferred_wait() -> float:
    """Seconds of `Prefer: wait=n` (RFC 7240), cut at what the server allows. A preference that cannot be read is no preference."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(float(found[1]), runtime().settings.max_wait_s) if found else 0.0


def _answer(found: Document, submitted: Submitted, code: int) -> Response:
    headers = watching(Glance.at(found)) | {"Location": f"{PREFIX}/jobs/{found['id']}"}
    if submitted.replayed:
        headers["Idempotent-Replayed"] = "true"
    if preferred_wait() > 0:
        headers["Preference-Applied"] = "wait"
    return written(found | {"deduplicated": submitted.deduplicated}, headers, code)


def written(found: Document, headers: Mapping[str, str], code: int = 200) -> Response:
    """A document as it stands: it has its shape from `tasks.status`, and writing it through a schema would take longer than making it."""
    return passed_on(json.dumps(found), headers, code)


def passed_on(text: str, headers: Mapping[str, str], code: int = 200) -> Response:
    """A document that is JSON already."""
    return Response(text + "\n", code, headers, content_type="application/json")


def watching(seen: Glance) -> dict[str, str]:
    """The headers that tell a poller what it has seen and when to come again."""
    headers = {"ETag": f'"{seen.etag}"'}
    if not seen.terminal:
        headers["Retry-After"] = str(_ask_again(seen))
    return headers


def _ask_again(seen: Glance) -> int:
    """Half of what is left: a poller that comes early is sent away for a shorter while, and is never late by more than that."""
    if seen.estimated_finish_at is None:
        return ASK_AGAIN_S.get(seen.queue, 5)
    left = datetime.fromisoformat(seen.estimated_finish_at) - datetime.now(UTC)
    return min(LONGEST_S, max(1, math.ceil(left.total_seconds() / 2)))
