"""The catalogue of problems: every code a client can meet, in an HTTP answer or inside a failed job, as one RFC 9457 object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from db.errors import (
    Conflict,
    KeyReused,
    NoActiveVersion,
    NotFound,
    OverQuota,
    Saturated,
    SinkRefused,
    SinkUnavailable,
    SourceLagging,
    SourceUnavailable,
    SourceUnreadable,
    StoreError,
)
from ml.errors import ModelError
from tasks.problems.answers import ANSWERS
from tasks.problems.kind import Kind
from tasks.problems.outcomes import OUTCOMES

CATALOGUE: Mapping[str, Kind] = {**ANSWERS, **OUTCOMES}


def problem(code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """The problem object of a code. `extra` joins it: `requirements`, `errors`, `hint` …"""
    kind = CATALOGUE[code]
    return {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": detail,
        "retryable": kind.retryable,
        "hint": kind.fix,
    } | extra


def of(error: ModelError | StoreError) -> dict[str, Any]:
    """The problem object of an error that knows what it is."""
    if isinstance(error, ModelError):
        return problem(error.code, error.detail, **error.extra)
    return problem(_code(error), str(error))


#: Codes of the errors that have one each; the more special first.
_CODES: Mapping[type[StoreError], str] = {
    NoActiveVersion: "no_active_version",
    OverQuota: "quota_exceeded",
    Saturated: "queue_saturated",
    KeyReused: "idempotency_key_reused",
    SourceLagging: "source_lagging",
    SourceUnreadable: "source_unreadable",
    SourceUnavailable: "source_unavailable",
    SinkUnavailable: "sink_unavailable",
    SinkRefused: "sink_refused",
}


def _code(error: StoreError) -> str:
    if isinstance(error, Conflict):
        return error.code
    found = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "internal")
    return f"{error.what}_not_found" if isinstance(error, NotFound) and found == "internal" else found
