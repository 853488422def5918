"""What real workers bring is what the document tells of: specs, progress, results, versions, problems inside jobs."""

from __future__ import annotations

import httpx
import pytest

from tests.support.client import Api, Body, House
from tests.support.contract import Contract
from tests.support.real import devices, people

RECIPE = {"recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 3}}


@pytest.fixture(scope="module")
def contract(house: House) -> Contract:
    return Contract(httpx.get(f"{house.url}/openapi.json").json())


def read(contract: Contract, api: Api, operation_id: str, path: str) -> Body:
    """Read something, and compare it with what the document says of it."""
    answer = api.http.get(path)
    operation, status = contract.operations[operation_id], str(answer.status_code)
    assert status in operation.told["responses"], answer.text
    media_type = answer.headers["Content-Type"].partition(";")[0]
    wrong = contract.faults(contract.place(operation, status, media_type), answer.json())
    assert not wrong, (path, wrong)
    found: Body = answer.json()
    return found


def test_a_training_a_forecast_and_a_what_if(api: Api, contract: Contract) -> None:
    name, channels = next(iter(devices().items()))
    entity = f"told-{name.replace('/', '-')}"
    api.send(entity, channels)
    trained = api.done("/models/train", {"entity": entity, **RECIPE})
    asked = {"entity": entity, "target": "system.cpuUsage"}
    change = {"channel": "system.cpuUsage", "op": "multiply", "value": 10, "steps": {"last": 5}}
    forecast = api.done("/predict", asked)
    compared = api.done("/predict/what-if", asked | {"scenarios": [{"name": "busy", "changes": [change]}]})
    for job in (trained, forecast, compared):
        read(contract, api, "get_job", f"/jobs/{job['id']}")
        read(contract, api, "get_result", f"/jobs/{job['id']}/result")
    model = read(contract, api, "list_models", f"/models?entity={entity}")["data"][0]["id"]
    read(contract, api, "get_model", f"/models/{model}")
    read(contract, api, "list_versions", f"/models/{model}/versions")
    assert api.http.post("/predict", json=asked).json()["result"]["forecast"]["cached"] is True
    assert read(contract, api, "get_forecast", f"/entities/{entity}/forecasts/system.cpuUsage")["cached"] is True


def test_a_batch_whose_items_fail_in_their_own_ways(api: Api, contract: Contract) -> None:
    flat = [(f"2026-01-{day:02}T00:00:00Z", 1.0) for day in range(1, 32)]
    api.send("told-poor", people()["poor"])
    api.send("told-flat", {"hrv_rmssd": flat + [(f"2026-02-{day:02}T00:00:00Z", 1.0) for day in range(1, 28)]})
    body = {"entities": ["told-poor", "told-flat"], "recipe": "health-daily", "target": "hrv_rmssd", "spec": {"epochs": 2}}
    batch = api.wait(api.submit("/models/train", body))
    read(contract, api, "get_job", f"/jobs/{batch['id']}")
    read(contract, api, "get_result", f"/jobs/{batch['id']}/result")
    items = read(contract, api, "list_items", f"/jobs/{batch['id']}/items")["data"]
    assert {item["error"]["code"] for item in items} == {"insufficient_data", "flatline_detected"}
    for item in items:
        read(contract, api, "get_result", f"/jobs/{item['id']}/result")
