"""The catalogue of problems: every code a client can meet, in an HTTP answer or inside a failed job, as one RFC 9457 object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db.errors import Conflict, KeyReused, NoActiveVersion, NotFound, OverQuota, Saturated, StoreError
from ml.errors import ModelError


@dataclass(frozen=True, slots=True)
class Kind:
    """One code. `status` is the HTTP status it answers with, also when it is met inside a job."""

    status: int
    title: str
    fix: str
    retryable: bool = False


CATALOGUE: Mapping[str, Kind] = {
    "malformed_request": Kind(400, "The request cannot be read", "Send well-formed JSON with the documented fields."),
    "unauthenticated": Kind(401, "No valid API key", "Send `Authorization: Bearer fk_…` with a key that is not revoked or expired."),
    "forbidden_scope": Kind(403, "The key lacks a scope", "Use a key that has the scope named."),
    "not_found": Kind(404, "No such page", "Compare the path with /openapi.json."),
    "entity_not_found": Kind(404, "No such entity", "Create it by sending observations or with PUT /entities/{entity}."),
    "model_not_found": Kind(404, "No such model", "List models with GET /models."),
    "version_not_found": Kind(404, "No such version", "List versions with GET /models/{id}/versions."),
    "job_not_found": Kind(404, "No such job", "Finished jobs are kept 30 days."),
    "forecast_not_found": Kind(404, "No forecast yet", "Ask for one with POST /predict."),
    "no_active_version": Kind(404, "Nothing has been trained", "Train a model with POST /models/train."),
    "method_not_allowed": Kind(405, "Method not allowed", "Compare with /openapi.json."),
    "not_acceptable": Kind(406, "No such representation", "Ask for application/json."),
    "job_not_finished": Kind(409, "The job has not finished", "Wait until `terminal` is true.", retryable=True),
    "job_succeeded": Kind(409, "The job succeeded", "Only failed or cancelled jobs are retried; submit a new one."),
    "model_is_active": Kind(409, "The version is active", "Activate another version first."),
    "conflicting_activation": Kind(409, "There is nothing to go back to", "Activate a version by name."),
    "version_pruned": Kind(410, "The version's artefact was pruned", "Train again, or keep more versions (KEEP_VERSIONS)."),
    "precondition_failed": Kind(412, "It changed meanwhile", "Read it again and repeat with the new ETag."),
    "body_too_large": Kind(413, "The body is too large", "Send it in parts."),
    "unsupported_media_type": Kind(415, "The body has an unknown type", "Send `Content-Type: application/json`."),
    "validation_failed": Kind(422, "A field is not valid", "Mend the fields that `errors` points at."),
    "insufficient_data": Kind(422, "Not enough data", "Send more observations; `requirements` says of what."),
    "insufficient_recent_data": Kind(422, "The latest observations are missing", "Send the observations up to now."),
    "flatline_detected": Kind(422, "The channel never moves", "Check that the device still measures."),
    "feature_missing": Kind(422, "A channel is missing", "Send observations of it, or train without it."),
    "scenario_out_of_bounds": Kind(422, "The scenario leaves what was ever observed", "Use smaller changes, or `bounds: warn`."),
    "idempotency_key_reused": Kind(422, "The Idempotency-Key was used with another body", "Use a new key for a new request."),
    "quota_exceeded": Kind(429, "Too many unfinished jobs", "Wait for some to finish.", retryable=True),
    "internal": Kind(500, "Something failed on our side", "Try again; if it persists, tell the operator the `instance`.", retryable=True),
    "source_unavailable": Kind(502, "The data source does not answer", "Try again later.", retryable=True),
    "queue_saturated": Kind(503, "The queue is full", "Try again after `Retry-After` seconds.", retryable=True),
    "unavailable": Kind(503, "The database does not answer", "Try again after `Retry-After` seconds.", retryable=True),
    # Met only inside jobs.
    "training_diverged": Kind(422, "The training left the numbers", "Lower the learning rate, or check the data for extreme values."),
    "out_of_memory": Kind(503, "The worker ran out of memory", "Use a smaller network or batch.", retryable=True),
    "deadline_exceeded": Kind(504, "The job's deadline passed", "Submit again, or add workers.", retryable=True),
    "worker_lost": Kind(500, "The worker died too often on this job", "Check the worker's memory; then retry the job.", retryable=True),
    "artefact_corrupt": Kind(500, "The stored model is damaged", "Roll back or train again."),
    "batch_failed": Kind(500, "No item of the batch succeeded", "See GET /jobs/{id}/items."),
    "cancelled": Kind(409, "The job was cancelled", "Retry it if that was not meant."),
}


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


def _code(error: StoreError) -> str:
    match error:
        case NoActiveVersion():
            return "no_active_version"
        case NotFound():
            return f"{error.what}_not_found"
        case Conflict():
            return error.code
        case OverQuota():
            return "quota_exceeded"
        case Saturated():
            return "queue_saturated"
        case KeyReused():
            return "idempotency_key_reused"
    return "internal"
