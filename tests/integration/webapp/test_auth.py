"""The door: who gets in, and with which scope."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from db import tenants
from tests.support.web import API, Caller, House
from webapp import auth, hub
from webapp.auth import Door


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer nonsense",
        "Bearer fk_000000000000_" + "0" * 64,
        "Bearer fk_\u00e9",
        "Bearer " + "x" * 4000,
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/nowhere", "/entities/a%00b"])
def test_no_key_no_entry(house: House, header: str | None, path: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = house.app.test_client().get(API + path, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_scheme_may_be_written_anyhow(house: House, me: Caller) -> None:
    answer = house.app.test_client().get(API + "/jobs", headers={"Authorization": f"bearer {me.key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("scopes", "get", "put"), [(("read",), 200, 403), (("write",), 403, 200), (("operate",), 403, 403)])
def test_scopes(house: House, scopes: tuple[str, ...], get: int, put: int) -> None:
    caller = house.caller("mine", scopes)
    answers = caller.put("/entities/a"), caller.get("/entities")
    assert [a.status_code for a in answers] == [put, get]
    assert all(a.json["code"] == "forbidden_scope" for a in answers if a.status_code == 403)


def test_what_needs_the_operators_key(house: House, trained: Caller) -> None:
    writer = house.caller("mine", ("read", "write"))
    model = writer.get("/models").json["data"][0]["id"]
    calls = [
        ("POST", f"/models/{model}/activate", {"version": "1.0.0"}),
        ("POST", f"/models/{model}/rollback", {}),
        ("DELETE", f"/models/{model}/versions/1.0.0", None),
        ("DELETE", "/entities/u", None),
    ]
    refused = [writer.call(*call) for call in calls]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert all("`operate`" in answer.json["detail"] for answer in refused)
    operator = house.caller("mine", ("operate",))
    assert operator.post(f"/models/{model}/activate", {"version": "1.0.0"}).status_code == 200
    assert operator.delete("/entities/u").status_code == 204


def test_every_view_for_operators_is_there(house: House) -> None:
    assert house.app.view_functions.keys() >= auth.OPERATE


def test_an_expired_key_is_refused(house: House, me: Caller) -> None:
    with house.runtime.sessions.begin() as session:
        _, key = tenants.issue_key(session, me.tenant_id, "old", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    me.key = key
    assert me.get("/jobs").status_code == 401


def test_a_revoked_key_is_refused_once_it_is_forgotten(house: House, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "TRUSTED_S", 0.2)
    assert me.get("/jobs").status_code == 200
    with house.runtime.sessions.begin() as session:
        tenants.revoke_key(session, me.tenant_id, me.key.split("_")[1])
    assert me.get("/jobs").status_code == 200  # remembered for a moment
    time.sleep(0.25)
    assert me.get("/jobs").status_code == 401


def test_nobody_is_trusted_for_longer_than_promised() -> None:
    """Ten seconds, of which a stream takes up to two to look."""
    assert auth.TRUSTED_S + auth.LOOK_UP_S + hub.SWEEP_S <= 10


def test_a_key_is_not_trusted_beyond_its_own_end(house: House, me: Caller) -> None:
    with house.runtime.sessions.begin() as session:
        _, me.key = tenants.issue_key(session, me.tenant_id, "short", expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
    assert me.get("/jobs").status_code == 200
    time.sleep(0.6)
    assert me.get("/jobs").status_code == 401


def test_the_door_remembers_no_more_than_it_may(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED", 2)
    door = Door(house.runtime.sessions)
    for number in range(5):
        assert door.admit(house.caller(f"tenant {number}").key) is not None
        assert len(door._seen) <= 2
    assert door.admit("fk_" + "0" * 12 + "_" + "0" * 64) is None
