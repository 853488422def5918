"""Conditions of a schedule's training: of whom one holds, told and counted, in as many statements for ten thousand as for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, event

from db import drifts, entities, observations, registry
from db.drifts import Judged
from db.models import Version, new_id
from db.observations import Row
from tasks import retrain
from tasks.firing import fire_due
from tasks.runtime import Runtime
from tests.support.planned import TRAIN, age, come, devices, items, jobs, owner, planned, runs, settle_jobs
from tests.support.web import START, make_runtime

HOURS = 120


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Runtime:
    return make_runtime(engine, redis_url)


@pytest.fixture
def fleet(runtime: Runtime) -> str:
    """A tenant with five devices, four of which have a version of their cpu; of `rested` it does not serve any more."""
    tenant_id = owner(runtime)
    devices(runtime, tenant_id, "fresh", "old", "grown", "rested", "never", rows=HOURS)
    for name in ("fresh", "old", "grown", "rested"):
        trained(runtime, tenant_id, name, active=name != "rested")
    age(runtime, 48.0, model_id=model_of(runtime, tenant_id, "old"))
    more(runtime, tenant_id, "grown", 24)
    judged(runtime, tenant_id, "old", "drifting")
    judged(runtime, tenant_id, "grown", "warning", 1.3)
    judged(runtime, tenant_id, "fresh", "unknown")
    return tenant_id


def model_of(runtime: Runtime, tenant_id: str, name: str) -> str:
    with runtime.sessions.begin() as session:
        return registry.ensure_model(session, tenant_id, entities.get(session, tenant_id, name).id, "cpu").id


def trained(runtime: Runtime, tenant_id: str, name: str, *, active: bool = True, patch: int = 0) -> None:
    """A version that knows all the rows there are by now."""
    given: dict[str, Any] = {"spec": {}, "spec_hash": "", "signature": "", "served_by": "blend", "metrics": {}, "gate": {}, "warnings": []}
    span = {"data_from": START, "data_until": START + timedelta(hours=HOURS - 1), "artefact_sha256": "", "artefact_bytes": 0}
    model = model_of(runtime, tenant_id, name)
    number = {"major": 1, "minor": 0, "patch": patch, "active": active, "job_id": new_id("job"), "fence": 1, "target": "cpu"}
    with runtime.sessions.begin() as session:
        session.add(Version(tenant_id=tenant_id, model_id=model, **number, **given, **span))


def more(runtime: Runtime, tenant_id: str, name: str, rows: int) -> None:
    """So many hours later than all that its version knows."""
    with runtime.sessions.begin() as session:
        later = (Row("cpu", START + timedelta(hours=HOURS + n), 20.0) for n in range(rows))
        observations.upsert(session, entities.get(session, tenant_id, name), later)


def judged(runtime: Runtime, tenant_id: str, name: str, verdict: str, ratio: float | None = None) -> None:
    """The last verdict about the version that serves."""
    model_id = model_of(runtime, tenant_id, name)
    with runtime.sessions.begin() as session:
        serving = session.scalars(sa.select(Version.id).where(Version.model_id == model_id, Version.active)).one()
        drifts.keep(session, [Judged(tenant_id, model_id, serving, 1, verdict, ratio, {})])


ALL = {"conditions": {}, "order": replace(TRAIN, entities=()), "selector": {"kind": "device"}}
CASES: dict[str, tuple[dict[str, Any], list[str], dict[str, int]]] = {
    "by age": ({"age_hours": 24}, ["never", "old", "rested"], {"no_active_version": 2, "age_hours": 1}),
    "by rows": ({"new_rows": 24}, ["grown", "never", "rested"], {"no_active_version": 2, "new_rows": 1}),
    "by more rows than there are": ({"new_rows": 25}, ["never", "rested"], {"no_active_version": 2}),
    "by drift": ({"drift": "drifting"}, ["never", "old", "rested"], {"no_active_version": 2, "drift": 1}),
    "by a warning of drift": ({"drift": "warning"}, ["grown", "never", "old", "rested"], {"no_active_version": 2, "drift": 2}),
    "by errors that grew": ({"accuracy": {"worse_than": 1.2}}, ["grown", "never", "rested"], {"no_active_version": 2, "accuracy": 1}),
    "by errors that grew more": ({"accuracy": {"worse_than": 1.3}}, ["never", "rested"], {"no_active_version": 2}),
    "by either": (
        {"age_hours": 24, "new_rows": 10},
        ["grown", "never", "old", "rested"],
        {"no_active_version": 2, "age_hours": 1, "new_rows": 1},
    ),
}


@pytest.mark.parametrize(("conditions", "due", "why"), CASES.values(), ids=CASES.keys())
def test_only_those_of_whom_a_condition_holds(
    runtime: Runtime, fleet: str, conditions: dict[str, Any], due: list[str], why: dict[str, int]
) -> None:
    row = planned(runtime, fleet, **ALL | {"conditions": conditions})
    come(runtime)
    fire_due(runtime)
    [run] = runs(runtime, row)
    assert items(runtime, *jobs(runtime)) == due
    assert (run.state, run.entities, run.due, run.why) == ("fired", 5, len(due), why)


def test_who_is_being_trained_is_not_asked_for_again(runtime: Runtime, fleet: str) -> None:
    row = planned(runtime, fleet, **ALL | {"conditions": {"age_hours": 24}})
    for told in ({"no_active_version": 2, "age_hours": 1}, {"under_way": 3}):
        come(runtime)
        fire_due(runtime)
        assert runs(runtime, row)[0].why == told
    assert (runs(runtime, row)[0].state, runs(runtime, row)[0].reason) == ("skipped", "none_due")
    assert len(jobs(runtime)) == 1
    settle_jobs(runtime)
    come(runtime)
    fire_due(runtime)
    assert runs(runtime, row)[0].state == "fired", "what came to nothing is due again"


def test_a_version_that_did_not_take_over_was_a_training_all_the_same(runtime: Runtime, fleet: str) -> None:
    """Else it would be trained anew each night, to the same end."""
    trained(runtime, fleet, "old", active=False, patch=1)
    row = planned(runtime, fleet, **ALL | {"conditions": {"age_hours": 24}})
    come(runtime)
    fire_due(runtime)
    assert runs(runtime, row)[0].why == {"no_active_version": 2}


def test_of_a_single_entity_too(runtime: Runtime, fleet: str) -> None:
    order = replace(TRAIN, entities=("fresh",), batch=False)
    row = planned(runtime, fleet, order=order, conditions={"new_rows": 1})
    come(runtime)
    fire_due(runtime)
    assert (runs(runtime, row)[0].reason, runs(runtime, row)[0].why) == ("none_due", {})
    more(runtime, fleet, "fresh", 1)
    come(runtime)
    fire_due(runtime)
    assert [job.spec["entity"] for job in jobs(runtime)] == ["fresh"]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What SQLAlchemy sends meanwhile."""
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_as_many_statements_for_many_as_for_few(runtime: Runtime, fleet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    look = retrain.newest
    monkeypatch.setattr(retrain, "newest", lambda *given: asked.append(len(given[2])) or look(*given))
    planned(runtime, fleet, **ALL | {"conditions": {"new_rows": 24}})
    come(runtime)
    with statements(runtime.engine) as few:
        fire_due(runtime)
    settle_jobs(runtime)
    with runtime.sessions.begin() as session:
        entity = {"tenant_id": fleet, "kind": "device"}
        session.execute(sa.insert(entities.Entity), [entity | {"name": f"more-{n}"} for n in range(300)])
    come(runtime)
    with statements(runtime.engine) as many:
        fire_due(runtime)
    assert asked == [5, 305]
    assert len(many) == len(few)
