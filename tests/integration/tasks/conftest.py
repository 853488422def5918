"""A workshop on the real servers, with times scaled down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tasks.workshop import Workshop
from tests.support.road import settings_for, workshop


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models")) as opened:
        yield opened
