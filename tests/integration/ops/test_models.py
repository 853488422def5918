"""Expected models at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tasks.runtime import Runtime
from tests.integration.ops.conftest import Command
from tests.support.planned import devices, owner, planned
from tests.support.web import make_runtime


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Iterator[Runtime]:
    made = make_runtime(engine, redis_url)
    yield made
    made.memory.close()


def test_what_is_missing_is_named_with_the_schedule_that_expects_it(fleetcast: Command, runtime: Runtime) -> None:
    assert fleetcast("models").output == "0 expected, of all tenants: 0 present, 0 too old, 0 missing.\n"
    acme = owner(runtime)
    devices(runtime, acme, "dev-1")
    row = planned(runtime, acme)
    shown = fleetcast("models", "--tenant", "acme").output
    assert "1 expected, of all tenants: 0 present, 0 too old, 1 missing." in shown
    assert row.id in shown
    [told] = map(json.loads, fleetcast("models", "--json").stdout.splitlines())
    assert (told["tenant"], told["entity"], told["name"], told["state"], told["oldest_s"]) == ("acme", "dev-1", "cpu", "missing", 7200)
    assert fleetcast("models", "--state", "present", "--json").stdout == ""
