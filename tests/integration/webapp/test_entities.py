"""Entities: made, told more about, listed, erased; and what is still missing of their data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.web import Caller, House, days

CHANNEL = {"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30.0, "upper_bound": 220.0}


def test_put_and_get(me: Caller) -> None:
    told = me.put("/entities/user-42", {"kind": "user", "attributes": {"site": "north"}, "channels": [CHANNEL]})
    assert told.status_code == 200
    found = me.get("/entities/user-42").json
    assert found == told.json
    assert found["created_at"].endswith("Z")
    del found["created_at"]
    assert found == {"entity": "user-42", "kind": "user", "attributes": {"site": "north"}, "data_rev": 0, "channels": [CHANNEL]}


def test_what_is_left_out_stays(me: Caller) -> None:
    me.put("/entities/a", {"kind": "user", "channels": [CHANNEL]})
    found = me.put("/entities/a", {"attributes": {"x": 1}}).json
    assert (found["kind"], found["attributes"], found["channels"]) == ("user", {"x": 1}, [CHANNEL])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("urn:dev:1", "urn:dev:1"),
        ("sensor.room.3", "sensor.room.3"),
        ("two%20words", "two words"),
        ("B%C3%BCro", "Büro"),
        ("100%25", "100%"),
        ("a%2Bb+c", "a+b+c"),
        ("realAWSCloudwatch%2Fec2_cpu", "realAWSCloudwatch/ec2_cpu"),
        ("realAWSCloudwatch/ec2_cpu", "realAWSCloudwatch/ec2_cpu"),
        ("observations", "observations"),
        ("%3Fq%23f", "?q#f"),
    ],
)
def test_names_in_paths(me: Caller, path: str, name: str) -> None:
    assert me.put(f"/entities/{path}").json["entity"] == name
    assert me.post(f"/entities/{path}/observations", {"observations": days(1)}).status_code == 200
    assert me.get(f"/entities/{path}").json["channels"][0]["name"] == "rhr"
    assert me.get(f"/entities/{path}/observations").json["data"][0]["value"] == 58
    assert me.get(f"/entities/{path}/readiness?recipe=health-daily").json["entity"] == name
    assert me.get(f"/entities/{path}/forecasts/a.b%2Fc").json["code"] == "forecast_not_found"
    assert me.get(f"/models/user/{path}").json == {"data": [], "next_cursor": None}
    assert [row["entity"] for row in me.get("/entities").json["data"]] == [name]
    assert me.delete(f"/entities/{path}").status_code == 204
    assert me.get(f"/entities/{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["a%00", "a%0Ab", "x" * 201, "%FF", "a//b", "a/../b", "a/.", "..", "a/", "%2Fa", "a/forecasts/b", "x/readiness/y"]
)
def test_names_that_nothing_can_have(me: Caller, path: str) -> None:
    for answer in (me.put(f"/entities/{path}"), me.post(f"/entities/{path}/observations", {"observations": days(1)})):
        assert 400 <= answer.status_code < 500, answer.text
    assert me.get("/entities").json["data"] == []


def test_unknown_entities(me: Caller) -> None:
    for answer in (
        me.get("/entities/nobody"),
        me.delete("/entities/nobody"),
        me.get("/entities/nobody/observations"),
        me.get("/entities/nobody/readiness?recipe=health-daily"),
        me.get("/entities/nobody/forecasts/rhr"),
        me.get("/models/user/nobody"),
        me.get("/models?entity=nobody"),
        me.get("/jobs?entity=nobody"),
    ):
        assert (answer.status_code, answer.json["code"]) == (404, "entity_not_found")


def test_a_list_is_read_in_pages(me: Caller) -> None:
    for number in range(5):
        me.put(f"/entities/e{number}", {"kind": "odd" if number % 2 else "even"})
    seen, cursor = [], ""
    while True:
        page = me.get(f"/entities?limit=2&kind=even{cursor}").json
        seen.append([row["entity"] for row in page["data"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [["e0", "e2"], ["e4"]]
    assert me.get(f"/entities?limit=2{cursor}").json["errors"][0]["code"] == "unknown_cursor"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=" + "9" * 5000, "cursor=x", "cursor=", "kind=%00", "page=2"])
def test_bad_queries(me: Caller, query: str) -> None:
    answer = me.get(f"/entities?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert answer.json["errors"][0]["pointer"].startswith("/query/")


def test_erasing_takes_everything_but_the_jobs(house: House, trained: Caller) -> None:
    job = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]
    house.forecast(trained, job)
    assert trained.post("/predict", {"entity": "u", "target": "rhr"}).status_code == 200
    model = trained.get("/models").json["data"][0]["id"]
    assert trained.delete("/entities/u").status_code == 204
    assert trained.get(f"/models/{model}").json["code"] == "model_not_found"
    assert trained.get(f"/jobs/{job}").status_code == 200
    answers = [house.runtime.memory.get(key) for key in house.runtime.memory.keys("*") if ":forecast:" in key]
    assert answers == [""], "it keeps the place free from who comes late"


def test_readiness_says_what_is_missing(me: Caller) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=11)
    me.post("/entities/u/observations", {"observations": days(12, start=start)})
    found = me.get("/entities/u/readiness?recipe=health-daily&target=rhr").json
    assert (found["entity"], found["recipe"], found["target"], found["ready"]) == ("u", "health-daily", "rhr", False)
    [missing] = [r for r in found["requirements"] if r["name"] == "rhr.days"]
    assert missing["eta"] > datetime.now(UTC).date().isoformat()
    assert {**missing, "eta": None} == {"name": "rhr.days", "have": 12, "need": 30, "unit": "day", "met": False, "eta": None}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("", "/query/recipe"), ("recipe=none", "/query/recipe"), ("recipe=device-metric", "/query/target"), ("recipe=a&x=1", "/query/x")],
)
def test_readiness_of_what(me: Caller, query: str, pointer: str) -> None:
    me.put("/entities/u")
    answer = me.get(f"/entities/u/readiness?{query}")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == pointer
