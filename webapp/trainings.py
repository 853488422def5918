"""Trainings: how versions come to be, of one entity or many, of a base, or brought from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response, request

from db.models import Version
from tasks import imports, submit
from tasks.imports import ImportOrder
from webapp.answers import accepted, asker
from webapp.auth import PREFIX
from webapp.bodies import whole_body
from webapp.context import actor, runtime, tenant_id
from webapp.contract import Blueprint
from webapp.negotiate import ZIP
from webapp.parcels import parcel
from webapp.problems import Refusal
from webapp.schemas import trainings as wire
from webapp.schemas import versions
from webapp.schemas.imports import ImportQuery
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import IDEMPOTENCY_KEY, SUBMITTED, always
from webapp.selection import named, require_makeable

#: The document tells of models in one chapter: `webapp.models` goes on in it.
blp = Blueprint("models", __name__, description="Lineages of trained versions, and which one serves")

_PARCEL = {"required": True, "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}}
#: What stands in the way of a training that is to start from a base.
_NO_BASE = ("model_not_found", "version_not_found", "version_pruned", "no_active_version")


@blp.route("/models/train", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY)
@blp.arguments(wire.TrainIn)
@blp.response(202, Job, headers=SUBMITTED, description="The job stands, and will reach its end. `deduplicated`: it stood already.")
@blp.refuses(*_NO_BASE, "entity_not_found", "insufficient_data", "quota_exceeded", "queue_saturated")
@blp.refuses("source_unavailable", "source_unreadable")
def train(asked: wire.TrainAsked) -> Response:
    """Train one entity, or a batch of them

    A single entity without enough data is refused with every requirement; in a batch it becomes a failed item.
    Where the recipe forecasts several targets together, the training publishes a version of each target's model.
    With `base` it starts from a network that was learned elsewhere, and takes over its shape.
    """
    order = replace(asked.order, entities=named(asked.whom))
    require_makeable(order.source, order.entities)
    return accepted(submit.train(runtime(), asker(asked.metadata), order))


@blp.route("/models/pretrain", methods=["POST"])
@blp.reads(IDEMPOTENCY_KEY)
@blp.arguments(wire.PretrainIn)
@blp.response(202, Job, headers=SUBMITTED, description="The job stands, and will reach its end. `deduplicated`: it stood already.")
@blp.refuses("entity_not_found", "insufficient_data", "quota_exceeded", "queue_saturated")
def pretrain(asked: wire.PretrainAsked) -> Response:
    """Train a base: one network, learned from many entities, for trainings to start from

    A base serves nobody itself. It is kept as a model of kind `base` under an entity of its own, also of kind `base`, and is listed,
    exported, activated and erased like every other. A training starts from it with `base: {"name": …}`.
    What it reads is what the first of its entities has. One that cannot be learned from is left out, and `warnings` say why; with fewer
    than two left the job fails.
    """
    order = replace(asked.order, entities=named(asked.whom))
    require_makeable(order.source, order.entities)
    return accepted(submit.pretrain(runtime(), asker(asked.metadata), order))


@blp.route("/models/import", methods=["POST"])
@blp.doc(requestBody=_PARCEL)
@blp.arguments(ImportQuery, location="query")
@blp.response(201, versions.Version, headers=always("Location"), description="The base has a new version.")
@blp.alt_response(
    200,
    schema=versions.Version,
    success=True,
    headers=always("Location"),
    description="The base had this network already; nothing was written.",
)
@blp.refuses("storage_full")
def import_base(query: dict[str, Any]) -> tuple[Version, int, dict[str, str]]:
    """Bring a base that was learned elsewhere

    A zip of `weights.safetensors` and `manifest.json`, side by side or in one folder; what `GET …/artefact` exports is one. Of the
    manifest `spec` is read, with `targets` at least, and `recipe`. The tensors must be those that the spec declares: float32, every number
    finite, by names and shapes that a refusal tells. Nothing about the network is measured here: its version has no metrics and passes no
    gate. It is kept like a base of `POST /models/pretrain`; the job of kind `import` that brought it has ended when this is answered.
    The same network again is the same version, with 200, and moves no flag.
    """
    body = whole_body()
    if request.mimetype != ZIP:
        raise Refusal("unsupported_media_type", f"Send `Content-Type: {ZIP}`.")
    found = parcel(body, runtime().settings.max_body_bytes)
    order = ImportOrder(query["name"], found.spec, found.weights, found.recipe, query["activation"])
    version, known = imports.import_base(runtime(), tenant_id(), order, actor())
    return version, 200 if known else 201, {"Location": f"{PREFIX}/models/{version.model_id}/versions/{version.semver}"}
