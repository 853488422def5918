"""The catalogue of problems: every code a client can meet, in an HTTP answer or inside a failed job, as one RFC 9457 object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Kind:
    """One code. `status` is the HTTP status it answers with, also when it is met inside a job."""

    status: int
    title: str
    cause: str
    fix: str
    retryable: bool = False
    #: Never the answer to a request of its own: it stands in a failed job's `error`, and in the answer to `GET /jobs/{id}/result`.
    in_jobs_only: bool = False


CATALOGUE: Mapping[str, Kind] = {
    "malformed_request": Kind(
        400,
        "The request cannot be read",
        "The body is not UTF-8, not JSON, or JSON that readers disagree about: NaN, a key twice, endless nesting; or it is a torn zip.",
        "Send well-formed JSON with the documented fields.",
    ),
    "unauthenticated": Kind(
        401,
        "No valid API key",
        "The request brings no key, or one that is unknown, expired or revoked.",
        "Send `Authorization: Bearer fk_…` with a key that is not revoked or expired.",
    ),
    "forbidden_scope": Kind(
        403,
        "The key lacks a scope",
        "The key is valid and was issued without the scope that this operation needs.",
        "Use a key that has the scope named.",
    ),
    "not_found": Kind(404, "No such page", "No operation has this path; nothing was looked up.", "Compare the path with /openapi.json."),
    "entity_not_found": Kind(
        404,
        "No such entity",
        "None of your entities has this name, or none matches the selector; it may have been erased.",
        "Create it by sending observations or with PUT /entities/{entity}.",
    ),
    "model_not_found": Kind(404, "No such model", "None of your models has this id or this name.", "List models with GET /models."),
    "version_not_found": Kind(
        404, "No such version", "The model has never had a version of this number.", "List versions with GET /models/{id}/versions."
    ),
    "job_not_found": Kind(
        404, "No such job", "None of your jobs has this id, or it ended so long ago that it was purged.", "Finished jobs are kept 30 days."
    ),
    "forecast_not_found": Kind(
        404, "No forecast yet", "No prediction of this target of this entity has been finished.", "Ask for one with POST /predict."
    ),
    "erasure_not_found": Kind(404, "No such erasure", "None of your erasures has this id.", "List them with GET /erasures."),
    "webhook_not_found": Kind(404, "No such webhook", "None of your webhooks has this id.", "List them with GET /webhooks."),
    "delivery_not_found": Kind(
        404,
        "No such delivery",
        "The webhook has no delivery of this id; old ones are purged, and those about an entity leave with it.",
        "List them with GET /webhooks/{webhook_id}/deliveries.",
    ),
    "no_active_version": Kind(
        404,
        "Nothing has been trained",
        "The entity has no active version of a model of this name.",
        "Train a model with POST /models/train, a base with POST /models/pretrain.",
    ),
    "schedule_not_found": Kind(
        404, "No such schedule", "None of your schedules has this id; it may have been deleted.", "List schedules with GET /schedules."
    ),
    "method_not_allowed": Kind(
        405, "Method not allowed", "There is something at this path, and it does not take this method.", "Compare with /openapi.json."
    ),
    "not_acceptable": Kind(
        406,
        "No such representation",
        "The Accept header names only types that this operation cannot answer with.",
        "Ask for application/json.",
    ),
    "job_not_finished": Kind(
        409, "The job has not finished", "The job is still queued or running.", "Wait until `terminal` is true.", retryable=True
    ),
    "job_succeeded": Kind(
        409,
        "The job succeeded",
        "There is nothing to try again: the job, or every item of the batch, succeeded.",
        "Only failed or cancelled jobs are retried; submit a new one.",
    ),
    "model_is_active": Kind(
        409, "The version is active", "The version to delete is the one that serves.", "Activate another version first."
    ),
    "schedule_exists": Kind(
        409, "The name is taken", "Another of your schedules has this name.", "Choose another name, or delete the other schedule."
    ),
    "too_many_schedules": Kind(
        409,
        "Too many schedules",
        "The tenant has all the schedules that it may have.",
        "Delete some; one schedule with a selector or `entities` does for many entities.",
    ),
    "conflicting_activation": Kind(
        409,
        "There is nothing to go back to",
        "No version was active before the present one, or all of those were pruned.",
        "Activate a version by name.",
    ),
    "too_many_webhooks": Kind(
        409, "There are too many webhooks", "The tenant has all the webhooks it may (TENANT_MAX_WEBHOOKS).", "Delete one."
    ),
    "webhook_disabled": Kind(
        409,
        "The webhook is disabled",
        "It took nothing at any try for most of a day, or its receiver answered that it is gone (410).",
        "Mend the receiver, then POST /webhooks/{webhook_id}/enable.",
    ),
    "delivery_pending": Kind(
        409, "The delivery is on its way", "Its tries go on by themselves.", "Wait until it is delivered or failed.", retryable=True
    ),
    "version_pruned": Kind(
        410,
        "The version's artefact was pruned",
        "The version was deleted, or newer ones took its place on disk; its row and its metrics stay.",
        "Train again, or keep more versions (KEEP_VERSIONS).",
    ),
    "precondition_failed": Kind(
        412,
        "It changed meanwhile",
        "Another version is active than the one that If-Match names.",
        "Read it again and repeat with the new ETag.",
    ),
    "body_too_large": Kind(
        413,
        "The body is too large",
        "The body, or what it unpacks to, is longer than MAX_BODY_BYTES (of lines and CSV: MAX_STREAM_BYTES), or brings too many values.",
        "Send it in parts.",
    ),
    "unsupported_media_type": Kind(
        415,
        "The body has an unknown type",
        "This operation does not read the Content-Type sent.",
        "Send `Content-Type: application/json`, or what `detail` names.",
    ),
    "validation_failed": Kind(
        422,
        "A field is not valid",
        "A field, a query parameter, a header or a name in the path is unknown, missing, of the wrong type or out of its bounds.",
        "Mend the fields that `errors` points at.",
    ),
    "insufficient_data": Kind(
        422,
        "Not enough data",
        "The entity has fewer observations than the recipe needs, or none that can be used; or a base has fewer than two entities to learn "
        "from.",
        "Send more observations; `requirements` says of what.",
    ),
    "insufficient_recent_data": Kind(
        422,
        "The latest observations are missing",
        "The version reads the newest rows of the target, and too few of them are known.",
        "Send the observations up to now.",
        in_jobs_only=True,
    ),
    "flatline_detected": Kind(
        422,
        "The channel never moves",
        "Every observation of the target has the same value: there is nothing to learn.",
        "Check that the device still measures.",
        in_jobs_only=True,
    ),
    "feature_missing": Kind(
        422,
        "A channel is missing",
        "A channel that the training, the version or the scenario names has no observations, has none at the steps ahead where the version "
        "reads those, or is not one that the model reads.",
        "Send observations of it, of the moments that `missing` names where it is there, or train without it.",
        in_jobs_only=True,
    ),
    "scenario_out_of_bounds": Kind(
        422,
        "The scenario leaves what was ever observed",
        "With `bounds: reject`, a change takes a channel outside the range that the version learned from.",
        "Use smaller changes, or `bounds: warn`.",
        in_jobs_only=True,
    ),
    "idempotency_key_reused": Kind(
        422,
        "The Idempotency-Key was used with another body",
        "Within the last day the same key came to the same path with another body.",
        "Use a new key for a new request.",
    ),
    "rate_limited": Kind(
        429,
        "Too many requests",
        "The tenant sent more requests than its rate allows.",
        "Send the request again after `Retry-After` seconds.",
        retryable=True,
    ),
    "quota_exceeded": Kind(
        429, "Too many unfinished jobs", "The tenant holds all the unfinished jobs it may.", "Wait for some to finish.", retryable=True
    ),
    "too_many_streams": Kind(
        429,
        "Too many open event streams",
        "The tenant holds all the event streams open that it may in one web process.",
        "Close some, or poll GET /jobs/{id} with `wait`.",
        retryable=True,
    ),
    "internal": Kind(
        500,
        "Something failed on our side",
        "A fault of the service; nothing is wrong with the request.",
        "Try again; if it persists, tell the operator the `instance`.",
        retryable=True,
    ),
    "source_unavailable": Kind(
        502,
        "The data source does not answer",
        "The place that observations are read from could not be reached at any try.",
        "Try again later.",
        retryable=True,
    ),
    "source_unreadable": Kind(
        502,
        "The data source cannot be read",
        "It answers, and not as the operator's SOURCES_FILE says: a table, a column, a right or a driver is missing, or it holds more rows "
        "than one reading may bring.",
        "Tell the operator, who runs `fleetcast sources check`; then try again.",
    ),
    "source_lagging": Kind(
        503,
        "The data source is behind",
        "The follower that is read is further behind than its `lag_limit_s` allows, at every try.",
        "Try again later.",
        retryable=True,
        in_jobs_only=True,
    ),
    "sink_unavailable": Kind(
        502,
        "The sink does not answer",
        "The database that the forecast was to be written to could not be reached at any try. Nothing was published.",
        "Retry the job later; the rows of its earlier tries, if any, are replaced.",
        retryable=True,
        in_jobs_only=True,
    ),
    "sink_refused": Kind(
        502,
        "The sink does not take the rows",
        "A table, a column or a right is missing in the database that the forecast was to be written to. Nothing was published.",
        "Tell the operator, whose `fleetcast sinks check` says more; then retry the job.",
        in_jobs_only=True,
    ),
    "queue_saturated": Kind(
        503,
        "The queue is full",
        "The queue holds all the jobs it may, of all tenants together.",
        "Try again after `Retry-After` seconds.",
        retryable=True,
    ),
    "streams_saturated": Kind(
        503,
        "All streams are taken",
        "The web process holds all the event streams open that it may, or as many bodies flow into it as may, of all tenants together.",
        "Try again after `Retry-After` seconds; or poll GET /jobs/{id} with `wait`.",
        retryable=True,
    ),
    "unavailable": Kind(
        503,
        "The database does not answer",
        "Postgres is away, restarting, or out of connections.",
        "Try again after `Retry-After` seconds.",
        retryable=True,
    ),
    "training_diverged": Kind(
        422,
        "The training left the numbers",
        "The loss became infinite or no number at all.",
        "Lower the learning rate, or check the data for extreme values.",
        in_jobs_only=True,
    ),
    "out_of_memory": Kind(
        503,
        "The worker ran out of memory",
        "Every try at the job needed more memory than the worker has.",
        "Use a smaller network or batch.",
        retryable=True,
        in_jobs_only=True,
    ),
    "deadline_exceeded": Kind(
        504,
        "The job's deadline passed",
        "The job waited or ran longer than it may.",
        "Submit again, or add workers.",
        retryable=True,
        in_jobs_only=True,
    ),
    "worker_lost": Kind(
        500,
        "The worker died too often on this job",
        "Several tries at the job took their process down.",
        "Check the worker's memory; then retry the job.",
        retryable=True,
        in_jobs_only=True,
    ),
    "artefact_corrupt": Kind(
        500,
        "The stored model is damaged",
        "The files of the version are not those that were saved, or are gone.",
        "Roll back or train again.",
    ),
    "storage_full": Kind(
        507,
        "There is no room for the model",
        "The disk that artefacts are kept on is full, over its quota, or may only be read. Nothing was published.",
        "Try again when the operator has made room.",
        retryable=True,
    ),
    "batch_failed": Kind(
        422,
        "No item of the batch succeeded",
        "Every item ended as failed or cancelled, each for its own reason.",
        "See GET /jobs/{id}/items.",
        in_jobs_only=True,
    ),
    "cancelled": Kind(
        409, "The job was cancelled", "Somebody asked for the job's end.", "Retry it if that was not meant.", in_jobs_only=True
    ),
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


def catalogue_table() -> str:
    """The catalogue in Markdown, as docs/errors.md shows it."""
    return "\n\n".join(
        (
            "## In answers to requests",
            _table(in_jobs_only=False),
            "## Inside jobs",
            "These stand in a failed job's `error`, in its events and in the answer to `GET /jobs/{id}/result`, and are no other answer's.",
            _table(in_jobs_only=True),
        )
    )


def _table(*, in_jobs_only: bool) -> str:
    rows = ["| code | status | what happened | what to do | again? |", "|---|---|---|---|---|"]
    for code, kind in CATALOGUE.items():
        if kind.in_jobs_only == in_jobs_only:
            rows.append(f"| `{code}` | {kind.status} | {kind.title}. {kind.cause} | {kind.fix} | {'yes' if kind.retryable else 'no'} |")
    return "\n".join(rows)
