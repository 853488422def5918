"""Detectors over HTTP: trained and asked, carried out by a real worker's hands, told as the document says, listed, and erased."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tasks.workshop import Workshop
from tests.support.road import settings_for, work_off, workshop
from tests.support.web import START, Caller, House, make_house

ROWS, SPIKE = 1_500, 1_450
QUICK = {"trees": 20, "alarm_rate": 0.005}


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models")) as opened:
        yield opened


@pytest.fixture
def house(shop: Workshop) -> House:
    return make_house(shop.runtime)


def at(row: int) -> str:
    return (START + timedelta(minutes=5) * row).isoformat().replace("+00:00", "Z")


def deliver(caller: Caller, first: int, last: int, spike: int = -1) -> None:
    noise, rows = random.Random(first), []
    for row in range(first, last):
        load = 40 + 20 * math.sin(2 * math.pi * row / 288) + noise.gauss(0, 2)
        rows.append({"at": at(row), "cpu_usage": 300.0 if row == spike else load, "disk_usage_percent": 50 + noise.gauss(0, 1)})
    assert caller.post("/entities/host/observations", {"rows": rows}).status_code == 200


@pytest.fixture
def me(house: House) -> Caller:
    """Whose machine did as always."""
    caller = house.caller("mine")
    deliver(caller, 0, 1_400)
    return caller


def done(shop: Workshop, caller: Caller, path: str, body: dict[str, Any]) -> Any:
    asked = caller.post(path, body)
    assert asked.status_code == 202, asked.text
    work_off(shop)
    found = caller.get(f"/jobs/{asked.json['id']}").json
    assert (found["state"], found["error"]) == ("succeeded", None)
    return found


@pytest.fixture
def watched(shop: Workshop, me: Caller) -> Caller:
    done(shop, me, "/anomalies/train", {"entity": "host", "spec": QUICK})
    deliver(me, 1_400, ROWS, SPIKE)
    return me


def test_from_the_training_to_the_list(shop: Workshop, me: Caller) -> None:
    trained = done(shop, me, "/anomalies/train", {"entity": "host", "spec": QUICK})
    assert (trained["kind"], trained["target"], trained["spec"]["spec"]["channels"]) == (
        "anomaly_train",
        None,
        ["cpu_usage", "disk_usage_percent"],
    )
    [model] = me.get("/models?kind=anomaly").json["data"]
    assert model["active_version"]["served_by"] == "isolation_forest"
    assert model["active_version"]["metrics"]["contamination"]["asked"] == 0.005
    deliver(me, 1_400, ROWS, SPIKE)
    found = done(shop, me, "/anomalies/detect", {"entity": "host", "hours": 8})["result"]
    [spike] = [each for each in found["anomalies"] if each["at"] == at(SPIKE)]
    assert spike["contributions"][0]["channel"] == "cpu_usage"
    listed = me.get("/entities/host/anomalies").json["data"]
    assert [each["at"] for each in listed] == sorted((each["at"] for each in found["anomalies"]), reverse=True)
    told = next(each for each in listed if each["at"] == at(SPIKE))
    assert {name: told[name] for name in spike} == spike
    assert (told["model"], told["version"]) == (model["id"], "1.0.0")


def test_the_artefact_is_downloaded_and_the_flag_moved_like_any_others(shop: Workshop, watched: Caller) -> None:
    [model] = watched.get("/models?kind=anomaly").json["data"]
    zipped = watched.get(f"/models/{model['id']}/versions/1.0.0/artefact")
    assert (zipped.status_code, b"detector.safetensors" in zipped.data) == (200, True)
    second = done(shop, watched, "/anomalies/train", {"entity": "host", "spec": QUICK | {"seed": 5}})["result"]
    assert (second["version"], second["active"]) == ("1.1.0", True)
    assert watched.post(f"/models/{model['id']}/rollback", {"reason": "as it was"}).json["version"] == "1.0.0"
    assert done(shop, watched, "/anomalies/detect", {"entity": "host"})["result"]["version"] == "1.0.0"
    assert watched.post(f"/models/{model['id']}/activate", {"version": "1.1.0"}).status_code == 200
    assert done(shop, watched, "/anomalies/detect", {"entity": "host"})["result"]["version"] == "1.1.0"


def test_the_list_has_pages_a_span_and_a_severity(shop: Workshop, watched: Caller) -> None:
    done(shop, watched, "/anomalies/detect", {"entity": "host", "from": at(0)})
    every = watched.get("/entities/host/anomalies?limit=200").json["data"]
    assert len(every) > 2
    paged, cursor = [], ""
    while cursor is not None:
        page = watched.get("/entities/host/anomalies?limit=1" + (f"&cursor={cursor}" if cursor else "")).json
        paged, cursor = paged + page["data"], page["next_cursor"]
    assert paged == every
    from_spike = watched.get(f"/entities/host/anomalies?from={at(SPIKE)}").json["data"]
    assert from_spike == [each for each in every if each["at"] >= at(SPIKE)]
    assert watched.get(f"/entities/host/anomalies?to={at(SPIKE)}").json["data"] == [each for each in every if each["at"] < at(SPIKE)]
    for severity in ("warning", "critical"):
        told = watched.get(f"/entities/host/anomalies?severity={severity}&limit=200").json["data"]
        assert told == [each for each in every if each["severity"] == severity]
    other = watched.get(f"/entities/host/anomalies?severity=critical&cursor={encode_of(watched)}")
    assert (other.status_code, other.json["errors"][0]["pointer"]) == (422, "/query/cursor")


def encode_of(caller: Caller) -> str:
    """A cursor of the list without its filter."""
    found: str = caller.get("/entities/host/anomalies?limit=1").json["next_cursor"]
    return found


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"channels": ["fan"]}, "/channels", "cpu_usage, disk_usage_percent"),
        ({"recipe": "device-metric"}, "/recipe", "device-anomaly"),
        ({"spec": {"trees": 5}}, "/spec/trees", "between 10 and 1000"),
        ({"spec": {"critical_rate": 0.05}}, "/spec/critical_rate", "at most the alarm_rate"),
        ({"spec": {"short": 40}}, "/spec/medium", "between short"),
        ({"spec": {"channels": ["a"]}}, "/spec/channels", "Unknown field"),
        ({"channels": []}, "/channels", "Length must be"),
    ],
)
def test_what_is_wrong_with_a_training_is_pointed_at(me: Caller, body: dict[str, Any], pointer: str, said: str) -> None:
    refused = me.post("/anomalies/train", {"entity": "host"} | body)
    assert refused.status_code == 422
    [fault] = refused.json["errors"]
    assert fault["pointer"] == pointer
    assert said in fault["detail"]


def test_an_entity_without_any_of_the_recipes_channels_hears_what_it_has(me: Caller) -> None:
    me.post("/entities/heart/observations", {"rows": [{"at": at(0), "rhr": 60}]})
    refused = me.post("/anomalies/train", {"entity": "heart"})
    [fault] = refused.json["errors"]
    assert (refused.status_code, fault["pointer"]) == (422, "/channels")
    assert fault["detail"].endswith("it has: rhr")


def test_too_few_rows_are_told_with_how_many_there_are(me: Caller) -> None:
    refused = me.post("/anomalies/train", {"entity": "host", "look_back_hours": 4})
    assert (refused.status_code, refused.json["code"]) == (422, "insufficient_data")
    [needed] = refused.json["requirements"]
    assert (needed["name"], needed["have"], needed["need"], needed["met"]) == ("cpu_usage.rows", 49, 100, False)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"hours": 2, "from": at(0)}, "/hours"), ({"from": at(5), "to": at(5)}, "/to"), ({"hours": 0}, "/hours"), ({"hours": "2"}, "/hours")],
)
def test_what_is_wrong_with_a_detection_is_pointed_at(watched: Caller, body: dict[str, Any], pointer: str) -> None:
    refused = watched.post("/anomalies/detect", {"entity": "host"} | body)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)


def test_nothing_was_trained(me: Caller) -> None:
    refused = me.post("/anomalies/detect", {"entity": "host"})
    assert (refused.status_code, refused.json["code"]) == (404, "no_active_version")


def test_erased_means_erased(shop: Workshop, watched: Caller) -> None:
    asked = done(shop, watched, "/anomalies/detect", {"entity": "host", "hours": 8})
    assert watched.get("/entities/host/anomalies").json["data"]
    assert watched.delete("/entities/host").status_code == 204
    assert watched.get("/entities/host/anomalies").status_code == 404
    left = watched.get(f"/jobs/{asked['id']}").json
    assert (left["spec"], left["result"]) == ({}, None)
    deliver(watched, 0, 10)
    assert watched.get("/entities/host/anomalies").json["data"] == [], "the name comes back, and nothing with it"


def test_the_presets_are_listed(me: Caller) -> None:
    [preset] = me.get("/recipes").json["detectors"]
    assert (preset["name"], preset["look_back_hours"], preset["least_rows"]) == ("device-anomaly", 168, 100)
    assert "device-anomaly" not in [recipe["name"] for recipe in me.get("/recipes").json["data"]], "those forecast"
