"""What a command holds that asks for jobs as the API does: Postgres, where they stand, and Redis, where their status is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ops.house import served
from tasks.runtime import Runtime, open_runtime
from tasks.settings import SettingsError

#: One command can wait longer for Redis than a request can.
PATIENCE_S = 2.0


@contextmanager
def asking(folder: Path | None, application: str) -> Iterator[Runtime]:
    """A runtime with the servers that `served` finds. Raises SettingsError."""
    settings = served(folder)
    if not settings.cache:
        raise SettingsError("REDIS_URL", "", "name the server: those who poll a job read its status there")
    runtime = open_runtime(replace(settings, cache_timeout_s=max(settings.cache_timeout_s, PATIENCE_S)), application, connections=4)
    try:
        yield runtime
    finally:
        runtime.close()
