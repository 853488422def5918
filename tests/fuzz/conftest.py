"""Fixtures of the fuzz tier: one app for all operations, over a database that each finds in the same state."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from schemathesis.openapi import from_wsgi
from schemathesis.schemas import BaseSchema
from sqlalchemy import Engine

from tests.fuzz.world import World, make_world
from tests.support.servers import Servers
from tests.support.tables import Contents, contents
from tests.support.web import House, make_house, make_runtime

#: Nobody works on the jobs, so waiting for one and watching one are cut short; a tenant may ask as often as it likes.
CHANGES = {"max_wait_s": 0.02, "stream_heartbeat_s": 0.05, "stream_lifetime_s": 0.1, "rate_limit_per_minute": 0}


@schemathesis.serializer("application/zip")
def as_it_is(_: Any, value: Any) -> bytes:
    """What is no zip is refused, and is sent for that; `aim` puts a good one in its place now and then."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@pytest.fixture(scope="session")
def house(shared_engine: Engine, live: Servers, tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(make_runtime(shared_engine, live.redis_url, model_dir=tmp_path_factory.mktemp("models"), **CHANGES))


@pytest.fixture(scope="session")
def schema(house: House) -> BaseSchema:
    return from_wsgi("/openapi.json", house.app)


@pytest.fixture(scope="session")
def made() -> list[tuple[World, Contents]]:
    """The last world, and what it held."""
    return []


@pytest.fixture
def world(house: House, made: list[tuple[World, Contents]], shared_engine: Engine, request: pytest.FixtureRequest) -> World:
    """The last one where it is as it was, which it is after reading; else a new one."""
    if made and made[0][1] == contents(shared_engine):
        return made[0][0]
    for emptied in ("engine", "redis_url"):
        request.getfixturevalue(emptied)
    world = make_world(house)
    made[:] = [(world, contents(shared_engine))]
    return world
