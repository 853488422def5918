"""The portrait of one entity: its models with their versions and logs, and what was odd lately."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from db import anomalies, entities, registry
from db.models import Entity, Model, Version
from db.registry import Heads
from webapp.charts import no_channel

#: Models that are listed, versions and moves of the flag that are shown of each, and anomalies, the newest.
MODELS, VERSIONS, MOVES, ODD = 50, 10, 8, 10

Told = dict[str, Any]


def portrait(session: Session, entity: Entity, channel: str | None) -> Told:
    """What there is to see of the entity besides the picture of the channel: that channel's forecasters, and its detectors, in full.

    Without a channel, of the first that is forecast. Raises Refusal for one that it does not have. A channel that a source holds is one
    that a model forecasts.
    """
    stored = [each.name for each in entities.channels(session, entity.id)]
    found = registry.models(session, entity.tenant_id, entity=entity.name, limit=MODELS)
    heads = registry.heads(session, found)
    lineages = [model for model in found if model.id in heads]  # the others left a moment ago
    forecast = {_target(model, heads[model.id]) for model in lineages if model.kind == "forecast"}
    names = stored + sorted(forecast - set(stored))
    shown = channel or next(iter([name for name in names if name in forecast] or names), None)
    if shown is not None and shown not in names:
        raise no_channel(entity, shown)
    forecasters = [model for model in lineages if model.kind == "forecast" and _target(model, heads[model.id]) == shown]
    sources = [latest.source for model in forecasters if (latest := heads[model.id].latest) and shown not in stored]
    full = forecasters + [model for model in lineages if model.kind != "forecast"]
    return {
        "channels": names,
        "channel": shown,
        "source": next(iter(sources), None),
        "forecast": forecast,
        "models": [_model(session, model, heads[model.id]) for model in full],
        "judged": [model.name for model in forecasters],
        "anomalies": anomalies.page(session, entity, limit=ODD),
    }


def _target(model: Model, heads: Heads) -> str:
    """The channel that a model forecasts: what it is called after, unless its versions say otherwise."""
    return heads.latest.target if heads.latest else model.name


def _model(session: Session, model: Model, heads: Heads) -> Told:
    versions = registry.versions(session, model.tenant_id, model.id, limit=VERSIONS)
    return {
        "id": model.id,
        "name": model.name,
        "kind": model.kind,
        "active": heads.active,
        "versions": [_version(version) for version in versions],
        "moves": registry.activations(session, model.tenant_id, model.id, limit=MOVES),
        "earlier": registry.earlier(session, model),
    }


def _version(version: Version) -> Told:
    """With its scores on rows it never learned from, where it has any: a base and a detector have none of these."""
    parts = version.metrics.get(version.served_by)
    scores = (parts.get("test") if isinstance(parts, dict) else None) or {}
    return {
        "row": version,
        "scores": {name: scores.get(name) for name in ("mae", "skill", "coverage")},
        "passed": version.gate.get("passed"),
        "unmet": [check["name"] for check in version.gate.get("checks", ()) if not check.get("met")],
    }
