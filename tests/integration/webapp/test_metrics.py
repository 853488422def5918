"""The page of metrics over real servers: true, bounded, silent about tenants, and there when a server is not."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine

import webapp.metrics
from db import census, ledger
from db.session import make_engine
from tasks import metrics, status
from tasks.drift import judge_once
from tasks.reconcile import tidy_once
from tests.support.scrape import Samples, scrape
from tests.support.servers import empty_redis
from tests.support.web import Caller, House, days, make_house, make_runtime

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.metrics, "FRESH_S", 0.0)


def look(house: House) -> Samples:
    return scrape(house.app.test_client())


def test_it_needs_no_key(house: House) -> None:
    found = look(house)
    assert (found["fleetcast_postgres_up",], found["fleetcast_redis_up",]) == (1, 1)
    assert found["fleetcast_database_bytes",] > 0
    assert house.app.test_client().get("/api/v1/metrics").status_code in (401, 404)


def test_requests_are_counted_by_route_and_never_by_path(house: House, me: Caller) -> None:
    me.put("/entities/of-a-person")
    for name in ("of-a-person", "somebody-else", "third"):
        me.get(f"/entities/{name}")
    me.client.get("/nowhere/secret-path")
    me.client.open("/healthz", method="INVENT")
    found = look(house)
    entity = next(rule.rule for rule in house.app.url_map.iter_rules() if rule.endpoint == "entities.get_entity")
    assert found["fleetcast_http_requests_total", "GET", entity, "200"] == 1
    assert found["fleetcast_http_requests_total", "GET", entity, "404"] == 2
    assert found["fleetcast_http_request_seconds_count", "GET", entity] == 3
    assert 0 < found["fleetcast_http_request_seconds_sum", "GET", entity] < 30
    assert found["fleetcast_requests_refused_total", "entity_not_found"] == 2
    assert found["fleetcast_http_requests_total", "GET", "none", "404"] == 1
    assert found["fleetcast_http_requests_total", "other", "none", "405"] == 1
    rules = {rule.rule for rule in house.app.url_map.iter_rules()} | {"none"}
    assert {labels[1] for name, *labels in found if name == "fleetcast_http_requests_total"} <= rules


def test_what_is_told_names_no_tenant_entity_or_job(house: House, trained: Caller) -> None:
    trained.post("/entities/a-person/observations", {"observations": days(60, "secret_channel")})
    asked = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]
    trained.get(f"/jobs/{asked}")
    tidy_once(house.runtime)
    page = house.app.test_client().get("/metrics").text
    for private in (trained.tenant_id, "mine", "a-person", "secret_channel", asked, "rhr", trained.key[:12]):
        assert private not in page
    assert not re.search(r"(tnt|job|mdl|ver|prc|req)_[0-9A-Za-z]{10}", page)


def test_jobs_queues_and_leases(house: House, ready: Caller) -> None:
    ready.put("/entities/v")
    ready.post("/entities/v/observations", {"observations": days(60)})
    running, _ = (ready.post("/models/train", {"entity": name, "recipe": "health-daily"}).json["id"] for name in "uv")
    house.claim(running)
    found = look(house)
    assert found["fleetcast_jobs", "train", "queued"] == found["fleetcast_jobs", "train", "running"] == 1
    assert found["fleetcast_queue_jobs", "train", "queued"] == 1
    assert found["fleetcast_queue_jobs", "batch", "queued"] == 0
    assert 0 < found["fleetcast_queue_oldest_due_seconds", "train"] < 60
    assert found["fleetcast_queue_limit_jobs",] == house.runtime.settings.max_queue
    assert 0 <= found["fleetcast_lease_age_seconds",] < 20
    assert found["fleetcast_leases_lapsed",] == 0


def test_what_the_dispatcher_takes_stock_of(house: House, trained: Caller) -> None:
    assert ("fleetcast_versions",) not in look(house), "nobody has looked yet"
    tidy_once(house.runtime)
    found = look(house)
    assert (found["fleetcast_tenants",], found["fleetcast_entities",]) == (1, 1)
    assert (found["fleetcast_versions",], found["fleetcast_artefact_bytes",]) == (1, 1234)
    broken = {name: value for (metric, *labels), value in found.items() if metric == "fleetcast_invariants_broken" for name in labels}
    assert broken == dict.fromkeys(ledger.INVARIANTS, 0)


def test_models_are_counted_by_how_they_stand(house: House, trained: Caller) -> None:
    assert judge_once(house.runtime) == 1
    found = look(house)
    assert [found["fleetcast_models", verdict] for verdict in ("steady", "warning", "drifting", "unknown")] == [0, 0, 0, 1]


def test_looks_into_the_caches(house: House, trained: Caller) -> None:
    job = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]  # there is nothing to look for yet
    house.forecast(trained, job)
    for _ in range(2):  # first from Postgres, which fills the cache again
        assert trained.post("/predict", {"entity": "u", "target": "rhr"}).json["result"]["forecast"]["cached"]
    before = look(house)
    assert [before["fleetcast_cache_lookups_total", "forecast", how] for how in ("hit", "miss")] == [1, 1], (
        "what was never answered is not looked for"
    )
    status.read(house.runtime, trained.tenant_id, job)
    house.runtime.board.forget(trained.tenant_id, [job])
    status.read(house.runtime, trained.tenant_id, job)
    after = look(house)
    rise = [
        after["fleetcast_cache_lookups_total", "status", how] - before["fleetcast_cache_lookups_total", "status", how]
        for how in ("hit", "miss")
    ]
    assert rise == [1, 1]


def test_two_processes_add_up(house: House, engine: Engine, redis_url: str) -> None:
    program = f"""
from db.session import make_engine
from tests.support.web import make_house, make_runtime
house = make_house(make_runtime(make_engine({engine.url.render_as_string(hide_password=False)!r}), {redis_url!r}))
for _ in range(5):
    assert house.app.test_client().get("/healthz").status_code == 200
house.runtime.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    for _ in range(2):
        house.app.test_client().get("/healthz")
    assert look(house)["fleetcast_http_requests_total", "GET", "/healthz", "200"] == 7


def test_roles_that_live(house: House, engine: Engine, redis_url: str) -> None:
    assert look(house)["fleetcast_processes", "train"] == 0, "told also when there is none"
    other = make_runtime(engine, redis_url)
    other.serve(metrics.DISPATCHER)
    try:
        deadline = time.monotonic() + 5
        while not look(house)["fleetcast_processes", "dispatcher"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert look(house)["fleetcast_processes", "dispatcher"] == 1
    finally:
        other.meter.close()
    assert look(house)["fleetcast_processes", "dispatcher"] == 0


def test_without_redis(engine: Engine) -> None:
    house = make_house(make_runtime(engine, NOBODY))
    house.app.test_client().get("/healthz")
    found = look(house)
    assert (found["fleetcast_postgres_up",], found["fleetcast_redis_up",]) == (1, 0)
    assert found["fleetcast_queue_jobs", "train", "queued"] == 0
    assert not any(name.endswith("_total") for name, *_ in found), "half the truth would look like counters set back"


def test_what_was_counted_without_redis_is_told_when_it_is_back(house: House) -> None:
    meter, board = house.runtime.meter, house.runtime.board
    with gone(meter._redis), gone(house.runtime.memory):
        house.app.test_client().get("/healthz")
        assert board.read("tnt", "job") is None
        assert look(house)["fleetcast_redis_up",] == 0
    time.sleep(1.1)  # the meter's breaker rests for a second
    found = look(house)
    assert (found["fleetcast_redis_up",], found["fleetcast_http_requests_total", "GET", "/healthz", "200"]) == (1, 1)
    assert found["fleetcast_redis_breaker_trips_total",] == 1


@contextmanager
def gone(client: Redis) -> Iterator[None]:
    """Its server is not where it was."""
    pool = client.connection_pool
    port = pool.connection_kwargs["port"]
    pool.connection_kwargs["port"] = 1
    pool.reset()
    yield
    pool.connection_kwargs["port"] = port
    pool.reset()


def test_an_emptied_redis_sets_counters_back(house: House, redis_url: str) -> None:
    house.app.test_client().get("/healthz")
    assert look(house)["fleetcast_http_requests_total", "GET", "/healthz", "200"] == 1
    empty_redis(redis_url)
    assert ("fleetcast_http_requests_total", "GET", "/healthz", "200") not in look(house)


def test_without_postgres(redis_url: str) -> None:
    house = make_house(make_runtime(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), redis_url))
    house.app.test_client().get("/healthz")
    begun = time.monotonic()
    found = look(house)
    assert time.monotonic() - begun < 5
    assert (found["fleetcast_postgres_up",], found["fleetcast_redis_up",]) == (0, 1)
    assert found["fleetcast_http_requests_total", "GET", "/healthz", "200"] == 1
    assert ("fleetcast_database_bytes",) not in found


def test_a_storm_of_scrapes_asks_once(engine: Engine, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp.metrics, "FRESH_S", 60.0)
    asked: list[Any] = []
    take = census.take
    monkeypatch.setattr(census, "take", lambda connection: asked.append(1) or take(connection))
    house = make_house(make_runtime(engine, redis_url))
    clients = [threading.Thread(target=lambda: house.app.test_client().get("/metrics")) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(asked) == 1


def test_a_pool_that_is_used_up_does_not_hide_it(engine: Engine, redis_url: str) -> None:
    small = make_engine(engine.url.render_as_string(hide_password=False), connections=2)
    house = make_house(make_runtime(small, redis_url))
    held = [small.connect() for _ in range(2)]
    begun = time.monotonic()
    assert look(house)["fleetcast_postgres_up",] == 1
    assert time.monotonic() - begun < 5
    for connection in held:
        connection.close()
    small.dispose()


def test_cancels_are_counted_once_and_by_what_they_ended(house: House, me: Caller) -> None:
    names = ["a", "b", "c"]
    for name in names:
        me.post(f"/entities/{name}/observations", {"observations": days(60)})
    batch = me.post("/models/train", {"entities": names, "recipe": "health-daily"}).json["id"]
    alone = me.post("/models/train", {"entity": "a", "recipe": "health-daily", "spec": {"seed": 3}}).json["id"]
    for job in (batch, alone, alone, batch):
        assert me.post(f"/jobs/{job}/cancel").json["state"] == "cancelled"
    assert look(house)["fleetcast_jobs_ended_total", "train", "cancelled"] == 4
