"""Observations on their way out as lines and CSV: all of them, in a form that can be sent in again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.pool import QueuePool

from db.errors import NotFound
from tests.support.web import Caller, House, days
from webapp import exports

FORMS = ["application/x-ndjson", "text/csv"]


@pytest.fixture
def full(me: Caller, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Two channels, whose rows fill several pages and the last one exactly."""
    monkeypatch.setattr(exports, "PAGE", 20)
    rows = days(50, "rhr") + days(30, "hrv")
    assert me.post("/entities/u/observations", {"observations": rows}).status_code == 200
    return me


def everything(me: Caller, entity: str, query: str = "") -> list[Any]:
    return list(me.get(f"/entities/{entity}/observations?limit=200{query}").json["data"])


def as_form(me: Caller, form: str, path: str) -> Any:
    return me.get(path, headers={"Accept": form})


@pytest.mark.parametrize("form", FORMS)
def test_what_goes_out_can_come_in_again(full: Caller, form: str) -> None:
    told = as_form(full, form, "/entities/u/observations")
    assert (told.status_code, told.mimetype, told.headers["Vary"]) == (200, form, "Accept")
    again = full.call("POST", "/entities/copy/observations", data=told.data, content_type=form)
    assert (again.status_code, again.json["accepted"], again.json["rejected"]) == (200, 80, 0)
    assert everything(full, "copy") == everything(full, "u")


def test_lines_are_the_rows_of_the_pages(full: Caller) -> None:
    query = "&channel=rhr&from=2026-01-03T00:00:00Z&to=2026-01-20T00:00:00Z"
    lines = as_form(full, FORMS[0], f"/entities/u/observations?{query[1:]}").text.splitlines()
    assert [json.loads(line) for line in lines] == everything(full, "u", query)


@pytest.mark.parametrize(("form", "body"), [(FORMS[0], ""), (FORMS[1], "at,channel,value\n")])
def test_nothing_measured(me: Caller, form: str, body: str) -> None:
    me.put("/entities/empty")
    assert as_form(me, form, "/entities/empty/observations").text == body


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["limit=5", "cursor=abc"])
def test_pages_are_for_json(full: Caller, form: str, query: str) -> None:
    answer = as_form(full, form, f"/entities/u/observations?{query}")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == f"/query/{query.partition('=')[0]}"


@pytest.mark.parametrize("form", FORMS)
def test_no_such_entity(me: Caller, form: str) -> None:
    assert as_form(me, form, "/entities/nobody/observations").status_code == 404


def test_what_is_erased_in_mid_export_breaks_off(full: Caller) -> None:
    told = full.get("/entities/u/observations", headers={"Accept": "text/csv"}, buffered=False)
    parts = told.iter_encoded()
    next(parts)
    next(parts)
    assert full.delete("/entities/u").status_code == 204
    with pytest.raises(NotFound):
        list(parts)


def test_no_connection_is_held_while_the_client_is_slow(house: House, full: Caller) -> None:
    told = full.get("/entities/u/observations", headers={"Accept": "text/csv"}, buffered=False)
    parts = told.iter_encoded()
    next(parts)
    next(parts)
    pool = house.runtime.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    assert sum(part.count(b"\n") for part in parts) == 60
