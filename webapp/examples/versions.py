"""Versions and their model; and later, when there are two, which one serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.examples.cast import ACTOR, MODEL, SECOND_TRAINING, TRAINING
from webapp.examples.example import Example, page
from webapp.examples.recipes import RECIPE_SPEC

SPEC = RECIPE_SPEC | {"targets": ["rhr"], "covariates": ["asleep_min"], "future_covariates": [], "available": None, "epochs": 60}


def scores(mae: float, skill: float) -> dict[str, Any]:
    """Of one forecaster on one part of the rows."""
    return {
        "n": 70,
        "mae": mae,
        "rmse": 2.1,
        "r2": 0.41,
        "mape": 2.6,
        "mape_n": 70,
        "smape": 2.6,
        "mase": 0.82,
        "skill": skill,
        "coverage": 0.91,
        "winkler": 6.3,
    }


METRICS = {
    name: {part: scores(mae, skill) for part in ("calibrate", "test")}
    for name, mae, skill in (("blend", 1.42, 0.19), ("lstm", 1.44, 0.18), ("persistence", 1.76, 0.0), ("seasonal_naive", 1.9, -0.08))
}
VERDICT = {"passed": True, "checks": [{"name": "skill", "have": 0.18, "need": 0.0, "met": True}], "production_ready": True}
VERSION = {
    "version": "1.0.0",
    "model": MODEL,
    "active": True,
    "job": TRAINING,
    "recipe": "health-daily",
    "target": "rhr",
    "spec": SPEC,
    "served_by": "blend",
    "metrics": METRICS,
    "gate": VERDICT,
    "warnings": [],
    "data_from": "2026-09-01T06:00:00Z",
    "data_until": "2026-10-12T06:00:00Z",
    "source": None,
    "artefact": {"sha256": "9f2b" * 16, "bytes": 412_908},
    "created_at": "2026-10-12T06:04:40.101200Z",
    "pruned_at": None,
}
SECOND_VERSION = VERSION | {"version": "1.1.0", "job": SECOND_TRAINING, "spec": SPEC | {"epochs": 80}}


def lineage(model: str, entity: str, version: Mapping[str, Any]) -> dict[str, Any]:
    """A model with this one version, which serves."""
    here = f"/api/v1/models/{model}"
    return {
        "id": model,
        "entity": entity,
        "kind": "forecast",
        "name": "rhr",
        "active_version": version,
        "latest_version": version,
        "drift": {"verdict": "steady", "error_ratio": 1.08, "since": "2026-11-09T07:02:11.40Z", "judged_at": "2026-11-30T07:01:59.12Z"},
        "created_at": "2026-10-12T06:03:58.500100Z",
        "links": {"self": here, "versions": f"{here}/versions", "activations": f"{here}/activations"},
    }


LINEAGE = lineage(MODEL, "user-42", VERSION)

ROLLED_BACK = {
    "kind": "rollback",
    "from": "1.0.0",
    "to": "1.1.0",
    "reason": "it was not",
    "actor": ACTOR,
    "at": "2026-10-12T08:00:04.566703Z",
}

CHAPTER: tuple[Example, ...] = (
    Example(
        "activate",
        "Back to the first version, if nobody moved the flag meanwhile",
        {"model_id": MODEL},
        headers={"If-Match": '"1.1.0"'},
        body={"version": "1.0.0", "reason": "better on the last weeks"},
        answer=VERSION,
    ),
    Example("rollback", "And back again", {"model_id": MODEL}, body={"reason": "it was not"}, answer=SECOND_VERSION),
    Example("list_activations", "Who moved the flag last", {"model_id": MODEL}, {"limit": 1}, answer=page(ROLLED_BACK, more=True)),
    Example("get_artefact", "The second version, to keep", {"model_id": MODEL, "semver": "1.1.0"}, answer_type="application/zip"),
    Example("delete_version", "The first version is not needed any more", {"model_id": MODEL, "semver": "1.0.0"}, status=204),
)
