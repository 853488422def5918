"""What schedules let expect is held against what serves: nothing expected is overlooked, nothing is counted twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from db import entities, expected, registry
from db.entities import ChannelInfo
from db.expected import STATES, Expected
from db.models import Version
from tasks import metrics
from tasks.alarms import DetectOrder, WatchOrder
from tasks.expected import promises
from tasks.orders import BacktestOrder, PredictOrder, TrainOrder
from tasks.reconcile import take_stock
from tasks.runtime import Runtime
from tests.support import rows
from tests.support.planned import devices, owner, planned
from tests.support.web import make_runtime

HOURLY = TrainOrder("device-metric", ("dev-1", "dev-2"), "cpu", batch=True)
FORECASTS = PredictOrder(("dev-1", "dev-2"), ("cpu", "memory"), batch=True)


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Runtime:
    return make_runtime(engine, redis_url)


@pytest.fixture
def acme(runtime: Runtime) -> str:
    tenant_id = owner(runtime)
    devices(runtime, tenant_id, "dev-1", "dev-2")
    return tenant_id


def serve(runtime: Runtime, tenant_id: str, entity: str, name: str = "cpu", *, age_h: float = 0.0) -> None:
    with runtime.sessions.begin() as session:
        model = registry.ensure_model(session, tenant_id, entities.get(session, tenant_id, entity).id, name)
        version = rows.publish(session, model)
        made = sa.func.clock_timestamp() - timedelta(hours=age_h)
        session.execute(sa.update(Version).where(Version.id == version.id).values(created_at=made))


def listed(runtime: Runtime, **narrow: Any) -> list[Expected]:
    with runtime.sessions() as session:
        return expected.survey(session, promises(session, runtime), **{"states": STATES, "limit": 100} | narrow)


def standing(runtime: Runtime, **narrow: Any) -> dict[tuple[str, str], str]:
    return {(each.entity, each.name): each.state for each in listed(runtime, **narrow)}


def test_who_is_trained_is_expected_to_serve_and_to_be_young(runtime: Runtime, acme: str) -> None:
    planned(runtime, acme, order=HOURLY)
    serve(runtime, acme, "dev-1", age_h=1.9)
    assert standing(runtime) == {("dev-1", "cpu"): "present", ("dev-2", "cpu"): "missing"}
    serve(runtime, acme, "dev-2", age_h=2.1)
    assert standing(runtime) == {("dev-1", "cpu"): "present", ("dev-2", "cpu"): "old"}


def test_a_condition_on_age_is_what_it_is_held_to(runtime: Runtime, acme: str) -> None:
    row = planned(runtime, acme, order=HOURLY, conditions={"age_hours": 24})
    planned(runtime, acme, "when it drifts", order=HOURLY, conditions={"drift": "drifting"})
    serve(runtime, acme, "dev-1", age_h=25.9)
    serve(runtime, acme, "dev-2", age_h=26.1)
    assert [(each.entity, each.state, each.schedule_id) for each in listed(runtime)] == [
        ("dev-2", "old", row.id),
        ("dev-1", "present", row.id),
    ]
    assert listed(runtime, states=["old"])[0].oldest_s == 26 * 3600


def test_without_one_and_of_forecasts_no_age_is_too_old(runtime: Runtime, acme: str) -> None:
    planned(runtime, acme, order=HOURLY, conditions={"new_rows": 7})
    planned(runtime, acme, "daily", order=FORECASTS, kind="predict")
    serve(runtime, acme, "dev-1", age_h=9999)
    serve(runtime, acme, "dev-2", "memory", age_h=9999)
    assert standing(runtime) == {
        ("dev-1", "cpu"): "present",
        ("dev-2", "cpu"): "missing",
        ("dev-1", "memory"): "missing",
        ("dev-2", "memory"): "present",
    }


@pytest.mark.parametrize(
    ("selector", "meant"),
    [
        ({}, {"dev-1", "dev-2"}),
        ({"kind": "device"}, {"dev-1", "dev-2"}),
        ({"has_channel": "cpu"}, {"dev-1", "dev-2"}),
        ({"has_channel": "memory"}, {"dev-3"}),
        ({"attributes": {"site": "north"}}, {"dev-1"}),
        ({"kind": "device", "has_channel": None, "attributes": None}, {"dev-1", "dev-2"}),
    ],
)
def test_a_selector_means_whom_it_means_when_it_fires(runtime: Runtime, acme: str, selector: dict[str, Any], meant: set[str]) -> None:
    with runtime.sessions.begin() as session:
        entities.put(session, acme, "dev-1", attributes={"site": "north", "floor": 3})
        entities.put(session, acme, "hearts", kind="base")
        if selector.get("has_channel") == "memory":
            entities.put(session, acme, "dev-3", channels=[ChannelInfo("memory")])
    planned(runtime, acme, order=HOURLY, selector=selector)
    assert {each.entity for each in listed(runtime)} == meant
    with runtime.sessions() as session:
        assert {each.name for each in entities.select(session, acme, **selector)} == meant


def test_what_is_expected_of_detectors_and_what_is_not_expected(runtime: Runtime, acme: str) -> None:
    planned(runtime, acme, "watch", WatchOrder("dev-1", channels=("cpu",)), "anomaly_train")
    planned(runtime, acme, "look", DetectOrder("dev-1"), "anomaly_detect")
    planned(runtime, acme, "paused", HOURLY, paused=True)
    planned(runtime, acme, "never", TrainOrder("device-metric", ("dev-1",), "cpu", activation="never", batch=True))
    planned(runtime, acme, "hindsight", BacktestOrder("dev-1", "cpu", "device-metric"), "backtest")
    [only] = listed(runtime)
    assert (only.entity, only.kind, only.name, only.state, only.age_s) == ("dev-1", "anomaly", "anomaly", "missing", None)


def test_of_a_joint_recipe_what_an_entity_has(runtime: Runtime, acme: str) -> None:
    with runtime.sessions.begin() as session:
        entities.put(session, acme, "hall", channels=[ChannelInfo("temperature"), ChannelInfo("humidity")])
        entities.put(session, acme, "cellar", channels=[ChannelInfo("humidity")])
    planned(runtime, acme, order=TrainOrder("sensor-climate", ("hall", "cellar"), batch=True))
    assert set(standing(runtime)) == {("hall", "temperature"), ("hall", "humidity"), ("cellar", "humidity")}


def test_tenants_are_told_apart_and_the_dispatcher_counts_all(runtime: Runtime, acme: str) -> None:
    other = owner(runtime, "other")
    devices(runtime, other, "dev-1", "dev-2")
    for tenant_id in (acme, other):
        planned(runtime, tenant_id, order=HOURLY)
        serve(runtime, tenant_id, "dev-1")
    assert [each.tenant for each in listed(runtime, tenant_id=other, states=["missing"])] == ["other"]
    take_stock(runtime)
    held = {labels[0]: value for (metric, labels), value in runtime.meter._levels.items() if metric is metrics.EXPECTED}
    assert held == {"present": 2, "old": 0, "missing": 2}
