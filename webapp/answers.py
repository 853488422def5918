"""Answers about jobs: the ledger's document with its links, its ETag and the moment to ask again."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import request

from tasks import status
from tasks.submit import Asker, Submitted
from webapp.auth import PREFIX
from webapp.bodies import whole_body
from webapp.context import runtime, tenant_id
from webapp.problems import fault, invalid
from webapp.watch import ended

Document = dict[str, Any]
#: What a view answers with: the body, the status, the headers.
Answer = tuple[Document, int, dict[str, str]]

#: Seconds until an unfinished job of a queue is worth asking about again while nobody can say when it will end.
ASK_AGAIN_S = {"interactive": 1, "batch": 5, "train": 5}
#: Longest a poller is sent away, whatever the estimate: it may be wrong, and a cancel should be seen.
LONGEST_S = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\b")


def asker(metadata: Mapping[str, Any] | None = None) -> Asker:
    """Who asks, with the Idempotency-Key if there is one. The path is part of the route: two jobs' retries are two requests."""
    route = f"{request.method} {request.path}"
    return Asker(tenant_id(), route, _idempotency_key(), hashlib.sha256(whole_body()).hexdigest(), metadata or {})


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise invalid(fault("/headers/Idempotency-Key", "invalid", "Must be 1 to 255 printable ASCII characters."))
    return key


def accepted(submitted: Submitted) -> Answer:
    """202: the job stands in Postgres."""
    return _answer(status.fresh(runtime(), tenant_id(), submitted.job.id), submitted, 202)


def answered(submitted: Submitted) -> Answer:
    """200 when the job has ended, or ends while the client is willing to wait; else 202."""
    found = status.fresh(runtime(), tenant_id(), submitted.job.id)
    patience = preferred_wait()
    if patience > 0 and not found["terminal"]:
        found = ended(runtime(), tenant_id(), submitted.job.id, patience)
    if submitted.forecast is not None:
        found = found | {"result": {"forecast": submitted.forecast}}
    return _answer(found, submitted, 200 if found["terminal"] else 202)


def preferred_wait() -> float:
    """Seconds of `Prefer: wait=n` (RFC 7240), cut at what the server allows. A preference that cannot be read is no preference."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(float(found[1]), runtime().settings.max_wait_s) if found else 0.0


def _answer(found: Document, submitted: Submitted, code: int) -> Answer:
    headers = watching(found) | {"Location": f"{PREFIX}/jobs/{found['id']}"}
    if submitted.replayed:
        headers["Idempotent-Replayed"] = "true"
    if preferred_wait() > 0:
        headers["Preference-Applied"] = "wait"
    return shown(found, deduplicated=submitted.deduplicated), code, headers


def shown(found: Document, *, deduplicated: bool = False) -> Document:
    """The document as clients see it."""
    return found | {"deduplicated": deduplicated, "expires_at": _expires(found), "links": _links(found)}


def watching(found: Document) -> dict[str, str]:
    """The headers that tell a poller what it has seen and when to come again."""
    headers = {"ETag": f'"{etag(found)}"'}
    if not found["terminal"]:
        headers["Retry-After"] = str(_ask_again(found))
    return headers


def _ask_again(found: Document) -> int:
    """Half of what is left: a poller that comes early is sent away for a shorter while, and is never late by more than that."""
    if found["estimated_finish_at"] is None:
        return ASK_AGAIN_S.get(found["queue"]["name"], 5)
    left = datetime.fromisoformat(found["estimated_finish_at"]) - datetime.now(UTC)
    return min(LONGEST_S, max(1, math.ceil(left.total_seconds() / 2)))


def etag(found: Document) -> str:
    """`rev.seq`. A batch has no progress of its own: there the items that ended are counted."""
    if not found["batch"]:
        return f"{found['rev']}.{found['seq']}"
    items = found["progress"].get("items", {})
    return f"{found['rev']}.{sum(items.get(state, 0) for state in ('succeeded', 'failed', 'cancelled'))}"


def _links(found: Document) -> dict[str, str]:
    here = f"{PREFIX}/jobs/{found['id']}"
    links = {"self": here, "result": f"{here}/result", "cancel": f"{here}/cancel"}
    return links | {"items": f"{here}/items"} if found["batch"] else links


def _expires(found: Document) -> str | None:
    if found["finished_at"] is None:
        return None
    kept = timedelta(days=runtime().settings.job_retention_days)
    until = datetime.fromisoformat(found["finished_at"]) + kept
    return until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
