"""Backtests over HTTP: asked for, carried out by a real worker's hands, told as the document says, and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from sqlalchemy import Engine

from tasks.workshop import Workshop
from tests.support.road import SMALL, settings_for, work_off, workshop
from tests.support.web import START, Caller, House, days, make_house

SVG = "image/svg+xml"
OF_RECIPE = {"entity": "u", "recipe": "device-metric", "target": "<script>", "spec": SMALL, "folds": 2, "look_back_hours": 9999}
OF_VERSION = {"entity": "u", "target": "<script>"}


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models")) as opened:
        yield opened


@pytest.fixture
def house(shop: Workshop) -> House:
    return make_house(shop.runtime)


@pytest.fixture
def me(house: House) -> Caller:
    """Whose entity has a channel of a name that a page would run."""
    caller = house.caller("mine")
    assert caller.post("/entities/u/observations", {"observations": days(130, "<script>")}).status_code == 200
    return caller


def done(shop: Workshop, caller: Caller, body: dict[str, Any]) -> Any:
    asked = caller.post("/backtests", body)
    assert asked.status_code == 202, asked.text
    work_off(shop)
    found = caller.get(f"/jobs/{asked.json['id']}").json
    assert (found["state"], found["error"]) == ("succeeded", None)
    return found


def test_a_recipe_is_tried_and_drawn(shop: Workshop, me: Caller) -> None:
    """Every answer on the way is one that the document tells of: the caller sees to that."""
    found = done(shop, me, OF_RECIPE)
    assert (found["kind"], found["queue"]["name"], found["spec"]["folds"]) == ("backtest", "train", 2)
    result = me.get(found["links"]["result"].removeprefix("/api/v1")).json["result"]
    assert result == found["result"]
    assert len(result["overall"]["scores"]["lstm"]["metrics_per_step"]["mae"]) == SMALL["horizon"]
    drawn = me.get(found["links"]["chart"].removeprefix("/api/v1"))
    assert (drawn.status_code, drawn.mimetype) == (200, SVG)
    assert drawn.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<script" not in drawn.text
    assert any((each.text or "").startswith("<script>: mean absolute error") for each in fromstring(drawn.data).iter())


def test_a_version_is_tried_on_rows_that_came_later(shop: Workshop, me: Caller) -> None:
    train = {name: value for name, value in OF_RECIPE.items() if name != "folds"}
    assert me.post("/models/train", train).status_code == 202
    work_off(shop)
    refused = me.post("/backtests", OF_VERSION)
    assert (refused.status_code, refused.json["code"]) == (422, "insufficient_data")
    assert "trained on rows until 2026-05-10T00:00:00Z" in refused.json["detail"]
    later = days(10, "<script>", START + timedelta(days=130))
    assert me.post("/entities/u/observations", {"observations": later}).status_code == 200
    found = done(shop, me, OF_VERSION)
    assert (found["queue"]["name"], found["spec"]["version"], found["spec"]["recipe"]) == ("batch", "1.0.0", None)
    assert (found["result"]["version"], found["result"]["overall"]["origins"]) == ("1.0.0", 10)
    both = done(shop, me, OF_VERSION | {"from": "2026-04-01", "to": "2026-05-15T00:00:00Z"})
    assert [fold["seen_in_training"] for fold in both["result"]["folds"]] == [True, False]
    assert [warning["code"] for warning in both["warnings"]] == ["seen_in_training"]
    assert both["spec"]["from"] == "2026-04-01T00:00:00Z"


def test_a_backtest_that_ends_in_time_is_answered_at_once(shop: Workshop, me: Caller) -> None:
    asked = me.post("/backtests", OF_RECIPE, headers={"Idempotency-Key": "k"})
    work_off(shop)
    again = me.post("/backtests", OF_RECIPE, headers={"Idempotency-Key": "k", "Prefer": "wait=5"})
    assert (again.status_code, again.json["id"], again.json["state"]) == (200, asked.json["id"], "succeeded")
    assert again.headers["Idempotent-Replayed"] == "true"


def test_what_has_no_chart(me: Caller, house: House) -> None:
    unfinished = me.post("/backtests", OF_RECIPE).json["id"]
    waiting = me.get(f"/backtests/{unfinished}/chart.svg")
    assert (waiting.status_code, waiting.json["code"], waiting.headers["Retry-After"]) == (409, "job_not_finished", "1")
    me.post(f"/jobs/{unfinished}/cancel")
    other = me.post("/models/train", {name: value for name, value in OF_RECIPE.items() if name != "folds"}).json["id"]
    for job, said in ((unfinished, "is cancelled"), (other, "of kind train"), ("job_none", "job_none")):
        answer = me.get(f"/backtests/{job}/chart.svg")
        assert (answer.status_code, answer.json["code"]) == (404, "job_not_found")
        assert said in answer.json["detail"]
    assert me.get(f"/backtests/{unfinished}/chart.svg", headers={"Accept": "text/html"}).status_code == 406


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"entity": "u"}, "/target"),
    ({"entity": "u", "target": None}, "/target"),
    ({"entity": "u", "target": "rhr", "folds": 3}, "/recipe"),
    ({"entity": "u", "target": "rhr", "spec": {}}, "/recipe"),
    (OF_RECIPE | {"version": "1.0.0"}, "/version"),
    (OF_RECIPE | {"from": "2026-01-01"}, "/from"),
    (OF_RECIPE | {"folds": 0}, "/folds"),
    (OF_RECIPE | {"folds": 21}, "/folds"),
    (OF_RECIPE | {"spec": {"epochs": 1001}}, "/spec/epochs"),
    (OF_RECIPE | {"recipe": "none"}, "/recipe"),
    (OF_VERSION | {"from": "2026-01-02", "to": "2026-01-02"}, "/to"),
    (OF_VERSION | {"from": "yesterday"}, "/from"),
]


@pytest.mark.parametrize(("body", "pointer"), REFUSED)
def test_what_is_refused_names_its_place(me: Caller, body: dict[str, Any], pointer: str) -> None:
    answer = me.post("/backtests", body)
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json["errors"]] == [pointer]


def test_too_little_data_says_how_much_is_missing(me: Caller) -> None:
    answer = me.post("/backtests", OF_RECIPE | {"folds": 20, "spec": SMALL | {"horizon": 24}})
    assert (answer.status_code, answer.json["code"]) == (422, "insufficient_data")
    assert {"name": "backtest_rows", "have": 130, "need": 526, "unit": "row", "met": False, "eta": None} in answer.json["requirements"]
