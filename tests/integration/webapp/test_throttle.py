"""How many requests a minute a tenant may send: counted together, and not counted wrongly when Redis is away."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from db.breaker import make_redis
from tasks.settings import Settings
from tests.support.rows import at_once
from tests.support.web import Caller, House, make_house, make_runtime
from webapp import throttle
from webapp.throttle import Throttle

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def narrow(engine: Engine, redis_url: str) -> House:
    return make_house(make_runtime(engine, redis_url, rate_limit_per_minute=20))


def codes(caller: Caller, times: int) -> Counter[int]:
    return Counter(caller.get("/jobs").status_code for _ in range(times))


def test_the_twenty_first_is_too_many(narrow: House) -> None:
    me = narrow.caller("mine")
    assert codes(me, 20) == {200: 20}
    refused = me.get("/jobs")
    assert (refused.status_code, refused.json["code"], refused.json["retryable"]) == (429, "rate_limited", True)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Policy"] == '"tenant";q=20;w=60'
    assert refused.headers["RateLimit"] == f'"tenant";r=0;t={refused.headers["Retry-After"]}'


def test_tenants_do_not_use_up_each_others(narrow: House) -> None:
    assert codes(narrow.caller("mine"), 25) == {200: 20, 429: 5}
    assert codes(narrow.caller("another"), 20) == {200: 20}


def test_keys_of_a_tenant_and_processes_are_counted_together(narrow: House, engine: Engine, redis_url: str) -> None:
    other_process = make_house(make_runtime(engine, redis_url, rate_limit_per_minute=20))
    assert codes(narrow.caller("mine"), 12) == {200: 12}
    assert codes(other_process.caller("mine"), 12) == {200: 8, 429: 4}


def test_what_is_refused_changes_nothing(narrow: House) -> None:
    me = narrow.caller("mine")
    codes(me, 20)
    assert me.put("/entities/late").status_code == 429
    assert narrow.caller("mine").get("/entities/late").status_code == 429


def test_whoever_has_no_key_is_told_so(narrow: House) -> None:
    anybody = narrow.app.test_client()
    assert {anybody.get("/api/v1/jobs").status_code for _ in range(30)} == {401}
    assert anybody.get("/healthz").status_code == 200


def test_without_redis_each_process_counts_for_itself(engine: Engine) -> None:
    alone = make_house(make_runtime(engine, NOBODY, rate_limit_per_minute=20))
    assert codes(alone.caller("mine"), 25) == {200: 20, 429: 5}


def test_most_requests_need_no_word_with_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    wide = Throttle(replace(Settings(), redis_url=redis_url, rate_limit_per_minute=60_000))
    take = wide._window.take
    monkeypatch.setattr(wide._window, "take", lambda tenant, block=1: counted.append(block) or take(tenant, block))
    for _ in range(1000):
        wide.admit("tnt")
    assert counted[:4] == [1, 2, 4, 8]
    assert max(counted) == 60_000 * throttle.BLOCK_S / throttle.WINDOW_S
    assert len(counted) < 30
    assert taken(redis_url) == sum(counted)


def test_many_at_once_take_no_more_than_they_use(redis_url: str) -> None:
    wide = Throttle(replace(Settings(), redis_url=redis_url, rate_limit_per_minute=60_000))
    for _ in range(5):
        at_once(*[lambda: wide.admit("tnt")] * 50)
    assert 250 <= taken(redis_url) < 500


def test_a_process_that_serves_little_takes_little(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "HELD_S", 0.01)
    wide = Throttle(replace(Settings(), redis_url=redis_url, rate_limit_per_minute=60_000))
    for _ in range(20):
        wide.admit("tnt")
        time.sleep(0.015)
    assert taken(redis_url) == 20


def taken(redis_url: str) -> int:
    with make_redis(redis_url) as client:
        return sum(int(str(client.get(name))) for name in client.keys("fleetcast:rate*"))


def test_zero_is_no_limit(engine: Engine, redis_url: str) -> None:
    assert codes(make_house(make_runtime(engine, redis_url, rate_limit_per_minute=0)).caller("mine"), 50) == {200: 50}
