"""Counting together: every count arrives once, whatever happens to Redis on the way; who dies is not told alive."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

import db.meter
from db.breaker import Breaker, make_redis
from db.meter import ALIVE, CARDS, COUNTS, Meter
from db.readings import Metric
from tests.support.servers import empty_redis

HITS = Metric("t_hits_total", "counter", "Hits.", {"kind": ("a", "b")})
TIMES = Metric("t_seconds", "histogram", "Times.", buckets=(0.1, 1.0, 10.0))
ROUTES = Metric("t_routes_total", "counter", "Routes.", {"route": None})
SUM = Metric("t_sum", "gauge", "Added up.", {"role": ("web", "worker")})
MOST = Metric("t_most", "gauge", "The greatest.", together="max")
CATALOGUE = (HITS, TIMES, ROUTES, SUM, MOST)


class Shaky(redis.Connection):
    """A connection that can break before a command has left, or after it has and before the answer is there."""

    breaks: Literal["sending", "answering"] | None = None

    def send_packed_command(self, *args: Any, **about: Any) -> None:
        if Shaky.breaks == "sending":
            raise redis.ConnectionError("broken on the way out")
        super().send_packed_command(*args, **about)

    def read_response(self, *args: Any, **about: Any) -> Any:
        if Shaky.breaks == "answering":
            raise redis.TimeoutError("broken on the way back")
        return super().read_response(*args, **about)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with make_redis(redis_url, timeout_s=2) as client:
        yield client


def meter(url: str) -> Meter:
    return Meter(make_redis(url, timeout_s=2), CATALOGUE, Breaker(rest_s=0))


def shaky(url: str) -> Meter:
    pool = redis.ConnectionPool.from_url(url, connection_class=Shaky, retry=Retry(NoBackoff(), 0), protocol=2, decode_responses=True)
    return Meter(redis.Redis(connection_pool=pool), CATALOGUE, Breaker(rest_s=0))


def hits(one: Meter) -> dict[str, float]:
    reading = one.read()
    assert reading is not None
    return {kind: total for (kind,), [total] in reading.counted[HITS].items()}


STEP = st.one_of(
    st.tuples(st.just("count"), st.sampled_from("ab"), st.integers(1, 5)),
    st.tuples(st.just("flush"), st.sampled_from([None, "sending", "answering"]), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=20))
def test_every_count_arrives_once(redis_url: str, steps: list[tuple[str, Any, int]]) -> None:
    empty_redis(redis_url)
    one, counted = shaky(redis_url), Counter({"a": 0, "b": 0})
    for what, how, times in steps:
        if what == "count":
            one.count(HITS, how, by=times)
            one.observe(TIMES, times)
            counted[how] += times
        else:
            Shaky.breaks = how
            assert one.flush() or how is not None or not counted.total()
            Shaky.breaks = None
    assert hits(one) == counted
    reading = one.read()
    assert reading is not None
    assert reading.counted[TIMES][()][-1] == counted.total()
    one.close()


def test_processes_add_up(redis_url: str) -> None:
    here = meter(redis_url)
    program = f"""
from db.breaker import make_redis
from db.meter import Meter
from tests.integration.db.test_meter import CATALOGUE, HITS, TIMES
for _ in range(3):
    one = Meter(make_redis({redis_url!r}, 2), CATALOGUE)
    one.count(HITS, "a")
    one.observe(TIMES, 0.5)
    one.close()
"""
    others = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    here.count(HITS, "a")
    here.observe(TIMES, 20.0)
    assert [other.wait(30) for other in others] == [0, 0]
    reading = here.read()
    assert reading is not None
    assert reading.counted[HITS] == {("a",): [7], ("b",): [0]}
    assert reading.counted[TIMES] == {(): [0, 6, 0, 1, 23]}
    assert reading.counted[ROUTES] == {}, "nothing is shown of labels that nobody has counted"
    here.close()


def test_emptied_redis_begins_anew(redis_url: str, client: redis.Redis) -> None:
    one = meter(redis_url)
    one.count(HITS, "a", by=5)
    assert hits(one)["a"] == 5
    client.flushdb()
    one.count(HITS, "a")
    assert hits(one)["a"] == 1
    one.close()


def test_a_field_that_somebody_spoilt_stops_nothing(redis_url: str, client: redis.Redis) -> None:
    one = meter(redis_url)
    client.hset(COUNTS, json.dumps(["t_hits_total", "a", "total"]), "spoilt")
    one.count(HITS, "a")
    one.count(HITS, "b")
    assert one.flush()
    assert client.hget(COUNTS, json.dumps(["t_hits_total", "b", "total"])) == "1"
    one.close()


def test_what_another_release_counts_is_passed_over(redis_url: str) -> None:
    theirs = Metric("t_new_total", "counter", "New.")
    wider = Metric("t_hits_total", "counter", "Hits.", {"kind": ("a", "b"), "state": ("x",)})
    other = Meter(make_redis(redis_url, 2), (theirs, wider))
    other.count(theirs)
    other.count(wider, "a", "x")
    other.close()
    one = meter(redis_url)
    assert hits(one) == {"a": 0, "b": 0}
    one.close()


def test_gauges_of_those_that_live_become_one(redis_url: str) -> None:
    pair = [meter(redis_url), meter(redis_url)]
    for n, one in enumerate(pair):
        one.hold(SUM, 10.0, "web")
        one.hold(MOST, float(n))
        assert one.flush()
    reading = pair[0].read()
    assert reading is not None
    assert reading.held == {SUM: {("web",): 20.0}, MOST: {(): 1.0}}
    pair[1].close()
    reading = pair[0].read()
    assert reading is not None
    assert reading.held == {SUM: {("web",): 10.0}, MOST: {(): 0.0}}, "who goes says so"
    pair[0].close()


def test_who_is_killed_is_told_alive_no_longer(redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.meter, "ALIVE_S", 1)
    killed, other = meter(redis_url), meter(redis_url)
    killed.hold(SUM, 1.0, "web")
    killed.flush()
    time.sleep(2.1)  # Redis counts whole seconds
    reading = other.read()
    assert reading is not None
    assert reading.held == {}
    other.hold(SUM, 1.0, "worker")
    other.flush()
    assert (client.zcard(ALIVE), client.hlen(CARDS)) == (1, 1), "and nothing of it stays behind"
    other.close()


def test_what_others_count_is_followed(redis_url: str) -> None:
    one, ours = meter(redis_url), {"hits": 3, "level": 7}
    one.follow(HITS, lambda: ours["hits"], "a")
    one.follow(MOST, lambda: ours["level"])
    assert hits(one)["a"] == 3
    assert hits(one)["a"] == 3
    ours |= {"hits": 5, "level": 2}
    reading = one.read()
    assert reading is not None
    assert (reading.counted[HITS][("a",)], reading.held[MOST]) == ([5], {(): 2})
    ours["hits"] = 6
    one.close()
    other = meter(redis_url)
    assert hits(other)["a"] == 6, "asked a last time at the end"
    other.close()


def test_it_sends_by_itself(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.meter, "FLUSH_S", 0.05)
    one, other = meter(redis_url), meter(redis_url)
    one.start()
    one.start()
    one.count(HITS, "b")
    deadline = time.monotonic() + 5
    while hits(other)["b"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hits(other)["b"] == 1
    one.close()
    other.close()
