"""The campaign's own: its length and its seed. The options are tests/conftest.py's, which pytest reads first."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given: int | None = request.config.getoption("--seed")
    return secrets.randbelow(1_000_000) if given is None else given


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    found: float = request.config.getoption("--minutes")
    return found


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Short, for sockets; kept where something was found."""
    made = Path(tempfile.mkdtemp(prefix="campaign-"))
    failed = request.session.testsfailed
    yield made
    if request.session.testsfailed == failed:
        shutil.rmtree(made, ignore_errors=True)
