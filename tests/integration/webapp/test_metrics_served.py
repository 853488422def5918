"""Metrics of the real process: gunicorn's workers count as one house, and send what they counted before they go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import webapp
from ops.processes import usable_port, wait_until
from tasks import metrics
from tests.support.scrape import counted, samples
from tests.support.web import House

WORKERS = 2


@contextmanager
def served(house: House, folder: Path) -> Iterator[str]:
    """The URL of a gunicorn that serves the test's servers, told to stop at the end of the block."""
    url = f"127.0.0.1:{usable_port(0)}"
    database_url = house.runtime.engine.url.render_as_string(hide_password=False)
    told = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATABASE_URL": database_url, "REDIS_URL": house.runtime.settings.redis_url}
    words = ("-c", "python:webapp.gunicorn_conf", "-b", url, "--workers", str(WORKERS), "webapp.wsgi:app")
    root = Path(webapp.__file__).parent.parent
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gunicorn", *words], cwd=root, env=told, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: _answers(url), 20, pause=0.1), (folder / "log").read_text()
        yield f"http://{url}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"http://{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_its_workers_count_together_and_send_at_their_end(house: House, tmp_path: Path) -> None:
    with served(house, tmp_path) as url, httpx.Client(base_url=url, trust_env=False, headers={"Connection": "close"}) as client:
        assert wait_until(lambda: _alive(client) == WORKERS, 20, pause=0.5), (tmp_path / "log").read_text()
        before = counted(house.runtime, metrics.REQUESTS, "GET", "/healthz", "200")
        for _ in range(40):
            assert client.get("/healthz").status_code == 200
        begun = time.monotonic()
        answers = [client.get("/metrics") for _ in range(20)]
        assert time.monotonic() - begun < 10
        assert {answer.status_code for answer in answers} == {200}
    assert counted(house.runtime, metrics.REQUESTS, "GET", "/healthz", "200") - before == 40
    reading = house.runtime.meter.read()
    assert reading is not None
    assert metrics.PROCESSES not in reading.held, "who goes says so"


def _alive(client: httpx.Client) -> float:
    return samples(client.get("/metrics").text)["fleetcast_processes", "web"]
