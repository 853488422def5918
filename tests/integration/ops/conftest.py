"""Commands, run in this process against the real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from ops.cli import main

#: Runs a command with its words; variables of the environment by name.
Command = Callable[..., Result]


@pytest.fixture
def fleetcast(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Command:
    """One `fleetcast` command, told the servers, with its folders below the test's own."""
    given = {"DATABASE_URL": migrated_url, "REDIS_URL": redis_url, "MODEL_DIR": str(tmp_path / "models"), "COLUMNS": "200"}

    def run(*words: str, **changes: str) -> Result:
        return CliRunner().invoke(main, words, env=given | changes, prog_name="fleetcast")

    return run
