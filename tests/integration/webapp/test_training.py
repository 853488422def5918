"""Submitting trainings: 202 and what it promises, refusals, batches, idempotency, dedupe."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, update

from db.models import Job, Tenant
from tasks.problems import problem
from tests.support.web import Caller, House, days, make_house, make_runtime

TRAIN = {"entity": "u", "recipe": "health-daily"}


def jobs_held(house: House) -> int:
    with house.runtime.sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_the_answer_is_the_job(ready: Caller) -> None:
    answer = ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}, "metadata": {"client": "ios"}})
    job = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["links"]["self"] == f"/api/v1/jobs/{job['id']}"
    assert answer.headers["ETag"] == '"1.0"'
    assert int(answer.headers["Retry-After"]) > 0
    assert (job["kind"], job["state"], job["terminal"], job["rev"]) == ("train", "queued", False, 1)
    assert (job["entity"], job["target"], job["metadata"], job["deduplicated"]) == ("u", "rhr", {"client": "ios"}, False)
    assert (job["queue"], job["result"], job["error"]) == ({"name": "train", "position": 0}, None, None)
    assert job["spec"]["spec"]["epochs"] == 5
    assert job["spec"]["spec"]["window"] == 30
    assert "tenant" not in job


def test_every_answer_of_the_job_has_the_same_members(ready: Caller) -> None:
    submitted = ready.post("/models/train", TRAIN).json
    assert ready.get(submitted["links"]["self"].removeprefix("/api/v1")).json == submitted


def test_what_is_asked_twice_is_done_once(house: House, ready: Caller) -> None:
    first = ready.post("/models/train", TRAIN).json
    second = ready.post("/models/train", TRAIN)
    assert (second.status_code, second.json["id"], second.json["deduplicated"]) == (202, first["id"], True)
    other = ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}}).json
    assert (other["id"] != first["id"], other["deduplicated"]) == (True, False)
    assert jobs_held(house) == 2


def test_a_replay_tells_again_that_the_job_stood_already(ready: Caller) -> None:
    first = ready.post("/models/train", TRAIN, headers={"Idempotency-Key": "k-0"})
    told, again = (ready.post("/models/train", TRAIN, headers={"Idempotency-Key": "k-1"}) for _ in range(2))
    assert [a.json["id"] for a in (told, again)] == [first.json["id"]] * 2
    assert [a.json["deduplicated"] for a in (first, told, again)] == [False, True, True]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert ready.post("/models/train", TRAIN, headers={"Idempotency-Key": "k-0"}).json["deduplicated"] is False


def test_a_repeated_request_gets_its_first_answer(house: House, ready: Caller) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = ready.post("/models/train", TRAIN, headers=key)
    house.fail(ready, first.json["id"], problem("worker_lost", "Gone."))
    again = ready.post("/models/train", TRAIN, headers=key)
    assert (again.status_code, again.json["id"], again.headers["Idempotent-Replayed"]) == (202, first.json["id"], "true")
    assert "Idempotent-Replayed" not in first.headers
    assert jobs_held(house) == 1


def test_a_key_belongs_to_its_body_and_its_route(house: House, ready: Caller) -> None:
    key = {"Idempotency-Key": "k-1"}
    ready.post("/models/train", TRAIN, headers=key)
    reused = ready.post("/models/train", TRAIN | {"target": "hrv"}, headers=key)
    assert (reused.status_code, reused.json["code"]) == (422, "idempotency_key_reused")
    elsewhere = ready.post("/predict/batch", {"entities": ["u"], "targets": ["rhr"]}, headers=key)
    assert (elsewhere.status_code, "Idempotent-Replayed" in elsewhere.headers) == (202, False)


def test_a_refusal_is_not_remembered(house: House, me: Caller) -> None:
    key = {"Idempotency-Key": "k-1"}
    assert me.post("/models/train", TRAIN, headers=key).status_code == 404
    me.post("/entities/u/observations", {"observations": days(60)})
    assert me.post("/models/train", TRAIN, headers=key).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel"])
def test_keys_that_are_none(ready: Caller, key: str) -> None:
    answer = ready.post("/models/train", TRAIN, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/headers/Idempotency-Key")


def test_twins_at_the_same_moment_are_one_job(house: House, ready: Caller) -> None:
    def ask(_: int) -> Any:
        return Caller(house.app.test_client(), ready.tenant_id, ready.key).post("/models/train", TRAIN, headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json["id"] for a in answers}) == 1
    assert sum("Idempotent-Replayed" not in a.headers for a in answers) == 1
    assert jobs_held(house) == 1


def test_too_little_data_is_refused_with_every_requirement(house: House, me: Caller) -> None:
    me.post("/entities/u/observations", {"observations": days(12)})
    answer = me.post("/models/train", TRAIN)
    assert (answer.status_code, answer.json["code"]) == (422, "insufficient_data")
    assert {r["name"]: r["met"] for r in answer.json["requirements"]} == {"rhr.days": False, "window_rows": False}
    assert jobs_held(house) == 0


@pytest.mark.parametrize("recipe", ["health-daily", "device-metric"])
def test_a_target_that_the_entity_does_not_have_is_a_field_to_mend_and_no_lack_of_rows(house: House, ready: Caller, recipe: str) -> None:
    answer = ready.post("/models/train", {"entity": "u", "recipe": recipe, "target": "rhrr"})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert answer.json["errors"] == [{"pointer": "/target", "code": "out_of_bounds", "detail": "u has no such channel; it has: rhr"}]
    assert "'rhrr'" in answer.json["detail"]
    assert jobs_held(house) == 0


def test_a_channel_that_was_declared_lacks_rows_and_one_that_only_the_recipe_names_is_told_beside_those_there_are(ready: Caller) -> None:
    ready.put("/entities/u", {"channels": [{"name": "rhr"}, {"name": "hrv"}]})
    declared = ready.post("/models/train", TRAIN | {"target": "hrv"})
    assert (declared.status_code, declared.json["code"]) == (422, "insufficient_data")
    assert declared.json["detail"].endswith("There is no row of hrv, but of: rhr.")
    by_recipe = ready.post("/models/train", {"entity": "u", "recipe": "pv-power"})
    assert (by_recipe.status_code, by_recipe.json["code"]) == (422, "insufficient_data")
    assert by_recipe.json["detail"].endswith("There is no row of P, but of: rhr.")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"recipe": "none"}, "/recipe"),
        ({"recipe": "device-metric"}, "/target"),
        ({"spec": {"window": 1}}, "/spec/window"),
        ({"spec": {"split": {"fit": 0.9}}}, "/spec/split"),
        ({"spec": {"loss": "rmse"}}, "/spec/loss"),
        ({"spec": {"covariates": ["rhr"]}}, "/spec/covariates"),
        ({"spec": {"window": "50"}}, "/spec/window"),
    ],
)
def test_a_spec_that_cannot_be(house: House, ready: Caller, change: dict[str, Any], pointer: str) -> None:
    answer = ready.post("/models/train", TRAIN | change)
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert [e["pointer"] for e in answer.json["errors"]] == [pointer]
    assert jobs_held(house) == 0


def test_a_batch_is_one_job_with_items(ready: Caller) -> None:
    ready.post("/entities/v/observations", {"observations": days(3)})
    answer = ready.post("/models/train", {"entities": ["u", "v"], "recipe": "health-daily"})
    batch = answer.json
    assert (answer.status_code, batch["state"], batch["progress"]["items"]["total"]) == (202, "running", 2)
    items = ready.get(f"/jobs/{batch['id']}/items").json["data"]
    assert [(i["entity"], i["parent"], i["state"]) for i in items] == [("u", batch["id"], "queued"), ("v", batch["id"], "queued")]
    assert [job["id"] for job in ready.get("/jobs").json["data"]] == [batch["id"]]


def test_a_selector_finds_the_entities(ready: Caller) -> None:
    ready.put("/entities/v", {"kind": "user", "attributes": {"site": "north", "floor": 2}, "channels": [{"name": "rhr"}]})
    ready.put("/entities/w", {"kind": "device", "attributes": {"site": "north"}})

    def found(selector: dict[str, Any]) -> list[str]:
        batch = ready.post("/models/train", {"selector": selector, "recipe": "health-daily"}).json
        return [i["entity"] for i in ready.get(f"/jobs/{batch['id']}/items").json["data"]]

    assert found({}) == ["u", "v", "w"]
    assert found({"kind": "user"}) == ["v"]
    assert found({"has_channel": "rhr"}) == ["u", "v"]
    assert found({"attributes": {"site": "north"}}) == ["v", "w"]
    nobody = ready.post("/models/train", {"selector": {"kind": "plant"}, "recipe": "health-daily"})
    assert (nobody.status_code, nobody.json["code"]) == (404, "entity_not_found")


def test_a_batch_holds_no_more_than_it_may(house: House, ready: Caller) -> None:
    ready.put("/entities/v")
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_batch=1))
    ready.client = small.app.test_client()
    for body, pointer in (({"entities": ["u", "v"]}, "/entities"), ({"selector": {}}, "/selector")):
        answer = ready.post("/models/train", {"recipe": "health-daily", **body})
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer)


def test_a_batch_with_an_unknown_entity_is_refused_whole(house: House, ready: Caller) -> None:
    answer = ready.post("/models/train", {"entities": ["u", "nobody"], "recipe": "health-daily"})
    assert (answer.status_code, answer.json["code"]) == (404, "entity_not_found")
    assert jobs_held(house) == 0


def test_over_quota(house: House, ready: Caller) -> None:
    with house.runtime.sessions.begin() as session:
        session.execute(update(Tenant).values(max_unfinished=1))
    assert ready.post("/models/train", TRAIN).status_code == 202
    answer = ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}})
    assert (answer.status_code, answer.json["code"]) == (429, "quota_exceeded")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_full_queue(house: House, ready: Caller) -> None:
    full = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_queue=1))
    ready.client = full.app.test_client()
    assert ready.post("/models/train", TRAIN).status_code == 202
    answer = ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}})
    assert (answer.status_code, answer.json["code"]) == (503, "queue_saturated")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_body_that_counts_is_the_raw_one(ready: Caller) -> None:
    """The same JSON written otherwise is another body: the hash is over the bytes."""
    headers = {"Idempotency-Key": "k"}
    spaced = json.dumps(TRAIN, indent=1).encode()
    assert ready.post("/models/train", TRAIN, headers=headers).status_code == 202
    answer = ready.post("/models/train", data=spaced, content_type="application/json", headers=headers)
    assert answer.json["code"] == "idempotency_key_reused"
