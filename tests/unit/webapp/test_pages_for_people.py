"""The pages for people: Swagger UI, ReDoc, and what each problem code means."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
from flask import Flask
from markupsafe import escape
from sqlalchemy import create_engine

from tasks.problems import CATALOGUE
from tests.support.web import make_house, make_runtime

ROOT = Path(__file__).resolve().parents[3]
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def app() -> Flask:
    return make_house(make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")).app


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_is_made_of_our_own_files(app: Flask, path: str) -> None:
    page = app.test_client().get(path)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert not re.search(r"<script(?![^>]* src=)", page.text), "no script stands in the page itself"
    assert not re.search(r" on\w+=| style=|<style", page.text)
    linked = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(linked) >= 2
    for address in linked:
        with app.test_client().get(address) as file:
            assert file.status_code == 200, address


@pytest.mark.parametrize(
    ("path", "worker"),
    [("/docs", None), ("/redoc", "blob:")],
)
def test_the_policy_lets_nothing_in_from_elsewhere(app: Flask, path: str, worker: str | None) -> None:
    [policy] = app.test_client().get(path).headers.getlist("Content-Security-Policy")
    told = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert told["default-src"] == told["base-uri"] == told["form-action"] == told["frame-ancestors"] == "'none'"
    assert told["script-src"] == told["connect-src"] == "'self'"
    assert told.get("worker-src") == worker
    assert not [word for word in policy.replace(";", " ").split() if ":" in word and word not in ("data:", "blob:")]


def test_redoc_tells_nobody(app: Flask) -> None:
    assert 'disable-telemetry="true"' in app.test_client().get("/redoc").text


def test_swagger_ui_asks_no_validator(app: Flask) -> None:
    page = app.test_client().get("/docs").text
    [start] = re.findall(r'src="(/assets/swagger_start[^"]+)"', page)
    with app.test_client().get(start) as file:
        assert "validatorUrl: null" in file.text


@pytest.mark.parametrize(
    "name", ["swagger_bundle.js", "swagger_preset.js", "swagger_style.css", "redoc.js", "swagger_start.js", "page.css"]
)
def test_a_file_is_kept_by_its_version(app: Flask, name: str) -> None:
    client = app.test_client()
    pages = "".join(client.get(path).text for path in ("/docs", "/redoc", "/problems/internal"))
    pages += client.get("/problems", headers=HTML).text
    [address] = {found.replace("&amp;", "&") for found in re.findall(rf'"(/assets/{re.escape(name)}[^"]*)"', pages)}
    kept = client.get(address)
    assert kept.mimetype == ("text/css" if name.endswith(".css") else "text/javascript")
    assert "immutable" in kept.headers["Cache-Control"]
    assert "max-age=31536000" in kept.headers["Cache-Control"]
    again = client.get(address, headers={"If-None-Match": kept.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get(f"/assets/{name}?v=older")
    assert other.status_code == 200
    assert "immutable" not in other.headers["Cache-Control"]
    for answer in (kept, again, other):
        answer.close()


@pytest.mark.parametrize("name", ["none.js", "..%2Fdocs.html", "docs.html", "scalar.js"])
def test_no_other_file_is_served(app: Flask, name: str) -> None:
    answer = app.test_client().get(f"/assets/{name}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_charts_library_is_the_one_that_its_makers_published(app: Flask) -> None:
    """The package that carries uPlot is not theirs: its file has to be, byte for byte, `dist/uPlot.iife.min.js` of uPlot 1.6.31 on npm."""
    with app.test_client().get("/assets/uplot.js") as file:
        assert sha256(file.data).hexdigest() == "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2"
    with app.test_client().get("/assets/uplot.css") as file:
        assert sha256(file.data).hexdigest() == "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_its_page(app: Flask, code: str) -> None:
    client, kind = app.test_client(), CATALOGUE[code]
    told = client.get(f"/problems/{code}")
    assert told.json == {
        "code": code,
        "status": kind.status,
        "title": kind.title,
        "cause": kind.cause,
        "fix": kind.fix,
        "retryable": kind.retryable,
        "in_jobs_only": kind.in_jobs_only,
    }
    page = client.get(f"/problems/{code}", headers=HTML)
    assert (page.mimetype, told.mimetype) == ("text/html", "application/json")
    assert told.headers["Vary"] == page.headers["Vary"] == "Accept"
    for said in (code, str(kind.status), kind.title):
        assert escape(said) in page.text
    assert ("Inside jobs only" in page.text) == kind.in_jobs_only
    assert "<script" not in page.text


def test_the_index_lists_every_code(app: Flask) -> None:
    client = app.test_client()
    assert [row["code"] for row in client.get("/problems").json["data"]] == list(CATALOGUE)
    page = client.get("/problems", headers=HTML).text
    assert all(f'href="/problems/{code}"' in page for code in CATALOGUE)


@pytest.mark.parametrize("accept", [{}, HTML])
def test_there_is_no_page_for_an_unknown_code(app: Flask, accept: dict[str, str]) -> None:
    answer = app.test_client().get("/problems/none", headers=accept)
    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (404, "application/problem+json", "not_found")


def test_the_files_come_with_the_installation() -> None:
    """What lies beside the code is what is packaged."""
    root = Path(__file__).parents[3]
    packaged = re.search(r"^webapp = \[(.*)\]$", (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert packaged is not None
    patterns = re.findall(r'"([^"]+)"', packaged[1])
    beside = [path for folder in ("templates", "static") for path in (root / "webapp" / folder).rglob("*") if path.is_file()]
    assert len(beside) > 15
    for path in beside:
        assert any(path.relative_to(root / "webapp").match(pattern) for pattern in patterns), path.name


@pytest.mark.parametrize("page", ["entity", "accuracy"])
def test_every_figure_in_a_table_of_scores_is_explained_below_it(page: str) -> None:
    written = (ROOT / "webapp" / "templates" / "dashboard" / f"{page}.html").read_text()
    [heads] = [line for line in written.splitlines() if line.startswith("<thead>") and ">MAE" in line]
    figures = re.findall(r'class="n">([^<{]+)', heads)
    assert {"MAE", "Skill", "Inside"} <= set(figures)
    assert set(figures) <= set(re.findall(r'^  "(.+?)": "', written, re.MULTILINE))
