"""Who did what, over HTTP and at the command line: told to operators alone, page by page."""

from __future__ import annotations

from tests.support.asking import settle
from tests.support.web import House


def test_what_is_done_over_http_names_key_and_request(house: House) -> None:
    place = settle(house, "mine")
    me, names = place.caller, place.names
    for path in (f"/models/{names['model_id']}/versions/1.0.0", f"/schedules/{names['schedule_id']}", f"/webhooks/{names['webhook_id']}"):
        me.delete(path, headers={"X-Request-Id": "tidying"})  # the version is active, and stays
    found = me.get("/audit").json["data"]
    assert [entry["action"] for entry in found] == [
        *("webhook.deleted", "schedule.deleted"),
        *("entity.erased", "schedule.created", "webhook.created", "key.created"),
    ]
    assert {entry["actor"] for entry in found[:-1]} == {f"key:{me.key.split('_')[1]}"}
    assert [entry["request_id"] for entry in found[:2]] == ["tidying"] * 2
    assert found[2]["subject"] == names["erasure_id"]
    assert (found[-1]["actor"], found[-1]["request_id"]) == ("operator", None)


def test_pages_and_filters(house: House) -> None:
    me = settle(house, "mine").caller
    first = me.get("/audit?limit=1").json
    rest = me.get(f"/audit?limit=200&cursor={first['next_cursor']}").json
    assert first["data"] + rest["data"] == me.get("/audit").json["data"]
    assert rest["next_cursor"] is None
    assert [entry["action"] for entry in me.get("/audit?action=key.created&actor=operator").json["data"]] == ["key.created"]
    assert me.get(f"/audit?action=key.created&cursor={first['next_cursor']}").json["code"] == "validation_failed"
    refused = me.get("/audit?action=key.stolen")
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/query/action")


def test_a_key_that_may_not_operate_is_not_told(house: House) -> None:
    settle(house, "mine")
    refused = house.caller("mine", ["read", "write"]).get("/audit")
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden_scope")
    assert "`operate`" in refused.json["detail"]
