"""Every command in the README and the docs is run as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from ops import stack
from ops.doctor import settings_table
from tasks.problems import CATALOGUE
from tasks.settings import Settings
from webapp.problems import RETRY_AFTER
from webapp.schemas.jobs import OUTCOMES
from webapp.throttle import WINDOW_S

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Blocks that say so need a Docker engine: they are run by a slow test where there is one, and read by tests/unit/ops/test_images.py.
DOCKER_BLOCK = re.compile(r"^```bash docker\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = ROOT / "docs" / "operations.md"
HTTP = ROOT / "docs" / "http-api.md"
#: Run by test_guides.py.
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
#: What each page's `make` lines do is tested elsewhere: `demo` in test_demo.py, `test` and `check` by whoever runs this.
MADE = {"make demo", "make test", "make check"}


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def is_made(block: str) -> bool:
    return set(block.strip().splitlines()) <= MADE


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    subprocess.run([".venv/bin/fleetcast", "down", "--folder", str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    for home in (tmp_path, tmp_path / "clone" / "restored"):
        stack.remove(home)


def walk(folder: Path, *pages: Path) -> str:
    """The README's blocks in one shell, in order, and before its last one, which stops the house, those of the pages. What it all said.

    Nothing is changed but where the data is kept, and the shell stands in a copy of the root's view, so that no file stays behind.
    """
    *first, last = [block for block in blocks(ROOT / "README.md") if not is_made(block)]
    script = "\n".join([*first, *(block for page in pages for block in blocks(page)), last])
    assert script.endswith("fleetcast down\n")
    given = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "FLEETCAST_URL", "FLEETCAST_KEY")
    }
    told = given | {"FLEETCAST_FOLDER": str(folder), "API_PORT": "0", "FLOWER_PORT": "0", "DEVICE": "cpu"}
    view = folder / "clone"
    view.mkdir()
    (view / ".venv").symlink_to(ROOT / ".venv")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=view, env=told, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_leads_to_a_first_forecast(folder: Path) -> None:
    said = walk(folder)
    # The dots of the waiting stand before the job they waited for.
    told_back = [json.loads(line.lstrip(".")) for line in said.splitlines() if line.lstrip(".").startswith('{"')]
    sent, _, forecast = told_back[:3]
    trained = json.loads((folder / "clone" / "job.json").read_text())
    assert sent["accepted"] > 8_000
    assert (trained["kind"], trained["state"]) == ("train", "succeeded")
    assert forecast["kind"] == "predict"
    assert len(forecast["result"]["forecast"]["points"]) == 12


@pytest.mark.slow
def test_the_other_pages_lead_on_from_there(folder: Path) -> None:
    assert "Restored from" in walk(folder, HTTP, OPERATIONS)
    started = ("the base", "what started from it", "the base brought again", "what started from that", "the notebook's")
    made = ("JFK's", "LGA's temperature", "LGA's humidity", "the price of tea", "the watch over JFK", *started)
    assert len(list((folder / "clone" / "restored" / "models").glob("*/*/manifest.json"))) == len(made)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_shows_a_command_that_nobody_runs(page: Path) -> None:
    assert page in (ROOT / "README.md", HTTP, OPERATIONS, *GUIDES) or all(is_made(block) for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_commands_is_passed_over(page: Path) -> None:
    """A fence in other words would be run by nobody."""
    fences = re.findall(r"^```((?:bash|sh|shell|console|zsh)\b.*)$", page.read_text(), re.MULTILINE)
    assert set(fences) <= {"bash", "bash docker"}


@pytest.mark.slow
def test_the_deployment_page_brings_up_a_house_of_containers(tmp_path: Path) -> None:
    """All its blocks in one shell, in a copy of what is in git, on ports of its own; that which takes the house down comes last."""
    if not _engine():
        pytest.skip("needs a Docker engine with its compose plugin, and neither `docker info` nor `docker compose version` may fail")
    found = DOCKER_BLOCK.findall((ROOT / "docs" / "deployment.md").read_text())
    script = "\n".join(sorted(found, key=lambda block: "docker compose down" in block))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, tracked):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    apart = {"COMPOSE_PROJECT_NAME": "fleetcast-docs", "PUBLISH_API": "127.0.0.1:0", "PUBLISH_FLOWER": "127.0.0.1:0"}
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=os.environ | apart, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"^fk_\w+$", done.stdout, re.MULTILINE), "a key was made"
    finally:
        down = ["docker", "compose", "down", "--volumes"]
        subprocess.run(down, cwd=tmp_path, env=os.environ | apart, capture_output=True, check=False)


def _engine() -> bool:
    if shutil.which("docker") is None:
        return False
    return all(subprocess.run(["docker", *words], capture_output=True).returncode == 0 for words in (["info"], ["compose", "version"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_table_of_failed_jobs_is_the_catalogues() -> None:
    """Every code that a failed job can have stands there once, and `retry?` is what its `retryable` says."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (yes|no) \|", HTTP.read_text(), re.MULTILINE)
    told = [(code, again == "yes") for codes, again in rows for code in re.findall(r"\w+", codes)]
    assert sorted(told) == sorted((code, CATALOGUE[code].retryable) for code in set(OUTCOMES))


def test_the_table_of_waits_is_the_programs() -> None:
    """Every code of 429 and 503 that is the answer to a request, with the seconds that its Retry-After says."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*?(\d+) s[^|]*) \|", HTTP.read_text(), re.MULTILINE)
    told = {code: int(seconds) for codes, _, seconds in rows for code in re.findall(r"\w+", codes)}
    busy = {code for code, kind in CATALOGUE.items() if kind.status in (429, 503) and not kind.in_jobs_only}
    assert told == {code: (RETRY_AFTER | {"rate_limited": WINDOW_S})[code] for code in busy}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_and_setting_named_exists(page: Path) -> None:
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", settings_table())) | {"COMMIT", "UPDATE", "RETURNING", "LLEN"}
    known |= {f"{field.name.upper()}_FILE" for field in fields(Settings) if field.metadata["secret"]}
    known |= set(re.findall(r"^([A-Z_]+)=", (ROOT / "deploy" / "compose.env.example").read_text(), re.MULTILINE))
    named = {name for name in re.findall(r"`([A-Z][A-Z0-9]+_[A-Z0-9_]+)`", text) if name != "FLEETCAST_TEST_DATA"}
    assert named <= known, named - known


def test_the_readmes_table_of_settings_is_the_programs() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == settings_table(), "run `fleetcast settings` and put its answer there"
