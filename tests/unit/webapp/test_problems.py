"""Whatever is raised in a view leaves as one problem object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort
from psycopg import OperationalError as DriverError
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from structlog.testing import capture_logs
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, TooManyRequests

from db.errors import Conflict, FenceLost, KeyReused, OverQuota, Saturated, Stale
from db.errors import NotFound as NoRow
from db.tenants import Identity
from ml.errors import InsufficientData, ScenarioOutOfBounds, SpecInvalid
from ml.requirement import Requirement
from tasks import submit
from tests.support.web import make_house, make_runtime
from webapp.auth import Door
from webapp.problems import Refusal, fault, faults_of, invalid, pointer

MEMBERS = {"type", "title", "status", "code", "detail", "instance", "retryable", "hint"}


@pytest.fixture(scope="module")
def app() -> Flask:
    """An app without servers: an engine connects when it is first used."""
    return make_house(make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")).app


@pytest.fixture
def raised(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Any]:
    """What a client gets of an error raised in a view."""

    def ask(error: Exception) -> Any:
        def view() -> None:
            raise error

        monkeypatch.setitem(app.view_functions, "health.healthz", view)
        return app.test_client().get("/healthz")

    return ask


CASES: list[tuple[Exception, int, str]] = [
    (Refusal("malformed_request", "What?"), 400, "malformed_request"),
    (invalid(fault("/a", "required", "Missing.")), 422, "validation_failed"),
    (NoRow("job", "job_1"), 404, "job_not_found"),
    (NoRow("entity", "u"), 404, "entity_not_found"),
    (NoRow("forecast", "u rhr"), 404, "forecast_not_found"),
    (Conflict("model_is_active", "It serves."), 409, "model_is_active"),
    (Conflict("version_pruned", "Gone."), 410, "version_pruned"),
    (Stale("It is 1.0.1."), 412, "precondition_failed"),
    (OverQuota(10, 10), 429, "quota_exceeded"),
    (Saturated("train", 5, 5), 503, "queue_saturated"),
    (KeyReused("k"), 422, "idempotency_key_reused"),
    (FenceLost("job_1", 1), 500, "internal"),
    (InsufficientData([Requirement("rhr.days", 12, 30, "day", False)]), 422, "insufficient_data"),
    (ScenarioOutOfBounds("Too far."), 422, "scenario_out_of_bounds"),
    (BadRequest(), 400, "malformed_request"),
    (NotFound(), 404, "not_found"),
    (RequestEntityTooLarge(), 413, "body_too_large"),
    (TooManyRequests(), 429, "malformed_request"),
    (OperationalError("SELECT", {}, Exception("gone")), 503, "unavailable"),
    (DriverError("gone"), 503, "unavailable"),
    (PoolExhausted("no connection left"), 503, "unavailable"),
    (IntegrityError("INSERT", {}, Exception("duplicate")), 500, "internal"),
    (ValueError("secret /etc/passwd"), 500, "internal"),
    (RecursionError(), 500, "internal"),
]


@pytest.mark.parametrize(("error", "status", "code"), CASES, ids=lambda case: repr(case)[:40])
def test_every_error_is_a_problem(raised: Callable[[Exception], Any], error: Exception, status: int, code: str) -> None:
    answer = raised(error)
    body = answer.json
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert answer.content_type == "application/problem+json"
    assert body.keys() >= MEMBERS
    assert body["instance"] == answer.headers["X-Request-Id"]
    assert ("Retry-After" in answer.headers) == (code in ("quota_exceeded", "queue_saturated", "unavailable"))


def test_the_unknown_is_logged_and_not_shown(raised: Callable[[Exception], Any]) -> None:
    with capture_logs() as logs:
        answer = raised(ValueError("secret"))
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    [line] = [line for line in logs if line["event"] == "request_failed"]
    assert line["request_id"] == answer.json["instance"]
    assert isinstance(line["exc_info"], ValueError)


def test_a_key_in_the_wrong_place_is_not_handed_on(raised: Callable[[Exception], Any]) -> None:
    """The answer quotes what was sent, and ends in the client's log."""
    key = f"fk_0123456789ab_{'ab' * 32}"
    answer = raised(invalid(fault("/recipe", "not_allowed", f"{key} is no recipe.")))
    assert answer.json["errors"][0]["detail"] == "fk_0123456789ab_*** is no recipe."
    assert "ab" * 32 not in answer.text


def test_a_database_that_is_away_is_not_logged_with_its_url(raised: Callable[[Exception], Any]) -> None:
    with capture_logs() as logs:
        raised(OperationalError("SELECT", {}, Exception("postgresql://user:password@host")))
    assert "password" not in str(logs)


def test_requirements_travel(raised: Callable[[Exception], Any]) -> None:
    body = raised(InsufficientData([Requirement("rhr.days", 12, 30, "day", False, "2026-12-08")])).json
    assert body["requirements"] == [{"name": "rhr.days", "have": 12, "need": 30, "unit": "day", "met": False, "eta": "2026-12-08"}]


def test_an_answer_made_by_abort_stays_as_it_is(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.view_functions, "health.healthz", lambda: abort(app.response_class("moved", 303)))
    assert app.test_client().get("/healthz").status_code == 303


@pytest.mark.parametrize(
    ("path", "code"),
    [("/nowhere", 404), ("/healthz/", 404), ("/openapi.json/x", 404), ("/api//v1/jobs", 404)],
)
def test_unknown_paths(app: Flask, path: str, code: int) -> None:
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.json["code"]) == (code, "not_found")


def test_a_method_that_is_not_allowed_says_which_are(app: Flask) -> None:
    answer = app.test_client().post("/healthz")
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("a" * 65, False), ("a b", False), ("", False), ("a;b", False)])
def test_request_ids(app: Flask, given: str, kept: bool) -> None:
    answered = app.test_client().get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert (answered == given) == kept
    assert kept or answered.startswith("req_")


def test_pointers_are_escaped() -> None:
    assert pointer("a/b", 3, "c~d") == "/a~1b/3/c~0d"
    assert pointer() == ""


def test_faults_of_nested_messages() -> None:
    messages = {"a": {0: {"b": ["Unknown field."]}}, "_schema": ["Name one."], "c": {"_schema": ["Invalid input type."]}}
    assert [(f["pointer"], f["code"]) for f in faults_of(messages)] == [("/a/0/b", "unknown_field"), ("", "invalid"), ("/c", "wrong_type")]


TRAIN = ("/api/v1/models/train", {"entity": "u", "recipe": "r", "spec": {"window": 1}})
PREDICT = ("/api/v1/predict", {"entity": "u", "target": "t", "horizon": 5})


@pytest.mark.parametrize(
    ("field", "request_", "pointer"),
    [
        ("window", TRAIN, "/spec/window"),
        ("horizon", TRAIN, "/spec/horizon"),
        ("split.fit", TRAIN, "/spec/split/fit"),
        ("recipe", TRAIN, "/recipe"),
        ("target", TRAIN, "/target"),
        ("horizon", PREDICT, "/horizon"),
    ],
)
def test_a_spec_field_is_pointed_at_where_it_stands(
    app: Flask, monkeypatch: pytest.MonkeyPatch, field: str, request_: tuple[str, Any], pointer: str
) -> None:
    def refuse(*_: Any) -> None:
        raise SpecInvalid(field, 0, "too small")

    monkeypatch.setattr(submit, "train", refuse)
    monkeypatch.setattr(submit, "predict", refuse)
    monkeypatch.setattr(Door, "admit", lambda *_: Identity("t", "tenant", "k", frozenset({"read", "write"})))
    path, body = request_
    answer = app.test_client().post(path, json=body, headers={"Authorization": "Bearer x"})
    assert [e["pointer"] for e in answer.json["errors"]] == [pointer]
