"""Accuracy: what the forecasts of a model were worth once what they spoke of had happened, version by version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from db import entities, registry
from db.errors import NotFound
from db.models import Json, Model, Version
from db.realised import Past, Sums
from tasks.drift import Standing, standings

#: Versions that are told of, the newest ones, and the one that serves.
MOST_VERSIONS = 20


def accuracy(session: Session, tenant_id: str, entity: str, name: str, days: int) -> Json:
    """Of each version that forecast something since known, and whether the one that serves drifts. Raises NotFound."""
    found = registry.find_model(session, tenant_id, entities.get(session, tenant_id, entity).id, name)
    if found is None:
        raise NotFound("model", f"{entity} {name}")
    versions = _versions(session, found)
    stand = standings(session, tenant_id, [version.id for version in versions], days)
    told = [_version(version, stand[version.id].past) for version in versions if version.active or stand[version.id].past.by_step]
    drift = next((_drift(version, stand[version.id]) for version in versions if version.active), None)
    return {"entity": entity, "target": name, "model": found.id, "days": days, "versions": told, "drift": drift}


def _versions(session: Session, model: Model) -> list[Version]:
    newest = registry.versions(session, model.tenant_id, model.id, limit=MOST_VERSIONS)
    active = registry.heads(session, [model])[model.id].active
    return newest if active is None or active in newest else [*newest, active]


def _drift(version: Version, standing: Standing) -> Json:
    return {"version": version.semver} | standing.judgement.as_dict()


def _version(version: Version, past: Past) -> Json:
    sums = past.by_step.values()
    span = (min(s.begin for s in sums), max(s.end for s in sums)) if sums else (None, None)
    steps = [{"step": step} | _measures([past.by_step[step]]) for step in sorted(past.by_step)]
    about = {"version": version.semver, "active": version.active, "served_by": version.served_by}
    return about | {"from": span[0], "to": span[1], "origins": len(past.by_origin)} | _measures(sums) | {"steps": steps}


def _measures(sums: Iterable[Sums]) -> Json:
    """What sums of errors come to; null where nothing was forecast, or where there is no such number."""
    found = list(sums)
    n = sum(each.n for each in found)
    error, last_value, usual = (sum(getattr(each, name) for each in found) for name in ("error", "last_value", "usual"))
    season = _season(found)
    return {
        "n": n,
        "mae": _mean(error, n),
        "usual_mae": _mean(usual, n) if usual else None,
        "last_value_mae": _mean(last_value, n),
        "season_mae": None if season is None else _mean(season, n),
        "skill": _skill(error, last_value if season is None else min(last_value, season)) if n else None,
        "coverage": _mean(sum(each.inside for each in found), n),
        "level": _mean(sum(each.level for each in found), n),
    }


def _season(sums: Sequence[Sums]) -> float | None:
    known = [each.season for each in sums if each.season is not None]
    return sum(known) if known and len(known) == len(sums) else None


def _mean(total: float, n: int) -> float | None:
    return total / n if n else None


def _skill(error: float, best: float) -> float | None:
    """1 − error / the best naive baseline's on the same pairs. Where that makes no error: 0 for whoever makes none either."""
    if best == 0:
        return 0.0 if error == 0 else None
    return 1 - error / best
