"""What every request is given and every answer carries."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from tests.support.web import API, House, days, make_house, make_runtime
from webapp.access import name_request

CAREFUL = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", API + "/jobs", API + "/nowhere", "/nowhere"])
def test_every_answer_is_careful(house: House, path: str) -> None:
    answer = house.app.test_client().get(path)
    assert {name: answer.headers.get(name) for name in CAREFUL} == CAREFUL
    assert answer.headers["X-Request-Id"].startswith("req_")


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2:3_4", True), ("a b", False), ("x" * 65, False), ("é", False), ("", False)])
def test_a_callers_own_request_id(house: House, given: str, kept: bool) -> None:
    answered = house.app.test_client().get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert (answered == given) is kept
    assert answered


@pytest.mark.parametrize(
    ("mode", "logged"),
    [
        ("none", []),
        ("writes", [("POST", 200), ("POST", 202), ("GET", 404)]),
        ("all", [("POST", 200), ("POST", 202), ("GET", 200), ("GET", 404)]),
    ],
)
def test_the_log(engine: Engine, redis_url: str, mode: str, logged: list[tuple[str, int]]) -> None:
    me = make_house(make_runtime(engine, redis_url, log_requests=mode)).caller("mine")
    with capture_logs(processors=[name_request]) as lines:
        me.post("/entities/secret-name/observations", {"observations": days(60)})
        job = me.post("/models/train", {"entity": "secret-name", "recipe": "health-daily"}, headers={"X-Request-Id": "mine-1"}).json["id"]
        me.get(f"/jobs/{job}")
        me.get("/entities/nobody")
    told = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["status"]) for line in told] == logged
    assert_names_no_one(told, me.key)
    for line in told:
        assert line["tenant"] == me.tenant_id
        assert line["ms"] > 0
    submitted: list[MutableMapping[str, Any]] = [line for line in told if line["status"] == 202]
    assert [(line["job"], line["request_id"], line["route"]) for line in submitted] in ([], [(job, "mine-1", API + "/models/train")])


def assert_names_no_one(told: list[MutableMapping[str, Any]], key: str) -> None:
    """Neither an entity nor a secret."""
    for line in told:
        assert "secret-name" not in str(line)
        assert key.rpartition("_")[2] not in str(line)


def test_other_lines_say_which_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    me = house.caller("mine")

    def fails(*_: Any, **__: Any) -> Mapping[str, Any]:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("webapp.entities.entities.page", fails)
    with capture_logs(processors=[name_request]) as lines:
        answer = me.get("/entities", headers={"X-Request-Id": "mine-2"})
    assert answer.status_code == 500
    [line] = [line for line in lines if line["event"] == "request_failed"]
    assert (line["request_id"], line["tenant"]) == ("mine-2", me.tenant_id)
