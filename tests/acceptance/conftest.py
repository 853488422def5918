"""A whole house of real processes, brought up once by the product's own command and spoken to over HTTP alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ops import stack
from tests.support.client import Api, House

#: What takes a minute in production takes seconds here; nothing else differs.
SCALED = {
    "LEASE_S": "6",
    "REDISPATCH_S": "3",
    "RECONCILE_S": "1",
    "RETRY_BASE_S": "0.5",
    "API_PORT": "0",
    "FLOWER_PORT": "0",
    "DEVICE": "cpu",
}


def command(*words: str, timeout: float = 180, **environment: str) -> subprocess.CompletedProcess[str]:
    """One `fleetcast` command, run to its end."""
    given = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *words], env=given | environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything that `fleetcast up` starts, in a folder whose path has a space."""
    folder = tmp_path_factory.mktemp("a house")
    up = command("up", "--detach", "--folder", str(folder), **SCALED)
    assert up.returncode == 0, up.stderr
    try:
        told = json.loads(command("status", "--json", "--folder", str(folder)).stdout)
        yield House(**told)
    finally:
        down = command("down", "--folder", str(folder))
        stack.remove(folder)
        assert down.returncode == 0, down.stderr


@pytest.fixture(scope="session")
def api(house: House) -> Iterator[Api]:
    with Api(house.url, house.key) as client:
        yield client
