"""Several targets of one network: one job, a version of each target's model, and forecasts of each."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from db.models import Model, Version
from ml.errors import SpecInvalid
from tasks import submit
from tasks.orders import PredictOrder, TrainOrder
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, tenant, wave, work_off

ORDER = TrainOrder("sensor-climate", ("room",), overrides=SMALL)


def climate(hours: int) -> dict[str, list[float]]:
    """A warm room is a dry one."""
    warm = wave(hours)["cpu"]
    return {"temperature": warm, "humidity": [90 - 2 * degrees for degrees in warm]}


def versions(shop: Workshop) -> dict[str, Version]:
    """By the name of their model."""
    with shop.sessions() as session:
        rows = session.execute(select(Model.name, Version).join(Version, Version.model_id == Model.id))
        return {row.name: row.Version for row in rows}


def test_one_training_publishes_a_version_of_each_targets_model(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "room", climate(300))
    submitted = submit.train(shop.runtime, acme, ORDER)
    assert submitted.job.spec["spec"]["targets"] == ["temperature", "humidity"]
    work_off(shop)
    done = job(shop, acme, submitted.job.id)
    assert done.state == "succeeded", done.error
    assert done.result is not None
    [other] = done.result["others"]
    assert [each["target"] for each in (done.result, other)] == ["temperature", "humidity"]
    assert other.keys() == done.result.keys() - {"others"}

    made = versions(shop)
    assert {name: (v.target, v.semver, v.active, v.job_id) for name, v in made.items()} == {
        "temperature": ("temperature", "1.0.0", True, done.id),
        "humidity": ("humidity", "1.0.0", True, done.id),
    }
    assert [each["model"] for each in (done.result, other)] == [made["temperature"].model_id, made["humidity"].model_id]
    assert made["temperature"].artefact_sha256 != made["humidity"].artefact_sha256


def test_both_are_forecast_alone_and_in_a_batch(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "room", climate(300))
    submit.train(shop.runtime, acme, ORDER)
    work_off(shop)
    both = submit.predict(shop.runtime, acme, PredictOrder(("room",), ("temperature", "humidity"), batch=True)).job.id
    work_off(shop)
    assert job(shop, acme, both).result == {"total": 2, "succeeded": 2, "failed": 0, "cancelled": 0, "has_failures": False}
    warm, damp = (submit.predict(shop.runtime, acme, PredictOrder(("room",), (target,))).forecast for target in ("temperature", "humidity"))
    assert warm is not None
    assert damp is not None
    assert all(15 <= point["value"] <= 26 for point in warm["points"])
    assert all(38 <= point["value"] <= 60 for point in damp["points"])
    assert (warm["served_by"]["model"], damp["served_by"]["model"]) == tuple(
        versions(shop)[name].model_id for name in ("temperature", "humidity")
    )


def test_trained_again_each_counts_for_itself(shop: Workshop) -> None:
    """The lineage of humidity had versions before: of it alone, with the temperature as a covariate."""
    acme = tenant(shop)
    ingest(shop, acme, "room", climate(300))
    alone = submit.train(shop.runtime, acme, TrainOrder("sensor-climate", ("room",), target="humidity", overrides=SMALL))
    assert (alone.job.spec["spec"]["targets"], alone.job.spec["spec"]["covariates"]) == (["humidity"], ["temperature"])
    work_off(shop)
    together = submit.train(shop.runtime, acme, ORDER)
    work_off(shop)
    result = job(shop, acme, together.job.id).result
    assert result is not None
    assert [(each["target"], each["version"]) for each in (result, *result["others"])] == [("temperature", "1.0.0"), ("humidity", "1.1.0")]


def test_a_room_without_one_of_them_is_forecast_without_it(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "room", {"temperature": climate(300)["temperature"]})
    submitted = submit.train(shop.runtime, acme, ORDER)
    assert submitted.job.spec["spec"]["targets"] == ["temperature"]
    work_off(shop)
    result = job(shop, acme, submitted.job.id).result
    assert result is not None
    assert result["others"] == []


def test_one_name_for_several_models_is_refused(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "room", climate(300))
    with pytest.raises(SpecInvalid, match="temperature, humidity"):
        submit.train(shop.runtime, acme, TrainOrder("sensor-climate", ("room",), model="mine", overrides=SMALL))
