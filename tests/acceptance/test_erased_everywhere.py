"""An erased entity is nowhere: every table, all of Redis, every artefact, every log and what Flower keeps are searched for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import redis
from psycopg import sql
from sqlalchemy import make_url

from tests.support.client import Api, House
from tests.support.leaks import files, kept_in_redis

NAME = "erase-me-7f3a9c21"
#: Values that nobody else has, and that no sum or scaling brings about by itself.
VALUE = 73_519.284_613
MARKS = (NAME, "73519.284613", "7351928.4613")
ORDER = {"entity": NAME, "recipe": "device-metric", "target": "cpu", "spec": {"epochs": 1, "hidden_size": 8}, "metadata": {"who": NAME}}


def lives(api: Api) -> dict[str, str]:
    """Leaves something of the entity wherever there is a place for it. Ids of jobs that tell of it."""
    hour = "2026-09-{:02}T{:02}:00:00Z".format
    rows = [(hour(1 + n // 24, n % 24), VALUE if n % 7 == 0 else 100.0 + n % 5) for n in range(200)]
    api.send(NAME, {"cpu": rows, "cpu_usage": rows})
    api.ok(api.http.put(f"/entities/{NAME}", json={"kind": "device", "attributes": {"serial": NAME}}))
    api.ok(api.post("/webhooks", {"url": "https://nowhere.example/", "types": ["job.succeeded", "model.activated"]}))
    keyed = {"Idempotency-Key": f"train {NAME}"}
    trained = api.wait(api.ok(api.post("/models/train", ORDER, **keyed)))
    assert trained["state"] == "succeeded", trained["error"]
    ask = {"entity": NAME, "target": "cpu"}
    change = {"channel": "cpu", "op": "set", "value": VALUE, "steps": {"last": 1}}
    made = {
        "trained": trained,
        "forecast": api.done("/predict", ask),
        "batch": api.done("/predict/batch", {"entities": [NAME], "targets": ["cpu"]}),
        "what_if": api.done("/predict/what-if", ask | {"scenarios": [{"name": NAME, "changes": [change]}]}),
        "watched": api.done("/anomalies/train", {"entity": NAME}),
        "judged": api.done("/anomalies/detect", {"entity": NAME, "hours": 200}),
    }
    failed = api.wait(api.submit("/models/train", {"entities": [NAME], "recipe": "device-metric", "target": "nothing"}))
    assert failed["state"] == "failed"
    return {name: job["id"] for name, job in (made | {"failed": failed}).items()}


def in_postgres(house: House) -> Iterator[tuple[str, bytes]]:
    url = make_url(house.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            whole = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} AS t").format(sql.Identifier(table))
            [(text,)] = connection.execute(whole).fetchall()
            yield f"table {table}", text.encode()


def in_redis(house: House) -> Iterator[tuple[str, bytes]]:
    with redis.Redis.from_url(house.redis_url) as client:
        yield from kept_in_redis(client)


def on_disk(house: House) -> Iterator[tuple[str, bytes]]:
    """Artefacts, logs, what Flower keeps. (Postgres' own files keep what was deleted until it is overwritten.)"""
    folder = Path(house.folder)
    for path in files(folder):
        if path.relative_to(folder).parts[0] in ("models", "logs", "flower-state"):
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def in_flower(house: House) -> Iterator[tuple[str, bytes]]:
    with httpx.Client(base_url=house.flower, auth=(house.flower_user, house.flower_password), timeout=30) as flower:
        yield "flower", flower.get("/api/tasks").content


STORES: dict[str, Callable[[House], Iterator[tuple[str, bytes]]]] = {
    "postgres": in_postgres,
    "redis": in_redis,
    "disk": on_disk,
    "flower": in_flower,
}


def found(house: House) -> dict[str, list[str]]:
    """Where any of the marks stands, by store."""
    return {store: [place for place, content in look(house) if told(content)] for store, look in STORES.items()}


def told(content: bytes) -> bool:
    return any(mark.encode() in content for mark in MARKS)


def age_artefacts(house: House) -> None:
    """As if they had been made some minutes ago."""
    then = time.time() - 600
    for folder in (Path(house.folder) / "models").glob("??/*"):
        os.utime(folder, (then, then))


def test_an_erased_entity_is_nowhere(house: House, api: Api) -> None:
    jobs = lives(api)
    before = found(house)
    assert len(before["postgres"]) > 5, before
    assert before["redis"], "its jobs are mirrored, its forecast is cached"
    assert any(place.startswith("models/") for place in before["disk"])
    assert not any(place.startswith("logs/") for place in before["disk"]), "names are people's data, and belong in no log"
    assert before["flower"] == [], "it knows jobs by their ids"
    age_artefacts(house)

    erased = api.http.delete(f"/entities/{NAME}", headers={"X-Request-Id": "please-forget"})
    assert erased.status_code == 204, erased.text
    here = erased.headers["Location"].removeprefix("/api/v1")
    deadline = time.monotonic() + 60
    while (receipt := api.get(here))["done_at"] is None:
        assert time.monotonic() < deadline, receipt
        time.sleep(0.3)
    assert found(house) == {store: [] for store in STORES}

    assert receipt["request_id"] == "please-forget"
    left = receipt["erased"]
    assert (left["entities"], left["channels"], left["observations"]) == (1, 2, 400)
    assert left["idempotency_keys"] == 1
    assert min(left[name] for name in ("models", "versions", "activations", "forecasts", "deliveries", "artefacts")) >= 1
    for job in jobs.values():
        assert not told(str(api.get(f"/jobs/{job}")).encode())
