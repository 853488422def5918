"""The pages for people in a real browser: their scripts run under their own policies, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.served import Served, served
from tests.support.web import House

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Without these it asks its maker's hosts for updates, and waits for them.
ALONE = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ALONE += ["--disable-component-update", "--disable-sync", "--virtual-time-budget=20000", "--enable-logging=stderr"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


#: What a page shows once its scripts have run.
PAGES = {
    "/docs": ["operations-entities-put_entity", "operations-jobs-get_job", "Authorize"],
    "/redoc": ["Download OpenAPI description", "predictions", "Fleetcast"],
    "/problems": ["insufficient_data", "rate_limited"],
    "/problems/insufficient_data": ["Not enough data", "422"],
}


def test_the_pages_show_what_they_are_for(house: House, tmp_path: Path) -> None:
    with served(house, tmp_path / "log") as process:
        for page, shown in PAGES.items():
            dom, told = look(process, page, tmp_path)
            assert [word for word in shown if word not in dom] == [], page
            assert [line for line in told.splitlines() if re.search(r"violates|Refused to|Uncaught|ERR_", line)] == [], page


def look(process: Served, page: str, folder: Path) -> tuple[str, str]:
    """The page as it stands once its scripts have run, and what the browser's console was told."""
    command = [str(CHROMIUM), *ALONE, f"--user-data-dir={folder / 'profile'}", "--dump-dom", process.url + page]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = "\n".join(line for line in ran.stderr.splitlines() if "CONSOLE" in line)
    return ran.stdout, console
