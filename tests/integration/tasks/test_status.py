"""What workers tell of a job while it goes on: each epoch, each state, each item of a batch, and one end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from db import ledger
from db.board import Board
from db.breaker import Breaker, make_redis
from db.events import Event, Place, events_key
from tasks import documents, lease, status, submit
from tasks.execute import Work
from tasks.lease import Lease
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import reconcile_once
from tasks.workshop import Workshop
from tests.support.own_redis import own_server
from tests.support.road import HANDLERS, SMALL, ingest, tenant, wave, work_off

ORDER = TrainOrder("device-metric", ("dev",), "cpu", overrides=SMALL | {"epochs": 4})


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    asker = tenant(shop)
    for name in ("dev", "other"):
        ingest(shop, asker, name, wave(300))
    return asker


def training(shop: Workshop, acme: Asker) -> str:
    job_id = submit.train(shop.runtime, acme, ORDER).job.id
    status.fresh(shop.runtime, acme.tenant_id, job_id)  # as the web process does when it answers
    return job_id


def told(shop: Workshop, acme: Asker, job_id: str) -> list[Event]:
    found = shop.runtime.board.events(acme.tenant_id, job_id, Place(0, 0))
    assert found is not None
    return found


def data(events: Sequence[Event], name: str) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events if event.event == name]


def test_a_training_tells_every_epoch_before_its_end(shop: Workshop, acme: Asker) -> None:
    job_id = training(shop, acme)
    work_off(shop)
    events = told(shop, acme, job_id)
    assert [e.event for e in events if e.event not in ("progress", "warning")] == ["state", "state", *["metric"] * 4, "end"]
    assert [state["state"] for state in data(events, "state")] == ["queued", "running"]
    metrics = data(events, "metric")
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4]
    assert all(
        m["attempt"] == 1 and m["epochs"] == 4 and m["train_loss"] > 0 and m["val_loss"] > 0 and m["best_epoch"] >= 0 for m in metrics
    )
    places = [event.place for event in events]
    assert places == sorted(set(places))
    final = status.read(shop.runtime, acme.tenant_id, job_id)
    assert data(events, "warning") == final["warnings"]
    assert places[-1] == documents.place(final)


def test_progress_is_told_at_most_twice_a_second(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lease.SHOW_EVERY_S == 0.5
    job_id = training(shop, acme)

    def many(_: Workshop, works: Sequence[Work]) -> None:
        for epoch in range(200):
            works[0].progress("fit", epoch=epoch)
        with works[0].outcome():
            works[0].publish(lambda _: ({}, []))

    work_off(shop, {"train": many})
    events = told(shop, acme, job_id)
    assert len(data(events, "metric")) == 200
    assert len(data(events, "progress")) <= 2


def test_epochs_wait_for_redis(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not taken is told with what follows; nothing twice."""
    monkeypatch.setattr(lease, "SHOW_EVERY_S", 0.0)
    with own_server() as server, make_redis(server.url, 1.0) as client:
        board = Board(client, Breaker(rest_s=0.0))
        shop.runtime = replace(shop.runtime, board=board)
        job_id = training(shop, acme)
        with shop.sessions.begin() as session:
            claim = ledger.claim(session, job_id, "hand/1", 30.0)
        assert claim is not None
        with Lease(shop.runtime, [claim]) as held:
            held.progress(job_id, "fit", epoch=1)
            server.kill()
            held.progress(job_id, "fit", epoch=2)
            held.progress(job_id, "fit", epoch=3)
            server.start()
            held.progress(job_id, "fit", epoch=4)
            held.tell(job_id)
        assert [metric["epoch"] for metric in data(told(shop, acme, job_id), "metric")] == [2, 3, 4]


def test_each_try_begins_its_epochs_anew(shop: Workshop, acme: Asker) -> None:
    job_id = training(shop, acme)
    tries = 0

    def fail_once(_: Workshop, works: Sequence[Work]) -> None:
        nonlocal tries
        tries += 1
        with works[0].outcome():
            works[0].progress("fit", epoch=1)
            if tries == 1:
                raise RuntimeError
            works[0].publish(lambda _: ({}, []))

    while not status.fresh(shop.runtime, acme.tenant_id, job_id)["terminal"]:
        work_off(shop, {"train": fail_once})
    events = told(shop, acme, job_id)
    assert [metric["attempt"] for metric in data(events, "metric")] == [1, 2]
    assert [state["state"] for state in data(events, "state")] == ["queued", "running", "queued", "running"]


def test_a_batch_tells_each_item_once_with_its_counts_and_then_its_end(
    shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "BATCH_TTL_S", 0.001)
    ingest(shop, acme, "short", wave(20))
    batch = submit.train(shop.runtime, acme, replace(ORDER, entities=("dev", "short", "other"), batch=True)).job.id
    status.fresh(shop.runtime, acme.tenant_id, batch)
    work_off(shop)
    events = told(shop, acme, batch)
    assert [e.event for e in events] == ["state", "item", "item", "item", "end"]
    items = data(events, "item")
    assert [(item["entity"], item["target"], item["state"]) for item in items] == [
        ("dev", "cpu", "succeeded"),
        ("short", "cpu", "failed"),
        ("other", "cpu", "succeeded"),
    ]
    assert [item["error"] and item["error"]["code"] for item in items] == [None, "insufficient_data", None]
    assert items[1]["items"] == {"total": 3, "queued": 1, "succeeded": 1, "failed": 1}
    assert [event.place for event in events[1:4]] == [Place.of(1, 1), Place.of(1, 2), events[3].place]
    assert {item["job"] for item in items} == {e.id for e in _items(shop, acme, batch)}
    status.fresh(shop.runtime, acme.tenant_id, items[0]["job"])
    assert told(shop, acme, batch) == events


def _items(shop: Workshop, acme: Asker, batch: str) -> Any:
    with shop.sessions() as session:
        return ledger.items(session, acme.tenant_id, batch, limit=10)


def test_an_item_that_a_sweep_ends_is_told_too(shop: Workshop, acme: Asker) -> None:
    job = submit.train(shop.runtime, acme, replace(ORDER, entities=("dev", "other"), batch=True)).job.id
    status.fresh(shop.runtime, acme.tenant_id, job)
    late, _ = _items(shop, acme, job)
    with shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = %s", (late.id,))
    assert reconcile_once(shop.runtime)["expired"] == 1
    [item] = data(told(shop, acme, job), "item")
    assert (item["job"], item["state"], item["error"]["code"]) == (late.id, "failed", "deadline_exceeded")


def test_a_look_at_a_job_tells_nothing_new_and_what_was_wiped_begins_again(shop: Workshop, acme: Asker) -> None:
    job_id = training(shop, acme)
    for _ in range(3):
        status.fresh(shop.runtime, acme.tenant_id, job_id)
    assert len(told(shop, acme, job_id)) == 1
    work_off(shop)
    shop.runtime.memory.flushdb()
    final = status.read(shop.runtime, acme.tenant_id, job_id)
    events = told(shop, acme, job_id)
    assert [events[-1].event, events[-1].place] == ["end", documents.place(final)]
    assert events[0].after == events[0].place


@pytest.mark.parametrize("terminal", [False, True])
def test_events_are_kept_for_those_who_were_cut_off(shop: Workshop, acme: Asker, terminal: bool) -> None:
    job_id = training(shop, acme)
    if terminal:
        work_off(shop, HANDLERS)
    kept = shop.runtime.memory.ttl(events_key(acme.tenant_id, job_id))
    most = shop.settings.status_ttl_s if terminal else status.UNFINISHED_EVENTS_TTL_S
    assert most - 30 < kept <= most


def test_where_many_stand_is_one_look(shop: Workshop, acme: Asker) -> None:
    """The mirror and Postgres agree; and each fills in for the other."""
    job_id = training(shop, acme)
    batch = submit.train(shop.runtime, acme, replace(ORDER, entities=("dev", "other"), overrides=SMALL, batch=True)).job.id
    first, _ = _items(shop, acme, batch)
    with shop.sessions.begin() as session:
        claim = ledger.claim(session, job_id, "hand/1", 30.0)
        assert claim is not None
        ledger.beat(session, {job_id: claim.fence}, 30.0, {job_id: {"seq": 7, "phase": "fit"}})
        session.connection().exec_driver_sql("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = %s", (first.id,))
    reconcile_once(shop.runtime)
    about = [(acme.tenant_id, each) for each in (job_id, batch, first.id, "job_none")] + [("other", job_id)]
    shop.runtime.memory.flushdb()
    kept = status.places(shop.runtime, about)
    assert kept == {each: documents.place(status.fresh(shop.runtime, *each)) for each in about[:3]}
    assert kept[acme.tenant_id, job_id] == Place.of(2, 7)
    assert kept[acme.tenant_id, batch] == Place.of(1, 1)
    assert status.places(shop.runtime, about) == kept, "now from the mirror"


def test_a_prediction_tells_little(shop: Workshop, acme: Asker) -> None:
    training(shop, acme)
    work_off(shop)
    asked = submit.predict(shop.runtime, acme, PredictOrder(("dev",), ("cpu",))).job.id
    status.fresh(shop.runtime, acme.tenant_id, asked)
    work_off(shop)
    assert [event.event for event in told(shop, acme, asked) if event.event != "warning"] == ["state", "state", "end"]
