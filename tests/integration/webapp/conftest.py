"""The app over a real Postgres and a real Redis, both empty, with one tenant."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.support.web import Caller, House, days, make_house, make_runtime


@pytest.fixture
def house(engine: Engine, redis_url: str) -> House:
    return make_house(make_runtime(engine, redis_url))


@pytest.fixture
def me(house: House) -> Caller:
    return house.caller("mine")


@pytest.fixture
def other(house: House) -> Caller:
    return house.caller("another")


@pytest.fixture
def ready(me: Caller) -> Caller:
    """A caller whose entity `u` has sixty days of rhr."""
    assert me.post("/entities/u/observations", {"observations": days(60)}).status_code == 200
    return me


@pytest.fixture
def trained(house: House, ready: Caller) -> Caller:
    """A caller whose entity `u` has an active version 1.0.0."""
    job = ready.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json
    house.publish(ready, job["id"])
    return ready
