"""Which representation a client gets, by its Accept."""

from __future__ import annotations

import pytest
from flask import Flask

from webapp.negotiate import CSV, JSON, LINES, chosen, refuse_unacceptable
from webapp.problems import Refusal


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    refuse_unacceptable(app, "/api/")
    app.add_url_rule("/api/rows", "entities.list_observations", lambda: chosen())
    app.add_url_rule("/api/else", "else", lambda: chosen())
    app.add_url_rule("/page", "page", lambda: "page")
    app.register_error_handler(Refusal, lambda error: (error.code, 406))
    return app


@pytest.mark.parametrize(
    ("accept", "rows", "otherwise"),
    [
        (None, JSON, JSON),
        ("", JSON, JSON),
        ("*/*", JSON, JSON),
        ("application/*", JSON, JSON),
        (JSON, JSON, JSON),
        ("application/json; charset=utf-8", JSON, JSON),
        (CSV, CSV, "not_acceptable"),
        (LINES, LINES, "not_acceptable"),
        ("text/csv;q=0.5, application/x-ndjson;q=0.9", LINES, "not_acceptable"),
        ("text/csv, */*;q=0.1", CSV, JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON, JSON),
        ("text/html", "not_acceptable", "not_acceptable"),
        ("application/json;q=0", "not_acceptable", "not_acceptable"),
        ("nonsense", "not_acceptable", "not_acceptable"),
    ],
)
def test_accept(app: Flask, accept: str | None, rows: str, otherwise: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    client = app.test_client()
    assert [client.get(path, headers=headers).text for path in ("/api/rows", "/api/else")] == [rows, otherwise]


def test_pages_for_people_are_not_refused(app: Flask) -> None:
    assert app.test_client().get("/page", headers={"Accept": "text/html"}).text == "page"
