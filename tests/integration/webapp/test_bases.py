"""Bases over HTTP: asked for, listed, exported, started from, refused, erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.web import Caller, House, days, make_house, make_runtime

PRETRAIN = {"name": "hearts", "entities": ["u", "v"], "recipe": "health-daily", "target": "rhr"}
TRAIN = {"entity": "u", "recipe": "health-daily"}


@pytest.fixture
def house(engine: Engine, redis_url: str, tmp_path: Path) -> House:
    return make_house(make_runtime(engine, redis_url, model_dir=tmp_path))


@pytest.fixture
def two(ready: Caller) -> Caller:
    """A caller with two entities to learn from."""
    assert ready.post("/entities/v/observations", {"observations": days(60)}).status_code == 200
    return ready


@pytest.fixture
def based(house: House, two: Caller) -> Caller:
    """A caller with a base."""
    house.publish(two, two.post("/models/pretrain", PRETRAIN).json["id"])
    return two


def base_of(caller: Caller) -> Any:
    [found] = caller.get("/models?kind=base").json["data"]
    return found


def test_a_base_is_asked_for(two: Caller) -> None:
    answer = two.post("/models/pretrain", PRETRAIN | {"spec": {"epochs": 5}, "metadata": {"client": "nightly"}})
    job = answer.json
    assert (answer.status_code, job["kind"], job["entity"], job["target"]) == (202, "pretrain", "hearts", "rhr")
    assert (job["queue"]["name"], job["metadata"], job["spec"]["entities"]) == ("train", {"client": "nightly"}, ["u", "v"])
    assert (job["spec"]["spec"]["epochs"], job["spec"]["spec"]["targets"]) == (5, ["rhr"])
    assert two.post("/models/pretrain", PRETRAIN | {"spec": {"epochs": 5}}).json["deduplicated"] is True
    assert two.get("/entities/hearts").json["kind"] == "base"
    assert [job["kind"] for job in two.get("/jobs?kind=pretrain").json["data"]] == ["pretrain"]


def test_a_base_is_listed_looked_at_exported_and_moved_like_every_model(house: House, based: Caller) -> None:
    based.post("/models/train", TRAIN)
    found = base_of(based)
    assert (found["entity"], found["kind"], found["name"]) == ("hearts", "base", "rhr")
    assert found["active_version"]["metrics"].keys() == {"lstm"}
    assert found["active_version"]["metrics"]["lstm"].keys() == {"stop"}
    assert [m["kind"] for m in based.get("/models").json["data"]] == ["base", "forecast"]
    assert [m["id"] for m in based.get("/models/user/hearts").json["data"]] == [found["id"]]
    house.shelve()
    zipped = based.get(f"/models/{found['id']}/versions/1.0.0/artefact")
    assert (zipped.status_code, zipped.mimetype) == (200, "application/zip")
    zipped.close()
    house.publish(based, based.post("/models/pretrain", PRETRAIN | {"spec": {"epochs": 5}}).json["id"])
    assert base_of(based)["active_version"]["version"] == "1.1.0"
    assert based.post(f"/models/{found['id']}/rollback").json["version"] == "1.0.0"


def test_a_training_starts_from_it_by_name_or_by_id(house: House, based: Caller) -> None:
    """Its shape is taken over, and what was pinned then stays pinned."""
    model = base_of(based)["id"]
    for told in ({"name": "hearts"}, {"model": model}, {"model": model, "version": "1.0.0"}, {"name": "hearts", "version": None}):
        answer = based.post("/models/train", TRAIN | {"base": told})
        assert (answer.status_code, answer.json["spec"]["base"]) == (202, {"model": model, "version": "1.0.0"}), told
    batch = based.post("/models/train", {"entities": ["u", "v"], "recipe": "health-daily", "base": {"name": "hearts"}}).json["id"]
    items = based.get(f"/jobs/{batch}/items").json["data"]
    assert [item["spec"]["base"] for item in items] == [{"model": model, "version": "1.0.0"}] * 2
    assert based.post("/models/train", TRAIN | {"spec": {"epochs": 3}}).json["spec"]["base"] is None


def test_a_model_of_ones_own_is_a_base_too(house: House, trained: Caller) -> None:
    model = trained.get("/models").json["data"][0]["id"]
    answer = trained.post("/models/train", TRAIN | {"base": {"model": model}, "spec": {"epochs": 5}})
    assert (answer.status_code, answer.json["spec"]["base"]) == (202, {"model": model, "version": "1.0.0"})


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"spec": {"horizon": 3}}, "/spec/horizon"),
        ({"spec": {"hidden_size": 16}}, "/spec/hidden_size"),
        ({"spec": {"network": "seq2seq"}}, "/spec/network"),
        ({"spec": {"covariates": ["steps"]}}, "/spec/covariates"),
        ({"spec": {"future_covariates": ["day_off"]}}, "/spec/future_covariates"),
        ({"spec": {"rolling": []}}, "/spec/rolling"),
        ({"spec": {"targets": ["rhr"]}}, "/spec/targets"),
        ({"base": {}}, "/base"),
        ({"base": {"name": "hearts", "model": "mdl_1"}}, "/base"),
        ({"base": {"name": ""}}, "/base/name"),
        ({"recipe": "device-metric"}, "/target"),
    ],
)
def test_what_does_not_fit_the_base_is_refused_at_its_place(based: Caller, change: dict[str, Any], pointer: str) -> None:
    answer = based.post("/models/train", TRAIN | {"base": {"name": "hearts"}} | change)
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_bases_that_are_not_there(house: House, based: Caller) -> None:
    model = base_of(based)["id"]
    for told, status, code in (
        ({"name": "nobody"}, 404, "entity_not_found"),
        ({"name": "u"}, 404, "no_active_version"),
        ({"model": "mdl_none"}, 404, "model_not_found"),
        ({"model": model, "version": "9.9.9"}, 404, "version_not_found"),
        ({"name": "hearts", "version": "x"}, 404, "version_not_found"),
    ):
        answer = based.post("/models/train", TRAIN | {"base": told})
        assert (answer.status_code, answer.json["code"]) == (status, code), told
    untrained = based.post("/models/pretrain", PRETRAIN | {"name": "waiting"}).json
    nothing = based.post("/models/train", TRAIN | {"base": {"name": untrained["entity"]}})
    assert (nothing.status_code, nothing.json["code"]) == (404, "no_active_version")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"name": "u"}, 422, "validation_failed"),
        ({"entities": ["u", "nobody"]}, 404, "entity_not_found"),
        ({"entities": ["u", "u"]}, 422, "insufficient_data"),
        ({"entities": ["u"]}, 422, "validation_failed"),
        ({"recipe": "none"}, 422, "validation_failed"),
        ({"recipe": "device-metric", "target": None}, 422, "validation_failed"),
        ({"spec": {"window": 1}}, 422, "validation_failed"),
    ],
)
def test_bases_that_cannot_be(two: Caller, change: dict[str, Any], status: int, code: str) -> None:
    answer = two.post("/models/pretrain", PRETRAIN | change)
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    assert two.get("/jobs").json["data"] == []
    assert two.get("/entities/hearts").status_code == 404


def test_a_selector_does_not_mean_bases_unless_it_says_so(based: Caller) -> None:
    """They have no observations: each would be a failed item."""
    batch = based.post("/models/train", {"selector": {}, "recipe": "health-daily"}).json["id"]
    assert [item["entity"] for item in based.get(f"/jobs/{batch}/items").json["data"]] == ["u", "v"]
    again = based.post("/models/pretrain", {"name": "others", "selector": {}, "recipe": "health-daily"})
    assert again.json["spec"]["entities"] == ["u", "v"]
    only = based.post("/predict/batch", {"selector": {"kind": "base"}, "targets": ["rhr"]}).json["id"]
    assert [item["entity"] for item in based.get(f"/jobs/{only}/items").json["data"]] == ["hearts", "others"]


def test_a_base_is_learned_from_no_more_than_a_batch_may_hold(house: House, two: Caller) -> None:
    small = make_house(make_runtime(house.runtime.engine, house.runtime.settings.redis_url, max_batch=1))
    two.client = small.app.test_client()
    for whom, pointer in (({"entities": ["u", "v"]}, "/entities"), ({"selector": {}}, "/selector")):
        answer = two.post("/models/pretrain", {"name": "hearts", "recipe": "health-daily", **whom})
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer)


def test_a_base_forecasts_for_nobody(based: Caller) -> None:
    answer = based.post("/predict", {"entity": "hearts", "target": "rhr"})
    assert (answer.status_code, answer.json["code"]) == (404, "no_active_version")


def test_a_base_is_erased_with_its_entity(based: Caller) -> None:
    assert based.delete("/entities/hearts").status_code == 204
    assert based.get("/models?kind=base").json["data"] == []
    answer = based.post("/models/train", TRAIN | {"base": {"name": "hearts"}})
    assert (answer.status_code, answer.json["code"]) == (404, "entity_not_found")
    [job] = based.get("/jobs").json["data"]
    assert (job["kind"], job["entity"], job["spec"]) == ("pretrain", None, {})


def test_several_targets_have_no_name_of_their_own(me: Caller) -> None:
    rows = [row for channel in ("temperature", "humidity") for row in days(120, channel)]
    me.post("/entities/room/observations", {"observations": rows})
    asked = {"entity": "room", "recipe": "sensor-climate"}
    job = me.post("/models/train", asked).json
    assert (job["target"], job["spec"]["model"]) == ("temperature", "temperature")
    assert job["spec"]["spec"]["targets"] == ["temperature", "humidity"]
    named = me.post("/models/train", asked | {"model": "climate"})
    assert (named.status_code, named.json["errors"][0]["pointer"]) == (422, "/model")
    assert "temperature, humidity" in named.json["detail"]
    alone = me.post("/models/train", asked | {"model": "damp", "target": "humidity"}).json
    assert (alone["spec"]["model"], alone["spec"]["spec"]["covariates"]) == ("damp", ["temperature"])
