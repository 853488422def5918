"""Every guide's commands are run as they stand, in one shell each, and once more where a first time has been."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops import stack
from ops.processes import usable_port
from tests.acceptance.test_docs import GUIDES, ROOT, blocks
from tests.support.client import House

#: A guide that sets something up for itself brings up a house of its own; the others go on in the one that stands.
RAISES = ".venv/bin/fleetcast up"

#: Where guides write, below the root; git and `make clean` know it.
OUTPUT = "guide-output"
#: A minute or more each: the default run walks through the others.
LONG = {"devices", "prices", "pv", "sensors"}
PAGES = [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in LONG else []) for page in GUIDES]


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_leads_to_where_it_says(page: Path, house: House, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    script, folder = "\n".join(blocks(page)), tmp_path / "house"
    if "influxd " in script and shutil.which("influxd") is None:
        pytest.skip("no influxd here: apt-get install influxdb")
    assert "curl" in script or ".venv/bin/fleetcast" in script, "a guide shows what to type"
    environment = _environment(house, folder, alone=RAISES in script)
    try:
        for time in ("the first time", "again"):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, f"{time}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"
    finally:
        if folder.exists():
            subprocess.run([".venv/bin/fleetcast", "down", "--folder", str(folder)], cwd=ROOT, check=False, capture_output=True)
            stack.remove(folder)
    assert {each.name for each in tmp_path.iterdir()} <= {".venv", OUTPUT, folder.name}, "nothing lies about in the root"


def _environment(house: House, folder: Path, *, alone: bool) -> dict[str, str]:
    given = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "FLEETCAST_URL", "FLEETCAST_KEY")
    }
    ports = {"INFLUX_PORT": str(usable_port(0)), "INFLUX_RPC_PORT": str(usable_port(0))}
    own = ports | {"FLEETCAST_FOLDER": str(folder), "API_PORT": "0", "FLOWER_PORT": "0", "DEVICE": "cpu"}
    return given | (own if alone else {"FLEETCAST_URL": house.url, "FLEETCAST_KEY": house.key})
