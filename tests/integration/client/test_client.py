"""What the client asks is what the service takes, and what it answers is what the client gives."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pandas as pd
import pytest

from db.models import Tenant
from fleetcast_client import Client, Conflict, InsufficientData, InvalidRequest, NotAllowed, NotAuthenticated, NotFound, QuotaExceeded
from fleetcast_client.answers.models import Metrics
from tests.integration.client.conftest import rows
from tests.support.web import Caller, House


def test_entities_are_made_described_listed_and_erased(client: Client) -> None:
    made = client.entities.put(
        "u/1", kind="user", attributes={"country": "AT"}, channels=[{"name": "rhr", "unit": "bpm", "direction": "lower"}]
    )
    assert (made.entity, made.kind, made.channels[0].unit) == ("u/1", "user", "bpm")
    assert client.entities.put("u/1").attributes == {"country": "AT"}, "what is left out stays"
    client.entities.put("v")
    assert [each.entity for each in client.entities.list(limit=1)] == ["u/1", "v"]
    assert [each.entity for each in client.entities.list(kind="user")] == ["u/1"]
    receipt = client.erasures.get(client.entities.erase("u/1"))
    assert receipt.erased["entities"] == 1
    assert [each.id for each in client.erasures.list()] == [receipt.id]
    with pytest.raises(NotFound, match="entity_not_found"):
        client.entities.get("u/1")


def test_observations_go_in_as_rows_csv_and_frames_and_come_back(client: Client, tmp_path: Path) -> None:
    assert client.observations.write("rows", rows(3)).accepted == 3
    (tmp_path / "day.csv").write_text("at,rhr,hrv\n2026-01-01,57,41\n2026-01-02,,42\n")
    assert client.observations.write_csv("csv", tmp_path / "day.csv").accepted == 3
    assert client.observations.write_csv("csv", io.BytesIO(b"at,channel,value\n2026-01-01,rhr,58\n")).replaced == 1
    frame = client.observations.read_frame("csv")
    assert client.observations.write("frame", frame).accepted == 3
    pd.testing.assert_frame_equal(client.observations.read_frame("frame"), frame)
    assert [row.value for row in client.observations.read("csv", channel="hrv", limit=1)] == [41, 42]
    assert [row.at.day for row in client.observations.read("csv", channel="hrv", from_=frame.index[1])] == [2]
    assert client.observations.read_frame("csv", channel="rhr").to_dict("list") == {"rhr": [58.0]}


def test_more_rows_than_fit_memory_are_one_delivery(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetcast_client.observations.IN_MEMORY", 1_000)
    many = ({"at": f"2026-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z", "load": n * 0.37} for n in range(5_000))
    told = client.observations.write("busy", many)
    assert (told.accepted, told.data_rev) == (5_000, 1)


def test_a_row_that_cannot_be_taken_is_told_with_its_place(client: Client) -> None:
    told = client.observations.write("u", [{"at": "2026-01-01", "rhr": 57}, {"at": "someday", "rhr": 58}])
    assert (told.accepted, told.rejected) == (1, 1)
    assert told.errors[0].pointer.startswith("/line/2")


def test_what_is_missing_is_measured(client: Client) -> None:
    client.observations.write("u", rows(12))
    ready = client.entities.readiness("u", "health-daily")
    assert (ready.ready, ready.target) == (False, "rhr")
    with pytest.raises(InsufficientData) as told:
        client.train("u", recipe="health-daily")
    assert told.value.requirements == ready.requirements
    assert any(not each.met for each in told.value.requirements)
    assert told.value.request_id is not None


def test_a_field_that_is_wrong_is_pointed_at(ready: Client) -> None:
    with pytest.raises(InvalidRequest) as told:
        ready.train("u", recipe="health-daily", spec={"epochs": 0})
    assert [each.pointer for each in told.value.errors] == ["/spec/epochs"]


def test_versions_are_activated_rolled_back_and_downloaded(house: House, me: Caller, ready: Client) -> None:
    house.publish(me, ready.train("u", recipe="health-daily").id)
    house.publish(me, ready.train("u", recipe="health-daily", spec={"epochs": 80}, metadata={"why": "longer"}).id)
    house.shelve()
    [model] = ready.models.list(entity="u")
    assert model.active_version is not None
    assert isinstance(model.active_version.metrics, Metrics)
    assert [each.version for each in ready.models.versions(model.id, limit=1)] == ["1.1.0", "1.0.0"]
    assert ready.models.activate(model.id, "1.0.0", reason="as before", if_match="1.1.0").active
    with pytest.raises(Conflict, match="precondition_failed"):
        ready.models.activate(model.id, "1.1.0", if_match="1.1.0")
    assert ready.models.rollback(model.id).version == "1.1.0"
    assert [(each.from_, each.to) for each in ready.models.activations(model.id)][:2] == [("1.0.0", "1.1.0"), ("1.1.0", "1.0.0")]
    kept = ready.models.download(model.id, "1.1.0")
    assert kept is not None
    assert kept.startswith(b"PK")
    assert ready.models.download(model.id, "1.1.0", unless=ready.models.version(model.id, "1.1.0").artefact.sha256) is None
    ready.models.prune(model.id, "1.0.0")
    assert ready.models.version(model.id, "1.0.0").pruned_at is not None


def test_schedules_and_webhooks(ready: Client) -> None:
    night = ready.schedules.create(
        "nightly", {"train": {"selector": {"has_channel": "rhr"}, "recipe": "health-daily"}}, cron="0 1 * * *", when={"age_hours": 24}
    )
    assert len(night.next_runs) == 5
    assert night.when is not None
    assert ready.schedules.pause(night.id).paused
    assert not ready.schedules.resume(night.id).paused
    assert list(ready.schedules.runs(night.id)) == []
    ready.schedules.delete(night.id)
    assert list(ready.schedules.list()) == []
    hook = ready.webhooks.create("https://backend.example/", ["job.succeeded"])
    assert ready.webhooks.rotate(hook.id).secret != hook.secret
    sent = ready.webhooks.test(hook.id)
    assert [each.message.type for each in ready.webhooks.deliveries(hook.id)] == [sent.message.type] == ["webhook.test"]
    with pytest.raises(Conflict, match="delivery_pending"):
        ready.webhooks.replay(hook.id, sent.id)
    ready.webhooks.delete(hook.id)
    assert list(ready.webhooks.list()) == []


def test_the_service_tells_of_itself(client: Client) -> None:
    service = client.service
    assert service.alive()
    assert service.ready().ready
    assert {each.queue for each in service.queues()} == {"interactive", "batch", "train"}
    assert "fleetcast_" in service.metrics()
    assert "health-daily" in {each.name for each in service.recipes().data}
    assert service.problem("internal") in service.problems()


def test_who_may_not_is_told_so(house: House, me: Caller) -> None:
    reader = house.caller("mine", scopes=("read",))
    transport = httpx.WSGITransport(house.app)
    with Client("http://fleetcast.test", reader.key, transport=transport) as client, pytest.raises(NotAllowed, match="write"):
        client.entities.put("u")
    with Client("http://fleetcast.test", "fk_nobody_knows", transport=transport) as client, pytest.raises(NotAuthenticated):
        client.entities.get("u")


def test_a_quota_is_told_as_one(house: House, me: Caller, ready: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with house.runtime.sessions.begin() as session:
        session.query(Tenant).update({"max_unfinished": 1})
    ready.train("u", recipe="health-daily")
    with pytest.raises(QuotaExceeded) as told:
        ready.train("u", recipe="health-daily", spec={"epochs": 9})
    assert told.value.retry_after == 10
