"""Plants and devices over HTTP: their recipes, a fleet trained in one batch, and what operators see of it in Flower."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.client import Api, Body, House
from tests.support.real import devices, plant


def test_a_plant_with_three_of_five_channels_forecasts_its_next_step(api: Api) -> None:
    api.send("plant-1", plant())
    job = api.done("/models/train", {"entity": "plant-1", "recipe": "pv-power", "spec": {"epochs": 4, "hidden_size": 32}})
    spec = api.get(f"/models/{job['result']['model']}/versions/1.0.0")["spec"]
    assert (spec["targets"], set(spec["covariates"])) == (["P"], {"Irr", "Temp"})
    made = api.done("/predict", {"entity": "plant-1", "target": "P"})["result"]["forecast"]
    assert (made["horizon"], made["step"]) == (1, "PT15M")


@pytest.fixture(scope="module")
def fleet(api: Api) -> list[str]:
    found = devices()
    for name, channels in found.items():
        api.send(name, channels)
    return list(found)


@pytest.fixture(scope="module")
def batch(api: Api, fleet: list[str]) -> Body:
    order = {"recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 5, "hidden_size": 32}}
    return api.done("/models/train", {**order, "entities": fleet})


def test_a_fleet_is_trained_in_one_batch_and_forecast_in_another(api: Api, fleet: list[str], batch: Body) -> None:
    assert batch["result"] == {"total": 3, "succeeded": 3, "failed": 0, "cancelled": 0, "has_failures": False}
    parent = api.done("/predict/batch", {"entities": fleet, "targets": ["system.cpuUsage"]})
    items = api.get(f"/jobs/{parent['id']}/items")["data"]
    assert {item["entity"] for item in items} == set(fleet)
    for item in items:
        made = item["result"]["forecast"]
        assert (made["horizon"], made["step"]) == (12, "PT5M")
        assert all(p["lower"] <= p["value"] <= p["upper"] for p in made["points"])


def test_flower_names_the_kind_and_the_job_and_nobody(api: Api, house: House, fleet: list[str], batch: Body) -> None:
    items = {item["id"] for item in api.get(f"/jobs/{batch['id']}/items")["data"]}
    auth = (house.flower_user, house.flower_password)
    assert httpx.get(f"{house.flower}/api/tasks").status_code == 401
    # Flower learns of tasks from events, a moment after they happened.
    seen: list[tuple[str, str]] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tasks = httpx.get(f"{house.flower}/api/tasks", auth=auth).json().values()
        seen = [(task["name"], task["args"]) for task in tasks]
        assert not any(name in args for _, args in seen for name in fleet), "what Flower has seen cannot be erased"
        if items & {args for name, args in seen if name == "train"}:
            return
        time.sleep(0.3)
    raise AssertionError(seen)
