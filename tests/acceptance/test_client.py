"""The client's README as it stands, line by line, against a house of real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import House

README = Path(__file__).resolve().parents[2] / "client" / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def said(house: House) -> str:
    """What the page's blocks say when they are run one after the other, as in one notebook."""
    script = "\n".join(BLOCK.findall(README.read_text()))
    told = {"FLEETCAST_URL": house.url, "FLEETCAST_KEY": house.key}
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=told, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_leads_to_a_first_forecast(said: str) -> None:
    lines = said.splitlines()
    assert lines[0] == "600"
    assert re.fullmatch(r"1\.0\.0 \w+ (True|False)", lines[1])
    assert [bool(re.fullmatch(r"\d\d \w{3} \d\d:00 +[\d.]+ +[\d.]+ to +[\d.]+", line)) for line in lines[2:14]] == [True] * 12


def test_it_shows_epochs_needs_frames_and_scenarios(said: str) -> None:
    assert re.search(r"^epoch 1: \d\.\d{3}$", said, re.MULTILINE)
    assert re.search(r"^succeeded$", said, re.MULTILINE)
    assert re.search(r"^\w+: 1 of \d+ row$", said, re.MULTILINE)
    assert re.search(r"^ +value +lower +upper$", said, re.MULTILINE)
    assert re.search(r"^load \d\.\d\.\d$", said, re.MULTILINE)


def test_no_key_is_said(said: str, house: House) -> None:
    assert house.key not in said
    assert json.dumps(house.key) not in said


def test_every_block_is_run_or_installs() -> None:
    text = README.read_text()
    assert text.count("```python") == len(BLOCK.findall(text)) >= 8
    assert re.findall(r"^```bash\n(.*?)\n```", text, re.DOTALL | re.MULTILINE) == ["pip install 'fleetcast-client[frames]'"]
