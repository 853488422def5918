"""The events of a job over HTTP: snapshot first, then all that happens, in order, until the end; whatever becomes of Redis meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from db import ledger, tenants
from db.events import EVENTS_KEPT, News, Place, Told, events_key
from tasks import lease, status, submit
from tasks.lease import Lease
from tasks.orders import TrainOrder
from tasks.placing import Asker
from tasks.problems import problem
from tests.support.contract import contract_of
from tests.support.listening import Heard, Listener
from tests.support.own_redis import OwnServer, own_server
from tests.support.road import SMALL, ingest, settings_for, wave, work_off, workshop
from tests.support.web import Caller, House, days, make_house, make_runtime
from webapp import auth
from webapp import hub as hub_room
from webapp.hub import EXTENSION, Hub
from webapp.problems import Refusal
from webapp.seats import Seats

TRAIN = {"entity": "u", "recipe": "health-daily"}


def look(caller: Caller, job: str, last: str | None = None) -> TestResponse:
    return caller.get(f"/jobs/{job}/events", headers={} if last is None else {"Last-Event-ID": last})


@contextmanager
def listening(caller: Caller, job: str, last: str | None = None) -> Iterator[Listener]:
    """A client of its own, as each stream is a connection of its own. Whatever it hears has to be as the document tells."""
    answer = look(Caller(caller.client.application.test_client(), caller.tenant_id, caller.key), job, last)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    with Listener(answer.iter_encoded(), answer.close) as listener:
        yield listener
    contract = contract_of(caller.client.application)
    for heard in listener.heard:
        contract.check_event(contract.operations["watch_job"], heard.event, heard.data)


def whole(caller: Caller, job: str, last: str | None = None) -> list[Heard]:
    """All that an ended job's stream says."""
    with listening(caller, job, last) as listener:
        return listener.ends().heard


def hub_of(house: House) -> Hub:
    found: Hub = house.app.extensions[EXTENSION]
    return found


@pytest.fixture
def house(engine: Engine, redis_url: str) -> House:
    """One whose streams notice soon that their listener has gone."""
    return make_house(make_runtime(engine, redis_url, stream_heartbeat_s=0.1))


@pytest.fixture
def job(ready: Caller) -> str:
    found: str = ready.post("/models/train", TRAIN).json["id"]
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits two seconds for what was never told, and the counts of a batch are read at each item."""
    monkeypatch.setattr(hub_room, "SWEEP_S", 0.2)
    monkeypatch.setattr(status, "BATCH_TTL_S", 0.001)


# What is told


def test_a_training_is_heard_as_it_happens(
    engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SHOW_EVERY_S", 0.0)
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models")) as shop:
        caller = make_house(shop.runtime).caller("acme")
        asker = Asker(caller.tenant_id)
        ingest(shop, asker, "dev", wave(300))
        job = submit.train(shop.runtime, asker, TrainOrder("device-metric", ("dev",), "cpu", overrides=SMALL)).job.id
        with listening(caller, job) as listener:
            listener.hears("snapshot")
            assert listener.heard[0].data == caller.get(f"/jobs/{job}").json
            work_off(shop)
            heard = listener.ends().heard
        places = [each.place for each in heard]
        assert places == sorted(set(places))
        names = listener.names
        assert names[0] == "snapshot"
        assert names[-1] == "end"
        assert [each.data["epoch"] for each in heard if each.event == "metric"] == [1, 2, 3]
        assert [each.data["state"] for each in heard if each.event == "state"] == ["running"]
        assert "fit" in [each.data["progress"]["phase"] for each in heard if each.event == "progress"]
        final = caller.get(f"/jobs/{job}").json
        assert heard[-1].data == final
        assert [each.data for each in heard if each.event == "warning"] == final["warnings"]
        assert max(listener.at) - min(listener.at) > 0.05, "it was heard while it went on, not at its end"
        _replays(caller, job, heard)


def _replays(caller: Caller, job: str, heard: Sequence[Heard]) -> None:
    """Whoever comes back with the id of any event hears exactly those after it."""
    for number, each in enumerate(heard[:-1]):
        again = whole(caller, job, each.id)
        assert again == list(heard[number + 1 :])
    assert look(caller, job, heard[-1].id).status_code == 204


def test_a_state_is_heard_at_once(house: House, ready: Caller, job: str) -> None:
    with listening(ready, job) as listener:
        listener.hears("snapshot")
        time.sleep(2 * hub_room.GATHER_S + 0.2)
        begun = time.monotonic()
        house.claim(job)
        listener.hears("snapshot", "state")
        assert listener.at[-1] - begun < 0.3
        assert (listener.heard[-1].data["state"], listener.heard[-1].data["attempt"]) == ("running", 1)
        ready.post(f"/jobs/{job}/cancel")
        listener.hears("state", "state")
        assert listener.heard[-1].data["state"] == "cancelling"


def test_the_headers(ready: Caller, job: str) -> None:
    with look(ready, job) as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Length" not in answer.headers
    assert ready.get(f"/jobs/{job}").json["links"]["events"] == f"/api/v1/jobs/{job}/events"


def test_a_job_that_has_ended(house: House, ready: Caller, job: str) -> None:
    error = problem("insufficient_data", "So it was.")
    house.fail(ready, job, error)
    snapshot, end = whole(ready, job)
    assert (snapshot.event, end.event) == ("snapshot", "end")
    assert snapshot.data == end.data == ready.get(f"/jobs/{job}").json
    assert end.data["error"] == error
    assert [each.event for each in whole(ready, job, snapshot.id)][-1] == "end", "cut off between the two, it hears the end"
    for seen in (end.id, str(Place.of(end.place.rev + 5, 0))):
        answer = look(ready, job, seen)
        assert (answer.status_code, answer.data, answer.headers["Cache-Control"]) == (204, b"", "no-store")


@pytest.mark.parametrize("last", [None, "1-1023", "0-0", "x"])
@pytest.mark.parametrize("name", ["job_none", "x", "%C3%BC"])
def test_an_unknown_job(me: Caller, name: str, last: str | None) -> None:
    answer = look(me, name, last)
    assert (answer.status_code, answer.content_type, answer.json["code"]) == (404, "application/problem+json", "job_not_found")


def test_another_tenants_job_does_not_exist(house: House, ready: Caller, other: Caller, job: str) -> None:
    answer = look(other, job)
    assert (answer.status_code, answer.json["code"]) == (404, "job_not_found")
    assert hub_of(house).seats.taken == 0


def test_items_of_a_batch(house: House, ready: Caller) -> None:
    ready.post("/entities/v/observations", {"observations": days(60)})
    batch = ready.post("/models/train", {"entities": ["u", "v"], "recipe": "health-daily"}).json["id"]
    first, second = ready.get(f"/jobs/{batch}/items").json["data"]
    with listening(ready, batch) as listener:
        listener.hears("snapshot")
        house.publish(ready, first["id"])
        listener.hears("item")
        assert listener.heard[-1].data["items"] == {"total": 2, "queued": 1, "succeeded": 1}
        house.fail(ready, second["id"], problem("flatline_detected", "Flat."))
        listener.ends()
    items = [each.data for each in listener.heard if each.event == "item"]
    assert [(item["job"], item["entity"], item["state"]) for item in items] == [
        (first["id"], "u", "succeeded"),
        (second["id"], "v", "failed"),
    ]
    assert items[1]["error"]["code"] == "flatline_detected"
    assert listener.heard[-1].data["result"]["has_failures"] is True
    _replays(ready, batch, listener.heard)


# Coming back


def run(house: House, job: str, epochs: int) -> Lease:
    """A worker's lease on the job that has told of so many epochs."""
    claim = house.claim(job)
    held = Lease(house.runtime, [claim])
    for epoch in range(1, epochs + 1):
        tell(held, job, epoch)
    return held


def figures(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": 100, "train_loss": 0.5, "val_loss": 0.6, "best_epoch": epoch}


def tell(held: Lease, job: str, epoch: int) -> None:
    held.progress(job, "fit", **figures(epoch))
    held.tell(job)


def test_coming_back_to_a_job_that_goes_on(house: House, ready: Caller, job: str) -> None:
    with listening(ready, job) as listener:
        held = run(house, job, 3)
        listener.until(lambda them: them.names.count("metric") == 3)
        mark = next(each for each in listener.heard if each.event == "metric")
    tell(held, job, 4)
    with listening(ready, job, mark.id) as again:
        again.until(lambda them: them.names.count("metric") == 3)
        tell(held, job, 5)
        again.until(lambda them: them.names.count("metric") == 4)
    assert "snapshot" not in again.names
    assert [each.data["epoch"] for each in again.heard if each.event == "metric"] == [2, 3, 4, 5]


def restarted(heard: Sequence[Heard]) -> None:
    """It begins with a reset and how the job stands."""
    assert [each.event for each in heard[:2]] == ["reset", "snapshot"]
    assert "detail" in heard[0].data
    assert heard[1].place > heard[0].place


@pytest.mark.parametrize("last", ["x", "-", "0-0", "1-0", "1-1022", "99-5", "9" * 400, "1-1023\t2", "１-1"])
def test_an_id_that_is_not_known(ready: Caller, job: str, last: str) -> None:
    with listening(ready, job, last) as listener:
        listener.hears("reset", "snapshot")
    restarted(listener.heard)


def test_an_id_that_was_trimmed(house: House, ready: Caller, job: str) -> None:
    held = run(house, job, 1)
    with listening(ready, job) as listener:
        listener.hears("snapshot")
    board = house.runtime.board
    for n in range(0, EVENTS_KEPT + 400, 200):
        told = [Told("metric", {"attempt": 1} | figures(n + i), late=True) for i in range(200)]
        found = status.read(house.runtime, ready.tenant_id, job)
        assert board.show(ready.tenant_id, job, found["rev"], found["seq"], found, 15, News(told, 60)) is not None
    with listening(ready, job, listener.heard[-1].id) as again:
        again.until(lambda them: len(them.heard) >= 2)
        restarted(again.heard)
        tell(held, job, 9999)
        again.until(lambda them: them.heard[-1].data.get("epoch") == 9999)


def test_a_redis_that_was_emptied_while_the_client_was_away(house: House, ready: Caller, job: str) -> None:
    held = run(house, job, 2)
    with listening(ready, job) as listener:
        listener.hears("snapshot")
    house.runtime.memory.flushdb()
    tell(held, job, 3)
    with listening(ready, job, listener.heard[-1].id) as again:
        again.until(lambda them: len(them.heard) >= 2)
        restarted(again.heard)
    house.runtime.memory.flushdb()
    with listening(ready, job, again.heard[-1].id) as once_more:
        once_more.until(lambda them: len(them.heard) >= 2)
        restarted(once_more.heard)


# Redis wiped and away


def test_redis_emptied_in_mid_stream(house: House, ready: Caller, job: str) -> None:
    with listening(ready, job) as listener:
        held = run(house, job, 2)
        listener.until(lambda them: them.names.count("metric") == 2)
        house.runtime.memory.flushdb()
        tell(held, job, 3)
        listener.hears("reset", "snapshot")
        assert listener.heard[-1].data["progress"]["epoch"] == 3
        tell(held, job, 4)
        listener.hears("snapshot", "metric")
        house.runtime.memory.flushdb()
        house.publish(ready, job, claim=held._held[job].claim)
        listener.ends()
    assert listener.names[-1] == "end"
    assert listener.heard[-1].data["state"] == "succeeded"


def test_events_alone_emptied(house: House, ready: Caller, job: str) -> None:
    """As a Redis that evicts may do: the mirror stands, the events are gone."""
    with listening(ready, job) as listener:
        listener.hears("snapshot")
        house.runtime.memory.delete(events_key(ready.tenant_id, job))
        house.claim(job)
        listener.until(lambda them: len(them.heard) > 1)
        assert listener.heard[-1].data["state"] == "running"


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with own_server() as running:
        yield running


@pytest.fixture
def shaky(engine: Engine, server: OwnServer) -> House:
    """A house whose Redis can be killed."""
    return make_house(make_runtime(engine, server.url, stream_heartbeat_s=0.2))


def test_redis_away_in_mid_stream(shaky: House, server: OwnServer) -> None:
    me = shaky.caller("mine")
    me.post("/entities/u/observations", {"observations": days(60)})
    job = me.post("/models/train", TRAIN).json["id"]
    with listening(me, job) as listener:
        listener.hears("snapshot")
        server.kill()
        beats = listener.heartbeats
        claim = shaky.claim(job)
        listener.hears("snapshot", "state", seconds=5)
        assert listener.heard[-1].data["state"] == "running"
        with shaky.runtime.sessions.begin() as session:
            ledger.beat(session, {job: claim.fence}, 30.0, {job: {"seq": 7, "phase": "fit", "epoch": 7}})
        listener.hears("state", "progress", seconds=5)
        assert listener.heard[-1].data["progress"] == {"phase": "fit", "epoch": 7}
        listener.until(lambda them: them.heartbeats > beats + 2)
        server.start()
        time.sleep(0.1)
        held = Lease(shaky.runtime, [claim])
        held._seq = 7
        tell(held, job, 8)
        listener.until(lambda them: "reset" in them.names, 5)
        assert [each.event for each in listener.heard if each.event in ("reset", "snapshot")] == ["snapshot", "reset", "snapshot"]
        server.kill()
        shaky.publish(me, job, claim=claim)
        listener.ends(seconds=5)
    assert (listener.names[-1], listener.heard[-1].data["state"]) == ("end", "succeeded")


def test_a_stream_begun_without_redis(engine: Engine) -> None:
    house = make_house(make_runtime(engine, "redis://127.0.0.1:1/0"))
    me = house.caller("mine")
    me.post("/entities/u/observations", {"observations": days(60)})
    job = me.post("/models/train", TRAIN).json["id"]
    with listening(me, job) as listener:
        listener.hears("snapshot")
        house.publish(me, job)
        listener.ends(seconds=5)
    assert listener.names[-1] == "end"
    assert look(me, job, listener.heard[-1].id).status_code == 204
    with listening(me, job, listener.heard[0].id) as again:
        again.ends()
    assert again.names == ["reset", "snapshot", "end"]


def test_a_job_that_is_purged_in_mid_stream(house: House, ready: Caller, job: str) -> None:
    with listening(ready, job) as listener:
        listener.hears("snapshot")
        with house.runtime.sessions.begin() as session:
            session.connection().exec_driver_sql("DELETE FROM jobs WHERE id = %s", (job,))
        house.runtime.board.forget(ready.tenant_id, [job])
        listener.ends(seconds=5)
    assert look(ready, job, listener.heard[-1].id).status_code == 404


# How long, and how many


def test_a_key_that_is_revoked_ends_its_streams(house: House, ready: Caller, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "TRUSTED_S", 0.2)
    house.app.extensions[auth.DOOR]._seen.clear()  # as if no key had come by yet
    other = house.caller("mine")
    with listening(ready, job) as listener, listening(other, job) as kept:
        listener.hears("snapshot")
        kept.hears("snapshot")
        with house.runtime.sessions.begin() as session:
            tenants.revoke_key(session, ready.tenant_id, ready.key.split("_")[1])
        listener.ends(seconds=5)
        other.post(f"/jobs/{job}/cancel")
        kept.hears("end")
    assert look(ready, job, listener.heard[-1].id).status_code == 401


def test_heartbeats_and_a_lifetime(engine: Engine, redis_url: str) -> None:
    house = make_house(make_runtime(engine, redis_url, stream_heartbeat_s=0.1, stream_lifetime_s=0.55))
    me = house.caller("mine")
    me.post("/entities/u/observations", {"observations": days(60)})
    job = me.post("/models/train", TRAIN).json["id"]
    begun = time.monotonic()
    with listening(me, job) as listener:
        listener.ends()
    assert 0.5 < time.monotonic() - begun < 2
    assert listener.names == ["snapshot"]
    assert listener.heartbeats in (4, 5)
    house.claim(job)
    with listening(me, job, listener.heard[-1].id) as again:
        again.hears("state")
    assert again.names == ["state"]


def test_a_process_that_is_told_to_stop_lets_everybody_go(house: House, ready: Caller, job: str) -> None:
    told = threading.Event()
    hub_of(house).leave_when(told.is_set)
    polls: list[TestResponse] = []
    poller = Caller(house.app.test_client(), ready.tenant_id, ready.key)
    polling = threading.Thread(target=lambda: polls.append(poller.get(f"/jobs/{job}?wait=20")))
    with listening(ready, job) as listener:
        listener.hears("snapshot")
        polling.start()
        time.sleep(0.2)
        told.set()
        listener.ends(seconds=2)
    polling.join(2)
    assert [(each.status_code, each.json["state"]) for each in polls] == [(200, "queued")]
    assert listener.names == ["snapshot"]


def test_places_are_taken_and_left(engine: Engine, redis_url: str) -> None:
    house = make_house(make_runtime(engine, redis_url, max_streams=3, tenant_max_streams=2))
    jobs: dict[str, Any] = {}
    callers = {name: house.caller(name) for name in ("mine", "another")}
    for name, caller in callers.items():
        caller.post("/entities/u/observations", {"observations": days(60)})
        jobs[name] = caller.post("/models/train", TRAIN).json["id"]
    mine, another = callers["mine"], callers["another"]
    open_ = [look(mine, jobs["mine"]), look(mine, jobs["mine"])]
    refused = look(mine, jobs["mine"])
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "too_many_streams", "10")
    open_.append(look(another, jobs["another"]))
    refused = look(another, jobs["another"])
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (503, "streams_saturated", "10")
    assert mine.get(f"/jobs/{jobs['mine']}").status_code == 200
    for answer in open_:
        answer.close()
    assert hub_of(house).seats.taken == 0
    look(another, jobs["another"]).close()
    mine.call("HEAD", f"/jobs/{jobs['mine']}/events").close()
    assert (hub_of(house).seats.taken, hub_of(house).watched) == (0, 0)


def test_seats() -> None:
    seats = Seats(2, 1)
    seats.take("a")
    with pytest.raises(Refusal, match="The tenant holds 1"):
        seats.take("a")
    seats.take("b")
    with pytest.raises(Refusal, match="2 event streams"):
        seats.take("c")
    seats.leave("a")
    seats.take("c")
    assert seats.taken == 2


def test_who_watches_holds_no_connection(house: House, ready: Caller, job: str) -> None:
    """And a submission meanwhile finds one."""
    polls: list[int] = []

    def poll() -> None:
        caller = Caller(house.app.test_client(), ready.tenant_id, ready.key)
        polls.append(caller.get(f"/jobs/{job}?wait=2").status_code)

    pollers = [threading.Thread(target=poll) for _ in range(20)]
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(ready, job)) for _ in range(20)]
        for thread in pollers:
            thread.start()
        for listener in listeners:
            listener.hears("snapshot")
        looks = [house.runtime.engine.pool.checkedout() for _ in range(50) if not time.sleep(0.01)]  # type: ignore[attr-defined]
        assert max(looks) <= 1, "the looker's, while it looks"
        assert looks.count(0) > 25
        assert ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}}).status_code == 202
    for thread in pollers:
        thread.join()
    assert polls == [200] * 20
