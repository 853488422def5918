"""Schedules on the command line: found among all tenants', looked into, paused, resumed, and fired by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from db.models import Schedule
from tasks.runtime import Runtime
from tests.integration.ops.conftest import Command
from tests.support.planned import come, devices, jobs, owner, planned, seen
from tests.support.web import make_runtime


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Iterator[Runtime]:
    made = make_runtime(engine, redis_url)
    yield made
    made.memory.close()


def schedule(runtime: Runtime, tenant: str, name: str = "nightly", **about: object) -> Schedule:
    tenant_id = owner(runtime, tenant)
    devices(runtime, tenant_id, "dev-1")
    return planned(runtime, tenant_id, name, **about)


def test_the_list_has_every_tenants_the_next_due_first(fleetcast: Command, runtime: Runtime) -> None:
    resting, late = schedule(runtime, "acme", paused=True), schedule(runtime, "other", "hourly")
    come(runtime, ago_s=90.0)
    told = [json.loads(line) for line in fleetcast("schedules", "ls", "--json").stdout.splitlines()]
    assert [(each["id"], each["tenant_name"], each["paused"]) for each in told] == [(late.id, "other", False), (resting.id, "acme", True)]
    table = fleetcast("schedules", "ls").stdout
    assert "every 1h UTC" in table
    assert "1m" in table, "how far it is behind"
    assert fleetcast("schedules", "ls", "--tenant", "acme").stdout.count("sch_") == 1
    assert fleetcast("schedules", "ls", "--tenant", "nobody").exit_code == 1


def test_it_is_paused_resumed_and_fired_by_hand(fleetcast: Command, runtime: Runtime) -> None:
    row = schedule(runtime, "acme")
    assert "It has not run yet." in fleetcast("schedules", "show", row.id).stdout
    assert "paused" in fleetcast("schedules", "pause", row.id).stdout
    assert seen(runtime, row).paused
    fired = fleetcast("schedules", "fire", row.id)
    [job] = jobs(runtime)
    assert f"fired {job.id}" in fired.stdout
    assert "next run" in fleetcast("schedules", "resume", row.id).stdout
    shown = json.loads(fleetcast("schedules", "show", row.id, "--json").stdout)
    assert [(run["state"], run["job_id"]) for run in shown["runs"]] == [("fired", job.id)]
    assert job.id in fleetcast("schedules", "show", row.id).stdout


def test_what_cannot_be_done_is_said_and_the_others_are_done(fleetcast: Command, runtime: Runtime) -> None:
    row = schedule(runtime, "acme")
    told = fleetcast("schedules", "pause", "sch_none", row.id)
    assert told.exit_code == 1
    assert "No schedule 'sch_none'" in told.stderr
    assert seen(runtime, row).paused
    assert fleetcast("schedules", "show", "sch_none").exit_code == 1
