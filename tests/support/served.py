"""The real web process in tests and measurements: gunicorn with its own settings, one gevent worker, over servers that run already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import webapp
from ops.processes import usable_port, wait_until
from tasks.environment import inherited
from tests.support.web import House

ROOT = Path(webapp.__file__).parent.parent


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def served(house: House, log: Path, **environment: str) -> Iterator[Served]:
    """A gunicorn over the house's servers, until the block ends."""
    port = usable_port(0)
    told = {
        "DATABASE_URL": house.runtime.engine.url.render_as_string(hide_password=False),
        "REDIS_URL": house.runtime.settings.redis_url,
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webapp.gunicorn_conf", "-b", f"127.0.0.1:{port}", "webapp.wsgi:app"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=inherited() | told | environment, stdout=output, stderr=output) as process,
    ):
        try:
            if not wait_until(lambda: _ready(port), 30, pause=0.1):
                raise AssertionError(log.read_text())
            yield Served(process, port)
        finally:
            process.terminate()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
