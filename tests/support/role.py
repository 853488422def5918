"""Postgres as docker-compose.yml makes it: the image's superuser, and the role of our processes, made by deploy/postgres/10-role.sh."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from ops import postgres, stack
from tests.support.compose import ROOT, SERVICES

SCRIPT = ROOT / "deploy" / "postgres" / "10-role.sh"
GIVEN: Mapping[str, str] = SERVICES["postgres"]["environment"]


@dataclass(frozen=True)
class Apart:
    """A server of its own, with the role in it."""

    superuser: URL
    role: URL
    redis_url: str

    @property
    def database_url(self) -> str:
        return text_of(self.role)


def text_of(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@contextmanager
def apart(folder: Path) -> Iterator[Apart]:
    """Servers whose Postgres has the superuser and the database of the compose file, until the block ends."""
    with pytest.MonkeyPatch.context() as changed:
        for room in (postgres, stack):
            changed.setattr(room, "USER", GIVEN["POSTGRES_USER"])
            changed.setattr(room, "DATABASE", GIVEN["POSTGRES_DB"])
        running = stack.start(folder / "servers", durable=False)
    try:
        superuser, password = make_url(running.database_url), secrets.token_hex(24)
        done = make_role(superuser, folder, password)
        assert done.returncode == 0, done.stderr
        yield Apart(superuser, superuser.set(username="fleetcast", password=password), running.redis_url)
    finally:
        stack.remove(folder / "servers")


def make_role(superuser: URL, folder: Path, password: str) -> subprocess.CompletedProcess[str]:
    """The script as the image runs it, with the psql that came with the embedded Postgres."""
    file = folder / "postgres_password"
    file.write_text(password)
    told = {name: value for name, value in GIVEN.items() if name in ("POSTGRES_USER", "POSTGRES_DB")}
    told |= {"FLEETCAST_PASSWORD_FILE": str(file), "PATH": f"{postgres.find_program().path.parent}:{os.environ['PATH']}"}
    told |= {"PGHOST": str(superuser.host), "PGPORT": str(superuser.port), "PGPASSWORD": str(superuser.password)}
    return subprocess.run([str(SCRIPT)], env=told, capture_output=True, text=True, timeout=60)
