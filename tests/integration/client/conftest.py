"""The client before the real app, over a real Postgres and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from fleetcast_client import Client
from tests.support.web import Caller, House, make_house, make_runtime


@pytest.fixture
def house(engine: Engine, redis_url: str) -> House:
    return make_house(make_runtime(engine, redis_url))


@pytest.fixture
def me(house: House) -> Caller:
    return house.caller("mine")


@pytest.fixture
def client(house: House, me: Caller) -> Iterator[Client]:
    with Client("http://fleetcast.test", me.key, transport=httpx.WSGITransport(house.app)) as made:
        yield made


@pytest.fixture
def ready(client: Client) -> Client:
    """Whose entity `u` has sixty days of rhr."""
    client.observations.write("u", rows())
    return client


def rows(count: int = 60) -> Iterator[dict[str, object]]:
    return ({"at": f"2026-0{1 + n // 28}-{1 + n % 28:02d}T06:00:00Z", "rhr": 55 + n % 7} for n in range(count))
