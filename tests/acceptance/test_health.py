"""Per-user health over HTTP alone: refusal, training, versions, forecast, cache, what-if, batch, again, rollback."""

from __future__ import annotations

import pytest

from tests.support.client import Api, Body
from tests.support.real import people

TRAIN = {"recipe": "health-daily", "activation": "always", "spec": {"epochs": 15, "hidden_size": 32}}


@pytest.fixture(scope="module")
def users(api: Api) -> list[str]:
    """Users with their history; the last one has too little of hrv_rmssd."""
    found = people()
    for name, channels in found.items():
        assert api.send(name, channels)["accepted"] > 0
    return list(found)


@pytest.fixture(scope="module")
def trained(api: Api, users: list[str]) -> Body:
    return api.done("/models/train", {**TRAIN, "entity": "rich", "target": "rhr"})


def test_too_few_days_are_refused_with_every_requirement_measured(api: Api, users: list[str]) -> None:
    refused = api.post("/models/train", {**TRAIN, "entity": "poor", "target": "hrv_rmssd"})
    assert refused.status_code == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "insufficient_data"
    [days] = [r for r in problem["requirements"] if r["name"] == "hrv_rmssd.days"]
    assert (days["met"], days["need"], days["unit"]) == (False, 30, "day")
    assert 0 < days["have"] < 30

    ready = api.get("/entities/poor/readiness", recipe="health-daily", target="hrv_rmssd")
    assert days in ready["requirements"], "readiness says the same as the refusal"
    assert all(r["met"] for r in api.get("/entities/rich/readiness", recipe="health-daily", target="rhr")["requirements"])


def test_a_version_has_metrics_beside_the_naive_baselines(api: Api, trained: Body) -> None:
    result = trained["result"]
    [model] = [m for m in api.get("/models/user/rich")["data"] if m["name"] == "rhr"]
    assert model["id"] == result["model"]
    version = api.get(f"/models/{model['id']}/versions/1.0.0")
    assert version["active"] is True
    for forecaster in ("lstm", "persistence", "seasonal_naive"):
        scores = version["metrics"][forecaster]["test"]
        assert scores["mae"] > 0
        assert scores["n"] > 0
    assert version["served_by"] in version["metrics"]


def test_the_second_forecast_comes_from_the_cache(api: Api, trained: Body) -> None:
    asked = {"entity": "rich", "target": "rhr", "level": 0.8}
    first = api.done("/predict", asked)["result"]["forecast"]
    assert (first["cached"], first["horizon"], first["level"]) == (False, 7, 0.8)
    assert all(p["lower"] <= p["value"] <= p["upper"] for p in first["points"])
    again = api.post("/predict", asked)
    assert again.status_code == 200
    second = again.json()["result"]["forecast"]
    assert second["cached"] is True
    assert second["points"] == first["points"]


def test_what_if_compares_named_scenarios_with_the_baseline(api: Api, trained: Body) -> None:
    scenarios = [
        {"name": "more sleep", "changes": [{"channel": "asleep_min", "op": "add", "value": 60, "steps": {"last": 3}}]},
        {"name": "fewer steps", "changes": [{"channel": "steps", "op": "multiply", "value": 0.5}]},
    ]
    result = api.done("/predict/what-if", {"entity": "rich", "target": "rhr", "scenarios": scenarios})["result"]
    assert [s["name"] for s in result["scenarios"]] == ["more sleep", "fewer steps"]
    baseline = [p["value"] for p in result["baseline"]["points"]]
    for scenario in result["scenarios"]:
        differences = [p["value"] - b for p, b in zip(scenario["points"], baseline, strict=True)]
        assert scenario["delta"] == pytest.approx(differences, abs=1e-6)
    unknown = {"name": "x", "changes": [{"channel": "moon_phase", "op": "set", "value": 1}]}
    failed = api.wait(api.submit("/predict/what-if", {"entity": "rich", "target": "rhr", "scenarios": [unknown]}))
    assert failed["error"]["code"] == "feature_missing"
    assert "moon_phase" in failed["error"]["detail"]


def test_a_batch_answers_many_users_and_names_those_it_could_not(api: Api, trained: Body) -> None:
    api.done("/models/train", {**TRAIN, "entities": ["second"], "target": "rhr"})
    parent = api.done("/predict/batch", {"entities": ["rich", "second", "poor"], "targets": ["rhr"]})
    assert parent["result"]["has_failures"] is True
    items = {item["entity"]: item for item in api.get(f"/jobs/{parent['id']}/items")["data"]}
    assert {name: item["state"] for name, item in items.items()} == {"rich": "succeeded", "second": "succeeded", "poor": "failed"}
    assert items["poor"]["error"]["code"] == "no_active_version"
    assert len(items["second"]["result"]["forecast"]["points"]) == 7


def test_training_again_bumps_the_patch_and_a_rollback_changes_the_answer_at_once(api: Api, trained: Body) -> None:
    model = trained["result"]["model"]
    again = api.done("/models/train", {**TRAIN, "entity": "rich", "target": "rhr"})
    assert (again["result"]["version"], again["result"]["active"]) == ("1.0.1", True)
    asked = {"entity": "rich", "target": "rhr", "horizon": 3}
    api.done("/predict", asked)
    cached = api.submit("/predict", asked)["result"]["forecast"]
    assert (cached["cached"], cached["served_by"]["version"]) == (True, "1.0.1")

    back = api.ok(api.post(f"/models/{model}/rollback", {"reason": "the new one is worse on Mondays"}))
    assert (back["version"], back["active"]) == ("1.0.0", True)
    fresh = api.done("/predict", asked)["result"]["forecast"]
    assert (fresh["cached"], fresh["served_by"]["version"]) == (False, "1.0.0")
    log = api.get(f"/models/{model}/activations")["data"]
    newest = max(log, key=lambda entry: entry["at"])
    assert (newest["kind"], newest["to"], newest["reason"]) == ("rollback", "1.0.0", "the new one is worse on Mondays")
