"""Models: see them and their versions, and choose which one serves. How versions come to be is told before, in `webapp.trainings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request
from sqlalchemy.orm import Session

from db import drifts, entities, registry
from db.models import Model, Version
from ml import shelf
from webapp.auth import PREFIX
from webapp.context import by, runtime, tenant_id
from webapp.downloads import download
from webapp.negotiate import ZIP
from webapp.pages import decode, number, page, semver, text
from webapp.problems import Refusal, fault, invalid
from webapp.schemas import activations, versions
from webapp.schemas import models as wire
from webapp.schemas.pages import PageQuery
from webapp.schemas.parameters import IF_MATCH, IF_NONE_MATCH, always
from webapp.trainings import blp


@blp.route("/models")
@blp.arguments(wire.ModelQuery, location="query")
@blp.response(200, wire.ModelPage)
@blp.refuses("entity_not_found")
def list_models(query: dict[str, Any]) -> dict[str, Any]:
    """List models, oldest first"""
    return _listed(query)


@blp.route("/models/user/<name:entity>")
@blp.arguments(wire.UserModelQuery, location="query")
@blp.response(200, wire.ModelPage)
@blp.refuses("entity_not_found")
def list_models_of(query: dict[str, Any], entity: str) -> dict[str, Any]:
    """List the models of an entity; the same as `GET /models?entity=`"""
    return _listed(query | {"entity": entity})


def _listed(query: dict[str, Any]) -> dict[str, Any]:
    told = {name: query[name] for name in ("entity", "name", "kind")}
    filters = {"list": "models"} | told
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        if told["entity"] is not None:
            entities.get(session, tenant_id(), told["entity"])
        rows = registry.models(session, tenant_id(), **told, limit=query["limit"] + 1, after=mark)
        found = page(rows, query["limit"], lambda model: model.id, filters)
        return found | {"data": _described(session, found["data"])}


@blp.route("/models/<model_id>")
@blp.response(200, wire.Model, headers=always("ETag"))
@blp.refuses("model_not_found")
def get_model(model_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Look at a model, the version that serves, and the latest one

    The ETag is the number of the active version: `activate` takes it as If-Match.
    """
    with runtime().sessions() as session:
        [found] = _described(session, [registry.get_model(session, tenant_id(), model_id)])
    active = found["active_version"]
    return found, {"ETag": f'"{active.semver if active else "none"}"'}


def _described(session: Session, models: Sequence[Model]) -> list[dict[str, Any]]:
    heads = registry.heads(session, models)
    verdicts = drifts.verdicts(session, tenant_id(), list(heads))
    return [_document(model, heads[model.id], verdicts.get(model.id)) for model in models if model.id in heads]


def _document(model: Model, heads: registry.Heads, drift: drifts.Known | None) -> dict[str, Any]:
    here = f"{PREFIX}/models/{model.id}"
    return {
        "id": model.id,
        "entity": heads.entity,
        "kind": model.kind,
        "name": model.name,
        "active_version": heads.active,
        "latest_version": heads.latest,
        "drift": drift,
        "created_at": model.created_at,
        "links": {"self": here, "versions": f"{here}/versions", "activations": f"{here}/activations"},
    }


@blp.route("/models/<model_id>/versions")
@blp.arguments(PageQuery, location="query")
@blp.response(200, versions.VersionPage)
@blp.refuses("model_not_found")
def list_versions(query: dict[str, Any], model_id: str) -> dict[str, Any]:
    """List the versions of a model, newest first, pruned ones too"""
    filters = {"list": "versions", "model": model_id}
    mark = decode(query["cursor"], filters, semver)
    with runtime().sessions() as session:
        rows = registry.versions(session, tenant_id(), model_id, limit=query["limit"] + 1, after=mark)
    return page(rows, query["limit"], lambda version: version.semver, filters)


@blp.route("/models/<model_id>/versions/<semver>")
@blp.response(200, versions.Version)
@blp.refuses("model_not_found", "version_not_found")
def get_version(model_id: str, semver: str) -> Version:
    """Look at a version: metrics, spec, data span, gate verdict, warnings"""
    with runtime().sessions() as session:
        registry.get_model(session, tenant_id(), model_id)
        return registry.version(session, tenant_id(), model_id, semver)


@blp.route("/models/<model_id>/versions/<semver>/artefact")
@blp.reads(IF_NONE_MATCH)
@blp.response(200, {"type": "string", "format": "binary"}, content_type=ZIP, headers=always("ETag", "Content-Digest"))
@blp.alt_response(304, description="The zip in hand is this one.", headers=always("ETag"), success=True)
@blp.refuses("model_not_found", "version_not_found", "version_pruned", "artefact_corrupt")
def get_artefact(model_id: str, semver: str) -> Response:
    """Download a version: weights, manifest, history and summary, as a zip

    Every file is checked against the manifest first. The same version is the same zip, byte for byte; its ETag is the artefact's hash.
    """
    with runtime().sessions() as session:
        registry.get_model(session, tenant_id(), model_id)
        version = registry.version(session, tenant_id(), model_id, semver)
    if version.pruned_at is not None:
        raise Refusal("version_pruned", f"Version {semver} was pruned; its artefact is gone.")
    name = f"{model_id}-{version.semver}"
    return download(shelf.take(runtime().settings.model_dir, version.artefact_sha256), name, version.artefact_sha256)


@blp.route("/models/<model_id>/versions/<semver>", methods=["DELETE"])
@blp.response(204, description="Pruned, now or before.")
@blp.refuses("model_not_found", "version_not_found", "model_is_active")
def delete_version(model_id: str, semver: str) -> None:
    """Prune a version; the active one is refused

    Its row stays, so that its number is never given out again. Its artefact is removed from disk by the reconciler.
    """
    with runtime().sessions.begin() as session:
        registry.delete_version(session, tenant_id(), model_id, semver, by=by())


@blp.route("/models/<model_id>/activate", methods=["POST"])
@blp.reads(IF_MATCH)
@blp.arguments(activations.ActivateIn)
@blp.response(200, versions.Version)
@blp.refuses("model_not_found", "version_not_found", "version_pruned", "precondition_failed")
def activate(told: dict[str, Any], model_id: str) -> Version:
    """Make a version the one that serves

    `If-Match`: the version that the caller thinks is active, else 412. Answers made by another version are no longer served.
    """
    with runtime().sessions.begin() as session:
        return registry.activate(
            session,
            tenant_id(),
            model_id,
            told["version"],
            reason=told["reason"],
            by=by(),
            if_match=_if_match(),
        )


@blp.route("/models/<model_id>/rollback", methods=["POST"])
@blp.arguments(activations.RollbackIn, required=False)
@blp.response(200, versions.Version)
@blp.refuses("model_not_found", "conflicting_activation")
def rollback(told: dict[str, Any], model_id: str) -> Version:
    """Go back to the version that was active before; again, to the one before that"""
    with runtime().sessions.begin() as session:
        return registry.rollback(session, tenant_id(), model_id, reason=told["reason"], by=by())


def _if_match() -> str | None:
    tags = request.if_match
    if not tags or tags.star_tag:
        return None
    strong = sorted(tags.as_set(include_weak=False))
    if len(strong) != 1:
        raise invalid(fault("/headers/If-Match", "invalid", "Send one strong ETag: the active version."))
    return strong[0]


@blp.route("/models/<model_id>/activations")
@blp.arguments(PageQuery, location="query")
@blp.response(200, activations.ActivationPage)
@blp.refuses("model_not_found")
def list_activations(query: dict[str, Any], model_id: str) -> dict[str, Any]:
    """List who moved the active flag, when, why, from where to where; newest first"""
    filters = {"list": "activations", "model": model_id}
    mark = decode(query["cursor"], filters, number)
    with runtime().sessions() as session:
        rows = registry.activations(session, tenant_id(), model_id, limit=query["limit"] + 1, after=mark)
    return page(rows, query["limit"], lambda move: move.id, filters)
