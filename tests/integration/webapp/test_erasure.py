"""Once an erasure is answered, nothing of the entity is in Redis, and nobody who comes late brings it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from db import erasures
from db.board import Board
from db.breaker import Breaker, make_redis
from db.cache import ForecastCache
from db.events import Place, events_key
from tasks import questions, status
from tasks.reconcile import reconcile_once
from tests.support.memory import texts
from tests.support.web import API, Caller, House, days, make_house, make_runtime

ALICE = "alice@example.org"
TRAIN = {"entity": ALICE, "recipe": "health-daily"}
PREDICT = {"entity": ALICE, "target": "rhr"}


def lacking(entity: str) -> dict[str, Any]:
    about = {"type": "/problems/insufficient_data", "title": "Too little data.", "status": 422, "retryable": False}
    return about | {"code": "insufficient_data", "detail": f"12 of 30 days of {entity}"}


@pytest.fixture
def alice(me: Caller) -> Caller:
    """A caller with two entities."""
    for name in (ALICE, "bob"):
        assert me.post(f"/entities/{name}/observations", {"observations": days(60)}).status_code == 200
    return me


def live(house: House, me: Caller) -> list[str]:
    """All kinds of jobs that tell of her: published, forecast, failed as items, queued. Returns their ids."""
    trained = me.post("/models/train", TRAIN).json["id"]
    house.publish(me, trained)
    asked = me.post("/predict", PREDICT).json["id"]
    house.forecast(me, asked)
    me.post("/predict", PREDICT)  # puts it into the cache
    batch = me.post("/models/train", {"entities": [ALICE, "bob"], "recipe": "health-daily"}).json["id"]
    items = me.get(f"/jobs/{batch}/items").json["data"]
    for item in items:
        house.fail(me, item["id"], lacking(item["entity"]))
    queued = me.post("/models/train", TRAIN).json["id"]
    me.get(f"/jobs/{queued}")  # puts it on the board
    return [trained, asked, batch, *(item["id"] for item in items), queued]


def told(house: House) -> list[str]:
    return [text for text in texts(house.runtime.memory) if ALICE in text]


def test_nothing_of_it_is_left(house: House, alice: Caller) -> None:
    jobs = live(house, alice)
    assert len(told(house)) > 5
    answer = alice.delete(f"/entities/{ALICE}", headers={"X-Request-Id": "forget-alice"})
    assert answer.status_code == 204
    assert told(house) == []
    receipt = alice.get(answer.headers["Location"].removeprefix(API)).json
    assert (receipt["request_id"], receipt["erased_by"]) == ("forget-alice", f"key:{alice.key.split('_')[1]}")
    assert receipt["erased"]["jobs"] == 4
    assert ALICE not in str(receipt)
    for job in jobs:
        assert ALICE not in alice.get(f"/jobs/{job}").text
    assert told(house) == []
    with house.runtime.sessions() as session:
        assert erasures.waiting(session) == [], "it is done"


def test_the_events_of_its_batch_begin_anew(house: House, alice: Caller) -> None:
    batch = live(house, alice)[2]
    [first, *_] = house.runtime.board.events(alice.tenant_id, batch, Place(0, 0)) or []
    alice.delete(f"/entities/{ALICE}")
    headers = {"Authorization": f"Bearer {alice.key}", "Last-Event-ID": str(first.place)}
    heard = alice.client.get(f"{API}/jobs/{batch}/events", headers=headers).get_data(as_text=True)
    assert [line for line in heard.splitlines() if line.startswith("event:")] == ["event: reset", "event: snapshot", "event: end"]
    assert ALICE not in heard


def test_a_document_read_before_and_shown_after_is_refused(house: House, alice: Caller) -> None:
    jobs = live(house, alice)
    documents = [status.describe(house.runtime, alice.tenant_id, job) for job in jobs if job != jobs[2]]
    alice.delete(f"/entities/{ALICE}")
    for found in documents:
        status.show(house.runtime, alice.tenant_id, found)
    assert told(house) == []
    assert alice.get(f"/jobs/{jobs[0]}").json["entity"] is None


def test_an_item_that_ended_before_and_is_told_after_is_not(house: House, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The item is mirrored, then comes the erasure, then its batch would be told."""
    batch = alice.post("/models/train", {"entities": [ALICE, "bob"], "recipe": "health-daily"}).json["id"]
    items = {item["entity"]: item["id"] for item in alice.get(f"/jobs/{batch}/items").json["data"]}
    tell = status._tell_parents

    def late(*about: Any) -> None:
        monkeypatch.setattr(status, "_tell_parents", tell)
        assert alice.delete(f"/entities/{ALICE}").status_code == 204
        tell(*about)

    monkeypatch.setattr(status, "_tell_parents", late)
    house.fail(alice, items[ALICE], lacking(ALICE))
    assert told(house) == []
    house.fail(alice, items["bob"], lacking("bob"))
    assert "bob" in str(house.runtime.memory.xrange(events_key(alice.tenant_id, batch))), "the others are told of"


def test_a_forecast_read_before_and_cached_after_is_refused(house: House, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    live(house, alice)
    house.runtime.memory.flushdb()
    find = questions.forecasts.find

    def late(*about: Any) -> Any:
        found = find(*about)
        assert found is not None
        assert alice.delete(f"/entities/{ALICE}").status_code == 204
        return found

    monkeypatch.setattr(questions.forecasts, "find", late)
    alice.post("/predict", PREDICT)
    assert told(house) == []


def test_a_breaker_at_rest_does_not_keep_it(house: House, alice: Caller) -> None:
    """As after one answer that did not come in time."""
    memory, breaker = house.runtime.memory, Breaker(rest_s=60)
    resting = make_house(replace(house.runtime, board=Board(memory, breaker), cache=ForecastCache(memory, breaker)))
    live(house, alice)
    with make_redis("redis://127.0.0.1:1") as nobody:
        Board(nobody, breaker).read("any", "job")
    assert Caller(resting.app.test_client(), alice.tenant_id, alice.key).delete(f"/entities/{ALICE}").status_code == 204
    assert told(house) == []


def test_a_redis_that_is_away_follows_when_it_is_back(house: House, alice: Caller, engine: Engine) -> None:
    live(house, alice)
    without = make_house(make_runtime(engine, "redis://127.0.0.1:1/0"))
    assert Caller(without.app.test_client(), alice.tenant_id, alice.key).delete(f"/entities/{ALICE}").status_code == 204
    assert reconcile_once(without.runtime)["erased"] == 0, "still away"
    assert told(house)
    assert reconcile_once(house.runtime)["erased"] == 1
    assert told(house) == []
    assert reconcile_once(house.runtime)["erased"] == 0, "it is done"
