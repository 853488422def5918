"""The codes that answer requests; most of them can stand in a failed job as well."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.problems.kind import Kind

ANSWERS: Mapping[str, Kind] = {
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
}
