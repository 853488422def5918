"""The documentation site: every page is on it, every operation is in its reference, and nothing of it comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import reference, site
from ops.lifecycle import WAYS
from tasks.runtime import open_runtime
from webapp.app import create_app
from webapp.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[3]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(site.pages())


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = create_app(open_runtime(site.NOWHERE, "test")).test_client().get("/openapi.json").get_json()
    return found


def listed(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in listed(each)]


def test_every_page_is_in_the_nav_once(pages: dict[str, str]) -> None:
    """A decision is found from the list of them all."""
    told = listed(CONFIG["nav"])
    decisions = {page for page in pages if page.startswith("decisions/") and page != site.DECISIONS}
    assert len(decisions) > 30
    assert all(page.removeprefix("decisions/") in pages[site.DECISIONS] for page in decisions)
    assert sorted(told) == sorted(pages.keys() - decisions)


def test_every_operation_and_every_schema_is_in_the_reference(pages: dict[str, str], document: dict[str, Any]) -> None:
    told = "".join(text for page, text in pages.items() if page.startswith("reference/"))
    for method, path, operation in reference.operations(document):
        assert f"**`{method.upper()} {path}`**" in told
        assert f"{{: #{operation['operationId']} }}" in told
    for name in document["components"]["schemas"]:
        assert f"## {name} {{: #{name.lower()} }}" in told
    shown = [example.summary for example in EXAMPLES if example.answer is not None]
    assert [summary for summary in shown if f'"{summary}"' not in told] == []


def test_a_member_tells_its_type_its_bounds_and_whether_it_must_be_there(pages: dict[str, str]) -> None:
    schemas = pages["reference/schemas.md"]
    assert "| `recipe` | string | Name of a preset; `GET /recipes` lists them. Required. (length ≥ 1; length ≤ 200) |" in schemas
    assert "[SpecIn](schemas.md#specin)" in schemas


@pytest.mark.parametrize(
    ("written", "source", "page", "shown"),
    [
        ("[a](docs/models.md#drift)", "README.md", "index.md", "[a](models.md#drift)"),
        ("![a](docs/images/a.png)", "README.md", "index.md", "![a](images/a.png)"),
        ("[a](../../README.md)", "docs/guides/pv.md", "guides/pv.md", "[a](../index.md)"),
        ("[a](../bench/etth1.py)", "docs/accuracy.md", "accuracy.md", "a"),
        ("[a](docs/decisions/)", "README.md", "index.md", "[a](decisions/index.md)"),
        ("[a](https://a.example/b.md)", "README.md", "index.md", "[a](https://a.example/b.md)"),
        ("[a](#here)", "docs/models.md", "models.md", "[a](#here)"),
    ],
)
def test_links_lead_where_pages_lie_on_the_site(written: str, source: str, page: str, shown: str) -> None:
    assert site._as_on_the_site(written, source, page) == shown


def test_the_states_of_a_job_are_a_picture(pages: dict[str, str]) -> None:
    assert site.STATES in pages["job-lifecycle.md"]
    drawn = (ROOT / "docs" / "images" / "lifecycle.svg").read_text()
    told = {", ".join(dict.fromkeys(way.by for way in ways)) for (before, after), ways in WAYS.items() if before != after}
    assert told <= set(re.findall(r"<!-- (.*?) -->", drawn)), "draw it again: python -m bench.pictures"


def test_it_is_built_without_a_warning_and_asks_nobody_else_for_anything(tmp_path: Path) -> None:
    """As `make docs` builds it. Links may lead elsewhere; nothing that a page is made of may come from there."""
    subprocess.run([sys.executable, "-m", "ops.site", str(tmp_path / "docs")], cwd=ROOT, check=True)
    config = CONFIG | {"docs_dir": "docs", "site_dir": "site"}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    built = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict", "--config-file", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(built, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stderr
    made = list((tmp_path / "site").rglob("*.html"))
    assert len(made) > 60
    for page in made:
        text = page.read_text()
        assert re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//", text) == [], page
        assert re.findall(r"<link[^>]*href=\"?(?:https?:)?//", text) == [], page
        assert 'class="mermaid"' not in text, "its script would be fetched"
