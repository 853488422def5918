"""Predictions: cached, waited for, queued, in batches, and as what-ifs."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from tasks.problems import problem
from tests.support.web import Caller, House, days, make_house

PREDICT = {"entity": "u", "target": "rhr"}
WHAT_IF = PREDICT | {"scenarios": [{"name": "calm", "changes": [{"channel": "rhr", "op": "add", "value": -2, "steps": {"last": 3}}]}]}


def soon(work: Any, *arguments: Any, after: float = 0.2) -> threading.Thread:
    """Do something while the request under test waits."""

    def later() -> None:
        time.sleep(after)
        work(*arguments)

    thread = threading.Thread(target=later)
    thread.start()
    return thread


def answer_next(house: House, caller: Caller) -> None:
    """A worker that takes up the newest queued job."""
    [job] = caller.get("/jobs?state=queued").json["data"]
    house.forecast(caller, job["id"])


def test_queued_then_cached(house: House, trained: Caller) -> None:
    queued = trained.post("/predict", PREDICT)
    assert (queued.status_code, queued.json["result"], queued.json["spec"]["horizon"]) == (202, None, 7)
    body = house.forecast(trained, queued.json["id"])
    cached = trained.post("/predict", PREDICT)
    assert (cached.status_code, cached.json["id"], cached.json["state"]) == (200, queued.json["id"], "succeeded")
    forecast = cached.json["result"]["forecast"]
    assert forecast["cached"] is True
    assert forecast["points"] == body["points"]
    assert "Retry-After" not in cached.headers
    assert trained.get(f"/jobs/{queued.json['id']}").json["result"]["forecast"]["cached"] is False


def test_the_cache_may_be_wiped(house: House, trained: Caller) -> None:
    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    house.runtime.memory.flushall()
    assert trained.post("/predict", PREDICT).status_code == 200


def test_new_observations_make_the_cached_answer_old(house: House, trained: Caller) -> None:
    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    trained.post("/entities/u/observations", {"observations": days(61)[60:]})
    assert trained.post("/predict", PREDICT).status_code == 202


def test_who_waits_gets_the_result(house: House, trained: Caller) -> None:
    worker = soon(answer_next, house, Caller(house.app.test_client(), trained.tenant_id, trained.key))
    answer = trained.post("/predict", PREDICT, headers={"Prefer": "wait=10"})
    worker.join()
    assert (answer.status_code, answer.json["state"]) == (200, "succeeded")
    assert answer.json["result"]["forecast"]["target"] == "rhr"
    assert answer.headers["Preference-Applied"] == "wait"


def test_who_waits_in_vain_gets_the_job(trained: Caller) -> None:
    begun = time.monotonic()
    answer = trained.post("/predict", PREDICT, headers={"Prefer": "respond-async, wait=1"})
    assert 0.9 < time.monotonic() - begun < 3
    assert (answer.status_code, answer.json["state"]) == (202, "queued")


def test_a_job_that_fails_meanwhile_is_shown_as_failed(house: House, trained: Caller) -> None:
    caller = Caller(house.app.test_client(), trained.tenant_id, trained.key)

    def fail() -> None:
        [job] = caller.get("/jobs?state=queued").json["data"]
        house.fail(caller, job["id"], problem("insufficient_recent_data", "Too old."))

    worker = soon(fail)
    answer = trained.post("/predict", PREDICT, headers={"Prefer": "wait=10"})
    worker.join()
    assert (answer.status_code, answer.json["state"], answer.json["error"]["code"]) == (200, "failed", "insufficient_recent_data")


@pytest.mark.parametrize("prefer", ["wait=0", "wait=-1", "wait=soon", "handling=lenient", "await=9", ""])
def test_preferences_that_are_none(trained: Caller, prefer: str) -> None:
    begun = time.monotonic()
    assert trained.post("/predict", PREDICT, headers={"Prefer": prefer}).status_code == 202
    assert time.monotonic() - begun < 2


def test_nothing_trained(ready: Caller) -> None:
    answer = ready.post("/predict", PREDICT)
    assert (answer.status_code, answer.json["code"]) == (404, "no_active_version")
    unknown = ready.post("/predict", PREDICT | {"entity": "nobody"})
    assert (unknown.status_code, unknown.json["code"]) == (404, "entity_not_found")


def test_a_forecast_of_a_channel_that_the_entity_does_not_have_names_those_it_has(ready: Caller) -> None:
    for path, body in (("/predict", PREDICT), ("/predict/what-if", WHAT_IF)):
        answer = ready.post(path, body | {"target": "rhrr"})
        assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
        assert answer.json["errors"] == [{"pointer": "/target", "code": "out_of_bounds", "detail": "u has no such channel; it has: rhr"}]


def test_a_model_that_serves_nothing_yet_is_not_taken_for_a_channel(ready: Caller) -> None:
    job = ready.post("/models/train", {"entity": "u", "recipe": "health-daily", "model": "calm"})
    assert job.status_code == 202
    assert ready.post("/predict", PREDICT | {"target": "calm"}).json["code"] == "no_active_version"


def test_a_pinned_version(house: House, trained: Caller) -> None:
    assert trained.post("/predict", PREDICT | {"version": "1.0.0"}).json["spec"]["version"] == "1.0.0"
    answer = trained.post("/predict", PREDICT | {"version": "2.0.0"})
    assert (answer.status_code, answer.json["code"]) == (404, "version_not_found")


def test_a_horizon_beyond_the_models(trained: Caller) -> None:
    for path, body in (("/predict", PREDICT), ("/predict/what-if", WHAT_IF)):
        answer = trained.post(path, body | {"horizon": 8})
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/horizon")


def test_a_batch(house: House, trained: Caller) -> None:
    trained.post("/entities/v/observations", {"observations": days(60)})
    answer = trained.post("/predict/batch", {"entities": ["u", "v"], "targets": ["rhr", "hrv"], "horizon": 3})
    batch = answer.json
    assert (answer.status_code, batch["kind"], batch["progress"]["items"]["total"]) == (202, "predict", 4)
    assert batch["links"]["items"] == f"/api/v1/jobs/{batch['id']}/items"
    items = trained.get(f"/jobs/{batch['id']}/items").json["data"]
    assert [(i["entity"], i["target"]) for i in items] == [("u", "rhr"), ("u", "hrv"), ("v", "rhr"), ("v", "hrv")]
    assert {i["queue"]["name"] for i in items} == {"batch"}


def test_a_what_if_keeps_what_was_asked(trained: Caller) -> None:
    answer = trained.post("/predict/what-if", WHAT_IF | {"bounds": "clamp"})
    spec = answer.json["spec"]
    assert (answer.status_code, answer.json["kind"], spec["bounds"], spec["horizon"], spec["level"]) == (202, "what_if", "clamp", 7, 0.9)
    assert spec["scenarios"] == WHAT_IF["scenarios"]
    assert trained.post("/predict/what-if", WHAT_IF | {"bounds": "clamp"}).json["deduplicated"] is True


@pytest.fixture
def planned(house: House, trained: Caller) -> Caller:
    """A caller whose version 1.1.0 of `u` knows ahead which days are off."""
    told = {"entity": "u", "recipe": "health-daily", "spec": {"future_covariates": ["day_off"]}}
    house.publish(trained, trained.post("/models/train", told).json["id"])
    return trained


def ahead(channel: str, steps: int) -> dict[str, Any]:
    return {"scenarios": [{"name": "s", "changes": [{"channel": channel, "op": "set", "value": 1, "steps": {"future": steps}}]}]}


def test_a_what_if_changes_what_is_known_ahead(planned: Caller) -> None:
    answer = planned.post("/predict/what-if", WHAT_IF | ahead("day_off", 7) | {"include_baseline": False})
    assert (answer.status_code, answer.json["spec"]["include_baseline"]) == (202, False)
    assert answer.json["spec"]["scenarios"][0]["changes"][0]["steps"] == {"future": 7}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (ahead("rhr", 3), "known ahead: day_off"),
        (ahead("day_off", 8), "forecasts 1 to 7 steps"),
        (ahead("day_off", 3) | {"version": "1.0.0"}, "known ahead: no channel"),
    ],
)
def test_a_future_that_is_not_known_is_refused_in_a_sentence(planned: Caller, change: dict[str, Any], said: str) -> None:
    answer = planned.post("/predict/what-if", WHAT_IF | change)
    [error] = answer.json["errors"]
    assert (answer.status_code, error["pointer"]) == (422, "/scenarios/0/changes/0/steps")
    assert said in error["detail"]


OFF = {"day_off": [0, 0, 1, 1, 0, 0, 0]}


def test_a_future_of_ones_own_travels_with_the_job(planned: Caller) -> None:
    for path, body in (("/predict", PREDICT), ("/predict/what-if", WHAT_IF)):
        answer = planned.post(path, body | {"future": OFF})
        assert (answer.status_code, answer.json["spec"]["future"]) == (202, OFF)
        assert planned.post(path, body | {"future": OFF}).json["deduplicated"] is True
        assert planned.post(path, body).json["spec"]["future"] is None
        assert planned.post(path, body | {"horizon": 3, "future": {"day_off": [0, 0, 1]}}).status_code == 202


def test_a_future_of_ones_own_is_not_answered_from_the_cache(house: House, planned: Caller) -> None:
    house.forecast(planned, planned.post("/predict", PREDICT).json["id"])
    assert planned.post("/predict", PREDICT).status_code == 200
    assert planned.post("/predict", PREDICT | {"future": {}}).status_code == 200
    assert planned.post("/predict", PREDICT | {"future": OFF}).status_code == 202


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"future": {"rhr": [1] * 7}}, "knows ahead: day_off"),
        ({"future": OFF | {"a.b/c": [1] * 7}}, "'a.b/c'"),
        ({"future": {"day_off": [0, 1]}}, "2 numbers; the forecast has 7 steps"),
        ({"future": {"day_off": [0, 1]}, "horizon": 3}, "2 numbers; the forecast has 3 steps"),
        ({"future": OFF, "version": "1.0.0"}, "knows ahead: no channel"),
    ],
)
def test_a_future_that_the_version_does_not_read_is_refused(planned: Caller, change: dict[str, Any], said: str) -> None:
    for path, body in (("/predict", PREDICT), ("/predict/what-if", WHAT_IF)):
        answer = planned.post(path, body | change)
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/future")
        assert said in answer.json["detail"]


def test_the_newest_forecast(house: House, trained: Caller) -> None:
    none = trained.get("/entities/u/forecasts/rhr")
    assert (none.status_code, none.json["code"]) == (404, "forecast_not_found")
    body = house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    found = trained.get("/entities/u/forecasts/rhr")
    assert (found.status_code, found.json) == (200, {**body, "cached": True, "stale": False})


def test_a_pruned_version_is_refused_before_anything_is_queued(house: House, trained: Caller) -> None:
    house.forecast(trained, trained.post("/predict", PREDICT | {"version": "1.0.0"}).json["id"])
    again = trained.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": {"seed": 9}}).json["id"]
    house.publish(trained, again)
    model = trained.get("/models").json["data"][0]["id"]
    assert trained.delete(f"/models/{model}/versions/1.0.0").status_code == 204
    for body in (PREDICT, PREDICT | {"horizon": 3}):
        answer = trained.post("/predict", body | {"version": "1.0.0"})
        assert (answer.status_code, answer.json["code"]) == (410, "version_pruned")


def test_a_stored_forecast_says_when_it_no_longer_stands(house: House, trained: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale() -> bool:
        return bool(trained.get("/entities/u/forecasts/rhr").json["stale"])

    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    assert not stale()
    again = trained.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": {"seed": 9}}).json["id"]
    house.publish(trained, again)
    assert stale(), "another version serves"
    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    assert not stale()
    trained.post("/entities/u/observations", {"observations": days(1)})
    assert stale(), "newer observations came"
    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    assert not stale()
    old = make_house(replace(house.runtime, settings=replace(house.runtime.settings, forecast_ttl_s=0)))
    assert Caller(old.app.test_client(), trained.tenant_id, trained.key).get("/entities/u/forecasts/rhr").json["stale"]


def test_a_cached_answer_is_replayed_as_one(house: House, trained: Caller) -> None:
    house.forecast(trained, trained.post("/predict", PREDICT).json["id"])
    key = {"Idempotency-Key": "k"}
    first, again = (trained.post("/predict", PREDICT, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code, again.json["id"]) == (200, 200, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    told = [{name: value for name, value in a.json["result"]["forecast"].items() if name != "cache_expires_at"} for a in (first, again)]
    assert told[0] == told[1]
    assert trained.post("/predict", PREDICT | {"horizon": 3}, headers=key).json["code"] == "idempotency_key_reused"


def test_idempotency(house: House, trained: Caller) -> None:
    key = {"Idempotency-Key": "k"}
    first = trained.post("/predict/what-if", WHAT_IF, headers=key)
    again = trained.post("/predict/what-if", WHAT_IF, headers=key)
    assert (again.status_code, again.json["id"], again.headers["Idempotent-Replayed"]) == (202, first.json["id"], "true")
    assert trained.post("/predict/what-if", WHAT_IF | {"horizon": 3}, headers=key).json["code"] == "idempotency_key_reused"
