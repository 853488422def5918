"""What travels beside the bodies: names in paths, headers that are read, headers that are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Told = Mapping[str, Any]

_PRINTED = "\\u0000-\\u001f\\u007f-\\u009f"
#: A slash at the beginning would make another path.
_NAME = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": f"^[^/{_PRINTED}][^{_PRINTED}]*$"}
#: A slash anywhere in one of these would.
_SEGMENT = _NAME | {"pattern": f"^[^/{_PRINTED}]+$"}

#: Every name that a path can hold.
PATHS: Mapping[str, Told] = {
    "entity": {
        "description": "The entity's name as the client chose it, percent-encoded. After a slash inside it, the words `observations`, "
        "`readiness`, `forecasts`, `anomalies` and `accuracy` are taken.",
        "schema": _NAME,
    },
    "target": {"description": "The channel that is forecast.", "schema": _NAME},
    "model_id": {
        "description": "Id of a model, as `GET /models` or a training's `result` tells it; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "semver": {
        "description": "Number of a version, as `GET /models/{model_id}/versions` lists them.",
        "schema": _SEGMENT | {"maxLength": 40},
    },
    "job_id": {
        "description": "Id of a job: `id` of the answer to a submission, or of a row of `GET /jobs`; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "erasure_id": {
        "description": "Id of an erasure: the end of the `Location` that answers it; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "webhook_id": {
        "description": "Id of a webhook, as `GET /webhooks` lists them; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "delivery_id": {
        "description": "Id of a delivery, which is the `webhook-id` of its message; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "schedule_id": {
        "description": "Id of a schedule, as `GET /schedules` lists them; that of the example is made up.",
        "schema": _SEGMENT,
    },
    "code": {"description": "Code of a problem, as `GET /problems` lists them.", "schema": _SEGMENT},
}

#: Headers that views read.
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "The same key with the same body, byte by byte, gets the same job for 24 hours; with another body, 422. Refusals are "
    "not remembered. A key belongs to its path.",
}
PREFER = {
    "in": "header",
    "name": "Prefer",
    "schema": {"type": "string"},
    "description": "`wait=n`: seconds that the client would wait for the job's end (RFC 7240), 30 at most. 200 when it ended "
    "meanwhile, also as failed: look at `state`. Anything else is no preference. The client's timeout has to be longer.",
}
IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The ETag of the answer in hand: 304 while it still holds.",
}
IF_MATCH = {
    "in": "header",
    "name": "If-Match",
    "schema": {"type": "string"},
    "description": "The version that the caller thinks is active, as the ETag of `GET /models/{model_id}` tells it: one strong ETag. "
    "Without it, or with `*`, nothing is compared.",
}
LAST_EVENT_ID = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string", "maxLength": 40},
    "description": "`id` of the last event that was seen: those after it are sent again.",
}

#: Headers that are answered, with what they hold.
HEADERS: Mapping[str, Told] = {
    "X-Request-Id": {
        "description": "Id of this request in the logs: the caller's own where it sent one of 1 to 64 letters, digits and `_.:-`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    },
    "Location": {
        "description": "Path of the job, of what was made, or of the receipt.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "ETag": {"description": "Changes when the answer does.", "schema": {"type": "string", "pattern": '^(W/)?".*"$'}},
    "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer", "minimum": 1}},
    "Idempotent-Replayed": {
        "description": "`true` when this Idempotency-Key was answered before with this job.",
        "schema": {"type": "string", "const": "true"},
    },
    "Preference-Applied": {"description": "`wait` when `Prefer: wait=n` was heeded.", "schema": {"type": "string", "const": "wait"}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string", "const": 'Bearer realm="fleetcast"'}},
    "RateLimit": {
        "description": "Sent with `rate_limited` alone: nothing is left of the tenant's rate (`r`), and there will be more in `t` seconds.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "Sent with `rate_limited` alone: the tenant's rate, `q` requests in `w` seconds.",
        "schema": {"type": "string"},
    },
    "Vary": {"description": "The answer depends on this header of the request.", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "A name for the file.", "schema": {"type": "string"}},
    "Content-Digest": {"description": "SHA-256 of the body (RFC 9530).", "schema": {"type": "string", "pattern": "^sha-256=:.+:$"}},
    "Cache-Control": {"description": "How long the answer may be kept.", "schema": {"type": "string"}},
}


def always(*names: str) -> dict[str, Any]:
    """Headers that every such answer has."""
    return {name: {**HEADERS[name], "required": True} for name in names}


def sometimes(*names: str) -> dict[str, Any]:
    """Headers that such an answer may have."""
    return {name: dict(HEADERS[name]) for name in names}


#: Of every answer about a job: what a poller needs.
WATCHING = always("ETag") | sometimes("Retry-After")
#: Of every answer to a submission.
SUBMITTED = WATCHING | always("Location") | sometimes("Idempotent-Replayed")
#: Of one that heeds `Prefer: wait=n`.
WAITED = SUBMITTED | sometimes("Preference-Applied")
