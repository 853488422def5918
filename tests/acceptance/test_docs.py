"""Every command in the README and the docs is run as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import stack
from ops.doctor import settings_table

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: What each page's `make` lines do is tested elsewhere: `demo` in test_demo.py, `test` and `check` by whoever runs this.
MADE = {"make demo", "make test", "make check"}


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def is_made(block: str) -> bool:
    return set(block.strip().splitlines()) <= MADE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("readme")
    yield place
    subprocess.run([".venv/bin/fleetcast", "down", "--folder", str(place)], cwd=ROOT, check=False, capture_output=True)
    stack.remove(place)


def test_the_readme_leads_to_a_first_forecast(folder: Path) -> None:
    """All its blocks in one shell, in order, with nothing changed but where the data is kept."""
    script = "\n".join(block for block in blocks(ROOT / "README.md") if not is_made(block))
    assert script.count("curl") >= 4, "the README shows how to ask"
    given = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "FLEETCAST_URL", "FLEETCAST_KEY")
    }
    told = given | {"FLEETCAST_FOLDER": str(folder), "API_PORT": "0", "FLOWER_PORT": "0", "DEVICE": "cpu"}
    # The shell stands in a copy of the root's view, so that jfk.csv does not stay behind.
    view = folder / "clone"
    view.mkdir()
    (view / ".venv").symlink_to(ROOT / ".venv")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=view, env=told, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    # The dots of the waiting stand before the job they waited for.
    told_back = [json.loads(line.lstrip(".")) for line in done.stdout.splitlines() if line.lstrip(".").startswith('{"')]
    sent, _, forecast = told_back
    trained = json.loads((view / "job.json").read_text())
    assert sent["accepted"] > 8_000
    assert (trained["kind"], trained["state"]) == ("train", "succeeded")
    assert forecast["kind"] == "predict"
    assert len(forecast["result"]["forecast"]["points"]) == 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_shows_a_command_that_nobody_runs(page: Path) -> None:
    assert page.name == "README.md" or all(is_made(block) for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_and_setting_named_exists(page: Path) -> None:
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", settings_table())) | {"COMMIT", "UPDATE", "RETURNING", "LLEN"}
    named = {name for name in re.findall(r"`([A-Z][A-Z0-9]+_[A-Z0-9_]+)`", text) if name != "FLEETCAST_TEST_DATA"}
    assert named <= known, named - known


def test_the_readmes_table_of_settings_is_the_programs() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == settings_table(), "run `fleetcast settings` and put its answer there"
