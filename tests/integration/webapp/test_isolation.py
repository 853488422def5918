"""Another tenant's things do not exist: every route, every id, and 404 each time."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.web import Caller, House, days

BODIES: dict[str, Any] = {
    "/models/{model_id}/activate": {"version": "1.0.0"},
    "/models/train": {"entity": "u", "recipe": "health-daily"},
    "/predict": {"entity": "u", "target": "rhr"},
    "/predict/batch": {"entities": ["u"], "targets": ["rhr"]},
    "/predict/what-if": {
        "entity": "u",
        "target": "rhr",
        "scenarios": [{"name": "s", "changes": [{"channel": "rhr", "op": "set", "value": 1}]}],
    },
}
QUERIES = {"/entities/{entity}/readiness": "?recipe=health-daily"}
#: Making an entity of the same name is everyone's right.
OWN = {("put", "/entities/{entity}"), ("post", "/entities/{entity}/observations")}
LISTS = ("/entities", "/models", "/jobs")


@pytest.fixture
def ids(house: House, trained: Caller) -> dict[str, str]:
    """One of everything, of the tenant `mine`."""
    batch = trained.post("/predict/batch", {"entities": ["u"], "targets": ["rhr"]}).json["id"]
    house.forecast(trained, trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"])
    model = trained.get("/models").json["data"][0]["id"]
    return {"entity": "u", "target": "rhr", "model_id": model, "semver": "1.0.0", "job_id": batch}


def routes(caller: Caller) -> list[tuple[str, str]]:
    paths = caller.client.get("/openapi.json").json["paths"]
    return [
        (method, path.removeprefix("/api/v1"))
        for path, item in paths.items()
        if path.startswith("/api/v1")
        for method in item
        if method in ("get", "put", "post", "delete")
    ]


def test_every_route_with_every_id_of_another_tenant(house: House, trained: Caller, other: Caller, ids: dict[str, str]) -> None:
    asked = [route for route in routes(other) if route not in OWN and ("{" in route[1] or route[1] in BODIES)]
    assert len(asked) >= 20
    for method, path in asked:
        concrete = re.sub(r"{(\w+)}", lambda found: ids[found[1]], path) + QUERIES.get(path, "")
        answer = other.call(method.upper(), concrete, BODIES.get(path))
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json"), (method, path, answer.text)
        assert answer.json["code"].endswith("_not_found"), (method, path)
    # Nothing of it was touched.
    assert trained.get(f"/models/{ids['model_id']}").json["active_version"]["version"] == "1.0.0"
    assert trained.get(f"/jobs/{ids['job_id']}").json["state"] == "running"
    assert trained.get("/entities/u/forecasts/rhr").status_code == 200


def test_lists_show_only_ones_own(other: Caller, ids: dict[str, str]) -> None:
    for path in LISTS:
        assert other.get(path).json == {"data": [], "next_cursor": None}


def test_ids_of_parts_of_another_tenants_things(house: House, trained: Caller, other: Caller, ids: dict[str, str]) -> None:
    """Of every job, also of items and of those that Redis mirrors."""
    [item] = trained.get(f"/jobs/{ids['job_id']}/items").json["data"]
    for job in (*[j["id"] for j in trained.get("/jobs").json["data"]], item["id"]):
        assert trained.get(f"/jobs/{job}").status_code == 200
        assert other.get(f"/jobs/{job}").status_code == 404
        assert other.get(f"/jobs/{job}?wait=1").status_code == 404
        assert other.get(f"/jobs/{job}/result").status_code == 404


def test_the_same_name_is_another_entity(trained: Caller, other: Caller) -> None:
    other.post("/entities/u/observations", {"observations": days(1, "hrv")})
    assert [c["name"] for c in other.get("/entities/u").json["channels"]] == ["hrv"]
    assert [c["name"] for c in trained.get("/entities/u").json["channels"]] == ["rhr"]
    assert other.delete("/entities/u").status_code == 204
    assert trained.get("/entities/u").status_code == 200


def test_an_idempotency_key_is_ones_own(ready: Caller, other: Caller) -> None:
    other.post("/entities/u/observations", {"observations": days(60)})
    body, key = {"entity": "u", "recipe": "health-daily"}, {"Idempotency-Key": "k"}
    mine, theirs = (caller.post("/models/train", body, headers=key) for caller in (ready, other))
    assert mine.json["id"] != theirs.json["id"]
    assert "Idempotent-Replayed" not in theirs.headers
    assert theirs.json["deduplicated"] is False


def test_a_cursor_of_another_tenant_shows_only_ones_own(trained: Caller, other: Caller) -> None:
    for number in range(3):
        trained.put(f"/entities/x{number}")
    cursor = trained.get("/entities?limit=1").json["next_cursor"]
    assert other.get(f"/entities?cursor={cursor}").json["data"] == []
