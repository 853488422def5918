"""Models: lineages, versions, and the active flag."""

from __future__ import annotations

import pytest

from tests.support.web import Caller, House


@pytest.fixture
def model(house: House, trained: Caller) -> str:
    """The id of a model with 1.0.0, 1.0.1 and 1.1.0, the last one active."""
    for spec in ({}, {"epochs": 5}):
        job = trained.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": spec}).json
        house.publish(trained, job["id"])
    found: str = trained.get("/models").json["data"][0]["id"]
    return found


def test_a_model_shows_who_serves_and_who_came_last(trained: Caller, model: str) -> None:
    answer = trained.get(f"/models/{model}")
    found = answer.json
    assert (found["entity"], found["kind"], found["name"]) == ("u", "forecast", "rhr")
    assert found["active_version"] == found["latest_version"]
    assert answer.headers["ETag"] == '"1.1.0"'
    version = found["active_version"]
    assert (version["version"], version["model"], version["active"], version["served_by"]) == ("1.1.0", model, True, "blend")
    assert version["artefact"] == {"sha256": "ab" * 32, "bytes": 1234}
    assert version == trained.get(found["links"]["versions"].removeprefix("/api/v1") + "/1.1.0").json


def test_a_model_without_a_version(ready: Caller) -> None:
    ready.post("/models/train", {"entity": "u", "recipe": "health-daily"})
    [found] = ready.get("/models").json["data"]
    assert (found["active_version"], found["latest_version"]) == (None, None)
    assert ready.get(f"/models/{found['id']}").headers["ETag"] == '"none"'


def test_models_are_found_by_what_they_are(trained: Caller, model: str) -> None:
    for path in ("/models?entity=u", "/models/user/u", "/models?name=rhr&kind=forecast", "/models/user/u?name=rhr"):
        assert [m["id"] for m in trained.get(path).json["data"]] == [model], path
    for path in ("/models?name=hrv", "/models/user/u?kind=anomaly"):
        assert trained.get(path).json["data"] == [], path


def test_versions_newest_first_in_pages(trained: Caller, model: str) -> None:
    first = trained.get(f"/models/{model}/versions?limit=2").json
    assert [v["version"] for v in first["data"]] == ["1.1.0", "1.0.1"]
    second = trained.get(f"/models/{model}/versions?limit=2&cursor={first['next_cursor']}").json
    assert ([v["version"] for v in second["data"]], second["next_cursor"]) == (["1.0.0"], None)


def test_activate_and_roll_back(trained: Caller, model: str) -> None:
    chosen = trained.post(f"/models/{model}/activate", {"version": "1.0.0", "reason": "it was better"})
    assert (chosen.status_code, chosen.json["version"], chosen.json["active"]) == (200, "1.0.0", True)
    assert trained.get(f"/models/{model}").json["active_version"]["version"] == "1.0.0"
    assert trained.post(f"/models/{model}/rollback", {"reason": "no"}).json["version"] == "1.1.0"
    assert trained.post(f"/models/{model}/rollback").json["version"] == "1.0.1"
    log = trained.get(f"/models/{model}/activations").json["data"]
    assert [(a["kind"], a["from"], a["to"], a["reason"]) for a in log[:3]] == [
        ("rollback", "1.1.0", "1.0.1", None),
        ("rollback", "1.0.0", "1.1.0", "no"),
        ("activate", "1.1.0", "1.0.0", "it was better"),
    ]
    assert log[0]["actor"] == "key:" + trained.key.split("_")[1]
    page = trained.get(f"/models/{model}/activations?limit=1").json
    assert trained.get(f"/models/{model}/activations?limit=1&cursor={page['next_cursor']}").json["data"] == log[1:2]


def test_nothing_to_go_back_to(trained: Caller) -> None:
    model = trained.get("/models").json["data"][0]["id"]
    answer = trained.post(f"/models/{model}/rollback", {})
    assert (answer.status_code, answer.json["code"]) == (409, "conflicting_activation")


@pytest.mark.parametrize(
    ("header", "status"), [('"1.1.0"', 200), ('"1.0.0"', 412), ("*", 200), ("garbage", 412), ('W/"1.1.0"', 422), ('"1.1.0", "1.0.0"', 422)]
)
def test_if_match(trained: Caller, model: str, header: str, status: int) -> None:
    answer = trained.post(f"/models/{model}/activate", {"version": "1.0.1"}, headers={"If-Match": header})
    assert answer.status_code == status, answer.text
    active = trained.get(f"/models/{model}").json["active_version"]["version"]
    assert active == ("1.0.1" if status == 200 else "1.1.0")


def test_another_version_answers_at_once(house: House, trained: Caller, model: str) -> None:
    """A cached forecast is bound to the version that made it."""
    asked = {"entity": "u", "target": "rhr"}
    house.forecast(trained, trained.post("/predict", asked).json["id"])
    assert trained.post("/predict", asked).status_code == 200
    trained.post(f"/models/{model}/rollback")
    assert trained.post("/predict", asked).status_code == 202


def test_delete_prunes_and_keeps_the_row(trained: Caller, model: str) -> None:
    assert trained.delete(f"/models/{model}/versions/1.0.0").status_code == 204
    assert trained.get(f"/models/{model}/versions/1.0.0").json["pruned_at"].endswith("Z")
    active = trained.delete(f"/models/{model}/versions/1.1.0")
    assert (active.status_code, active.json["code"]) == (409, "model_is_active")
    pruned = trained.post(f"/models/{model}/activate", {"version": "1.0.0"})
    assert (pruned.status_code, pruned.json["code"]) == (410, "version_pruned")


@pytest.mark.parametrize("semver", ["9.9.9", "1.0", "x", "1.0.0.0", "99999999999999999999.0.0", "01.0.0", "1.0.0%00"])
def test_unknown_versions(trained: Caller, model: str, semver: str) -> None:
    for answer in (
        trained.get(f"/models/{model}/versions/{semver}"),
        trained.delete(f"/models/{model}/versions/{semver}"),
        trained.post(f"/models/{model}/activate", {"version": semver}),
    ):
        assert (answer.status_code, answer.json["code"]) in ((404, "version_not_found"), (422, "validation_failed"))


@pytest.mark.parametrize("model", ["mdl_none", "x", "..", "%20"])
def test_unknown_models(trained: Caller, model: str) -> None:
    for answer in (
        trained.get(f"/models/{model}"),
        trained.get(f"/models/{model}/versions"),
        trained.get(f"/models/{model}/versions/1.0.0"),
        trained.delete(f"/models/{model}/versions/1.0.0"),
        trained.get(f"/models/{model}/activations"),
        trained.post(f"/models/{model}/activate", {"version": "1.0.0"}),
        trained.post(f"/models/{model}/rollback", {}),
    ):
        assert (answer.status_code, answer.json["code"]) == (404, "model_not_found"), answer.request.path


def test_recipes(me: Caller) -> None:
    found = {r["name"]: r for r in me.get("/recipes").json["data"]}
    assert {"pv-power", "health-daily", "device-metric"} <= found.keys()
    health = found["health-daily"]
    assert (health["spec"]["window"], health["spec"]["epochs"], health["targets"][0]) == (30, 30, "rhr")
    assert health["gate"]["production_mape"] == 15
    assert {"name", "of", "measure", "minimum", "group"} == health["needs"][0].keys()
    assert (health["spec"]["rolling"], health["joint"], health["available"]) == ([7], False, None)
    climate, price = found["sensor-climate"], found["price-week"]
    assert (climate["joint"], climate["targets"]) == (True, ["temperature", "humidity"])
    assert (price["available"], price["spec"]["network"], price["spec"]["positive"]) == ("is_available", "seq2seq", True)
    assert not {"targets", "covariates", "future_covariates", "available"} & price["spec"].keys(), "the request and the data decide"
