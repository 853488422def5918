"""The whole road inside one process: order, row, claim, training, version, forecast, cache; no broker and no HTTP."""

from __future__ import annotations

import math

import pytest

from db import entities, ledger, registry
from db.audit import By
from db.errors import NoActiveVersion
from ml.errors import InsufficientData, SpecInvalid
from tasks import submit
from tasks.jobs import WhatIfJob
from tasks.lease import Lease
from tasks.orders import PredictOrder, TrainOrder
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, tenant, wave, work_off

ORDER = TrainOrder("device-metric", ("dev-1",), target="cpu", overrides=SMALL, look_back_hours=9999)


def test_a_training_ends_in_a_published_active_version(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(400))

    submitted = submit.train(shop.runtime, acme, ORDER)
    assert submitted.job.state == "queued"
    assert work_off(shop) == [submitted.job.id]

    done = job(shop, acme, submitted.job.id)
    assert (done.state, done.error) == ("succeeded", None)
    assert done.result is not None
    assert done.result["version"] == "1.0.0"
    assert done.result["active"] is True
    assert set(done.result["metrics"]) >= {"lstm", "persistence", "seasonal_naive"}
    assert list(shop.settings.model_dir.glob("*/*/manifest.json")), "the artefact is kept"


#: Four hours after sunset of a plant, hour by hour.
NIGHT = [max(0.0, 1_000 * math.sin(2 * math.pi * (hour % 24 - 6) / 24)) * (0.6 + 0.4 * math.sin(hour**2)) for hour in range(383)]
PLANT = TrainOrder("pv-power", ("plant",), overrides=SMALL, look_back_hours=9999)


@pytest.mark.parametrize(("standby", "on_the_floor"), [(0.0, True), (-2.0, False)])
def test_a_plant_is_not_forecast_below_nothing_unless_it_draws_power(shop: Workshop, standby: float, on_the_floor: bool) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "plant", {"P": [max(standby, power) if power else standby for power in NIGHT]})
    submit.train(shop.runtime, acme, PLANT)
    work_off(shop)
    scenario = {"name": "s", "changes": [{"channel": "P", "op": "multiply", "value": 0.5}]}
    single = submit.predict(shop.runtime, acme, PredictOrder(("plant",), ("P",), level=0.99)).job.id
    batch = submit.predict(shop.runtime, acme, PredictOrder(("plant",), ("P",), level=0.98, batch=True)).job.id
    asked = submit.what_if(shop.runtime, acme, WhatIfJob("plant", "P", level=0.99, scenarios=(scenario,))).job.id
    work_off(shop)
    with shop.sessions() as session:
        [item] = ledger.items(session, acme.tenant_id, batch, limit=9)
    results = [item.result, *(job(shop, acme, each).result for each in (single, asked))]
    told = [result["forecast"] if "forecast" in result else result["baseline"] for result in results if result]
    assert len(told) == 3
    for each in (*told, results[2]["scenarios"][0]):  # type: ignore[index]
        assert (min(point["lower"] for point in each["points"]) == 0.0) == on_the_floor
        assert min(point["lower"] for point in each["points"]) <= 0.0


def test_the_second_prediction_is_answered_without_a_job_of_its_own(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(400))
    submit.train(shop.runtime, acme, ORDER)
    work_off(shop)

    order = PredictOrder(("dev-1",), ("cpu",))
    first = submit.predict(shop.runtime, acme, order)
    assert first.forecast is None
    work_off(shop)
    made = job(shop, acme, first.job.id)
    assert made.state == "succeeded", made.error
    assert made.result is not None
    assert len(made.result["forecast"]["points"]) == 3

    second = submit.predict(shop.runtime, acme, order)
    assert second.job.id == first.job.id
    assert second.forecast is not None
    assert second.forecast["cached"] is True
    assert second.forecast["points"] == made.result["forecast"]["points"]

    shop.runtime.memory.flushall()
    third = submit.predict(shop.runtime, acme, order)
    assert third.forecast is not None, "Postgres answers when Redis was wiped"

    ingest(shop, acme, "dev-1", wave(401))
    with shop.sessions.begin() as session:
        entities.put(session, acme.tenant_id, "dev-1", channels=[entities.ChannelInfo("cpu", unit="%")])
    assert submit.predict(shop.runtime, acme, order).forecast is None, "new data makes the old answer unreachable"
    work_off(shop)
    fourth = submit.predict(shop.runtime, acme, order).forecast
    assert fourth is not None
    assert (third.forecast["unit"], fourth["unit"]) == (None, "%")


def test_training_again_bumps_the_patch_and_a_rollback_changes_the_answer_at_once(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(400))
    submit.train(shop.runtime, acme, ORDER)
    work_off(shop)
    ingest(shop, acme, "dev-1", wave(420))
    again = submit.train(shop.runtime, acme, TrainOrder(**{**vars_of(ORDER), "activation": "always"}))
    work_off(shop)
    result = job(shop, acme, again.job.id).result
    assert result is not None
    assert (result["version"], result["active"]) == ("1.0.1", True)

    order = PredictOrder(("dev-1",), ("cpu",))
    submit.predict(shop.runtime, acme, order)
    work_off(shop)
    cached = submit.predict(shop.runtime, acme, order).forecast
    assert cached is not None
    assert cached["served_by"]["version"] == "1.0.1"
    with shop.sessions.begin() as session:
        registry.rollback(session, acme.tenant_id, result["model"], reason="worse on Mondays", by=By("test"))
    assert submit.predict(shop.runtime, acme, order).forecast is None, "the cached answer belongs to 1.0.1"
    work_off(shop)
    rolled = submit.predict(shop.runtime, acme, order).forecast
    assert rolled is not None
    assert rolled["served_by"]["version"] == "1.0.0"


def test_what_if_answers_each_scenario_beside_the_baseline(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(600))
    submit.train(shop.runtime, acme, TrainOrder(**{**vars_of(ORDER), "overrides": {**SMALL, "covariates": ["load"], "epochs": 8}}))
    work_off(shop)
    scenario = {"name": "busier", "changes": [{"channel": "load", "op": "add", "value": 1.0, "steps": {"last": 3}}]}
    asked = submit.what_if(shop.runtime, acme, WhatIfJob("dev-1", "cpu", scenarios=(scenario,)))
    work_off(shop)
    done = job(shop, acme, asked.job.id)
    assert done.state == "succeeded", done.error
    assert done.result is not None
    assert [s["name"] for s in done.result["scenarios"]] == ["busier"]
    assert len(done.result["baseline"]["points"]) == len(done.result["scenarios"][0]["delta"]) == 3


def test_a_batch_trains_and_predicts_every_entity_and_reports_failures_as_items(shop: Workshop) -> None:
    acme = tenant(shop)
    for n in range(3):
        ingest(shop, acme, f"dev-{n}", wave(400, level=10.0 * n + 10))
    ingest(shop, acme, "dev-short", wave(20))
    names = ("dev-0", "dev-1", "dev-2", "dev-short")
    batch = submit.train(shop.runtime, acme, TrainOrder(**{**vars_of(ORDER), "entities": names, "batch": True}))
    assert (batch.job.state, batch.job.children) == ("running", 4)
    work_off(shop)
    done = job(shop, acme, batch.job.id)
    assert done.state == "succeeded"
    assert done.result == {"total": 4, "succeeded": 3, "failed": 1, "cancelled": 0, "has_failures": True}

    asked = submit.predict(shop.runtime, acme, PredictOrder(names, ("cpu",), batch=True))
    work_off(shop)
    assert job(shop, acme, asked.job.id).result == {"total": 4, "succeeded": 3, "failed": 1, "cancelled": 0, "has_failures": True}


def test_a_refusal_says_over_which_hours_it_counted(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(400))
    with pytest.raises(InsufficientData, match=r"of 100 rows.* the 12 hours before the newest row"):
        submit.train(shop.runtime, acme, TrainOrder(**{**vars_of(ORDER), "look_back_hours": 12.0}))


def test_what_can_be_refused_is_refused_before_anything_is_written(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(50))
    with pytest.raises(InsufficientData) as refused:
        submit.train(shop.runtime, acme, ORDER)
    assert {r.name: (r.have, r.need) for r in refused.value.requirements if not r.met} == {"cpu.rows": (50, 100)}
    with pytest.raises(SpecInvalid, match="hidden_size"):
        submit.train(shop.runtime, acme, TrainOrder(**{**vars_of(ORDER), "overrides": {"hidden_size": 7}}))
    with pytest.raises(NoActiveVersion):
        submit.predict(shop.runtime, acme, PredictOrder(("dev-1",), ("cpu",)))
    assert work_off(shop) == []


def vars_of(order: TrainOrder) -> dict[str, object]:
    return {name: getattr(order, name) for name in TrainOrder.__dataclass_fields__}


def test_a_training_stops_in_the_middle_of_an_epoch(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev-1", wave(400))
    submitted = submit.train(shop.runtime, acme, ORDER)
    batches = 0
    told = Lease.alive

    def cancel_after_some(lease: Lease) -> None:
        nonlocal batches
        told(lease)
        batches += 1
        if batches == 3:
            with shop.sessions.begin() as session:
                ledger.cancel(session, acme.tenant_id, submitted.job.id)
            lease._beat()  # the heartbeat, not waited for

    monkeypatch.setattr(Lease, "alive", cancel_after_some)
    work_off(shop)
    assert job(shop, acme, submitted.job.id).state == "cancelled"
    assert batches <= 5, "it went on after it was told"
