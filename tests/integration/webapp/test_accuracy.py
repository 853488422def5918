"""Forecasts beside what happened, over HTTP: numbers that a pencil agrees with, and a verdict that turns when the series does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from db import drifts, entities, forecasts, registry
from db.drifts import Judged
from db.forecasts import Question
from db.models import Version
from tasks.workshop import Workshop
from tests.support.road import SMALL, settings_for, work_off, workshop
from tests.support.web import START, Caller, House, days, make_house

HERE = "/entities/u/accuracy/rhr"
REFERENCE = {
    "step_s": 86_400.0,
    "season_steps": 7,
    "block_s": 604_800.0,
    "window_s": 604_800.0,
    "inputs": {},
    "by_step": [2.0, 4.0],
    "errors": None,
}


@pytest.fixture
def trained(house: House, me: Caller) -> Caller:
    """Forty days of a person, and a version that learned from them."""
    me.post("/entities/u/observations", {"observations": days(40)})
    train(house, me)
    return me


def train(house: House, me: Caller, **spec: Any) -> str:
    body = {"entity": "u", "recipe": "health-daily", "target": "rhr", "spec": spec}
    semver = house.publish(me, me.post("/models/train", body).json["id"])
    with house.runtime.sessions.begin() as session:
        session.execute(update(Version).values(reference=REFERENCE))
    return semver


def store(house: House, me: Caller, day: int, values: list[float], *, width: float = 1.0, level: float = 0.9) -> None:
    """As a worker does, from that day's row."""
    origin = START + timedelta(days=day)
    points = [
        {"at": (origin + timedelta(days=step)).isoformat(), "value": value, "lower": value - width, "upper": value + width}
        for step, value in enumerate(values, start=1)
    ]
    with house.runtime.sessions.begin() as session:
        entity = entities.get(session, me.tenant_id, "u")
        version = registry.active(session, me.tenant_id, entity.id, "rhr")
        assert version is not None
        asked = Question(version.id, "rhr", entity.data_rev, len(values), level)
        how: dict[str, Any] = {"entity_id": entity.id, "job_id": "job_1", "data_until": origin, "body": {"points": points}}
        forecasts.store(session, me.tenant_id, asked, **how)


def observe(me: Caller, day: int, values: list[float]) -> None:
    rows = [{"channel": "rhr", "at": at(day + n), "value": value} for n, value in enumerate(values)]
    assert me.post("/entities/u/observations", {"observations": rows}).status_code == 200


def at(day: int) -> str:
    return (START + timedelta(days=day)).isoformat().replace("+00:00", "Z")


def test_every_number_of_an_answer(house: House, trained: Caller) -> None:
    """The last value is 62 (day 39), and a week before the two days it was 58 + 5 and 58 + 6."""
    store(house, trained, 39, [60.0, 60.0])
    observe(trained, 40, [61.0, 57.0])
    found = trained.get(HERE).json
    [version] = found["versions"]
    assert (found["entity"], found["target"], found["days"]) == ("u", "rhr", 90)
    assert (version["version"], version["active"], version["origins"]) == ("1.0.0", True, 1)
    assert (version["from"], version["to"]) == (at(40), at(41))
    assert (version["n"], version["mae"], version["usual_mae"]) == (2, 2.0, 3.0)
    assert (version["last_value_mae"], version["season_mae"]) == (3.0, 4.5)
    assert version["skill"] == pytest.approx(1 - 2 / 3)
    assert (version["coverage"], version["level"]) == (0.5, 0.9)
    assert [(step["step"], step["mae"], step["coverage"]) for step in version["steps"]] == [(1, 1.0, 1.0), (2, 3.0, 0.0)]


def test_each_version_answers_for_its_own(house: House, trained: Caller) -> None:
    store(house, trained, 39, [60.0])
    train(house, trained, epochs=80)
    store(house, trained, 39, [64.0])
    observe(trained, 40, [61.0])
    told = {version["version"]: (version["mae"], version["active"]) for version in trained.get(HERE).json["versions"]}
    assert told == {"1.1.0": (3.0, True), "1.0.0": (1.0, False)}
    assert trained.get(HERE).json["drift"]["version"] == "1.1.0"


def test_where_nothing_has_come_true_yet_there_is_no_number(trained: Caller) -> None:
    found = trained.get(HERE).json
    [version] = found["versions"]
    assert {name: version[name] for name in ("n", "mae", "skill", "coverage", "from", "steps")} == {
        "n": 0,
        "mae": None,
        "skill": None,
        "coverage": None,
        "from": None,
        "steps": [],
    }
    assert found["drift"]["verdict"] == "unknown"


def test_who_has_no_model_has_no_accuracy(me: Caller) -> None:
    assert me.get(HERE).json["code"] == "entity_not_found"
    me.put("/entities/u")
    assert me.get(HERE).json["code"] == "model_not_found"


def test_a_model_tells_its_last_verdict_in_short(house: House, trained: Caller) -> None:
    [model] = trained.get("/models?entity=u").json["data"]
    assert model["drift"] is None
    with house.runtime.sessions.begin() as session:
        [due] = drifts.due(session, every_s=0, limit=10)
        drifts.keep(session, [Judged(*due, verdict="drifting", error_ratio=2.5, findings={})])
    for told in (trained.get(f"/models/{model['id']}").json, *trained.get("/models?entity=u").json["data"]):
        assert (told["drift"]["verdict"], told["drift"]["error_ratio"]) == ("drifting", 2.5)
        assert datetime.fromisoformat(told["drift"]["since"]) == datetime.fromisoformat(told["drift"]["judged_at"])
    train(house, trained)
    assert trained.get(f"/models/{model['id']}").json["drift"] is None, "the next version starts anew"


# A life


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models", log_requests="none")) as opened:
        yield opened


def value(day: int, shifted: int) -> float:
    """A weekly course and something like noise; from the day `shifted` on twelve higher, four times as much as it varies."""
    noise = math.sin(day * 12.9898) * math.cos(day * 78.233)
    return 60 + 2 * math.sin(2 * math.pi * day / 7) + 2 * noise + (12.0 if day >= shifted else 0.0)


def test_the_verdict_turns_within_two_weeks_of_a_shift_and_not_before(shop: Workshop) -> None:
    """Three hundred days are learned from; then every day a forecast, and what really came. The level shifts on the twenty-first day."""
    house, learned, shift = make_house(shop.runtime), 300, 21
    me = house.caller("acme")

    def observe(begin: int, end: int) -> None:
        rows = [{"channel": "load", "at": at(day), "value": value(day, learned + shift)} for day in range(begin, end)]
        assert me.post("/entities/dev/observations", {"observations": rows}).status_code == 200

    observe(0, learned)
    body = {"entity": "dev", "recipe": "device-metric", "target": "load", "look_back_hours": 100_000, "spec": SMALL}
    assert me.post("/models/train", body).status_code == 202
    work_off(shop)
    told: list[str] = []
    while "drifting" not in told and len(told) < shift + 14:
        assert me.post("/predict", {"entity": "dev", "target": "load"}).status_code in (200, 202)
        work_off(shop)
        day = learned + len(told)
        observe(day, day + 1)
        found = me.get("/entities/dev/accuracy/load").json
        told.append(found["drift"]["verdict"])
    assert set(told[:shift]) <= {"unknown", "steady"}
    assert told[shift - 1] == "steady"
    assert told[-1] == "drifting"
    [version] = found["versions"]
    assert version["origins"] == len(told)
    assert version["mae"] > 0
