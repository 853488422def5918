"""The forecast cache gives back what it was given, for the very same question only, and fades."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from db.board import Board
from db.breaker import AT_ONCE, Breaker, make_redis
from db.cache import DAY_S, FORGOTTEN_S, ForecastCache, key
from db.forecasts import Question

ASKED = Question("ver_1", "rhr", data_rev=3, horizon=7, level=0.9)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with make_redis(redis_url, timeout_s=2) as client:
        yield client


@pytest.fixture
def cache(client: redis.Redis) -> ForecastCache:
    return ForecastCache(client)


def test_an_answer_is_given_again(cache: ForecastCache) -> None:
    assert cache.get("tnt", ASKED) is None
    assert cache.put("tnt", ASKED, {"points": [58.25], "unit": "°C"})
    assert cache.get("tnt", ASKED) == {"points": [58.25], "unit": "°C"}
    assert (cache.hits, cache.misses) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, version_id="ver_2"),
        replace(ASKED, target="hrv"),
        replace(ASKED, data_rev=4),
        replace(ASKED, horizon=1),
        replace(ASKED, level=0.95),
    ],
)
def test_another_question_has_no_answer(cache: ForecastCache, other: Question) -> None:
    cache.put("tnt", ASKED, {})
    assert cache.get("tnt", other) is None
    assert cache.get("theirs", ASKED) is None


def test_answers_fade(cache: ForecastCache, client: redis.Redis) -> None:
    cache.put("tnt", ASKED, {})
    assert (DAY_S - 10) * 1000 < client.pttl(key("tnt", ASKED)) <= DAY_S * 1000
    cache.put("tnt", ASKED, {}, ttl_s=0.05)
    time.sleep(0.1)
    assert cache.get("tnt", ASKED) is None


def test_answers_are_forgotten_on_request(cache: ForecastCache) -> None:
    other = replace(ASKED, target="hrv")
    for question in (ASKED, other):
        cache.put("tnt", question, {})
    assert cache.forget("tnt", [ASKED, replace(ASKED, horizon=1)])
    assert cache.get("tnt", ASKED) is None
    assert cache.get("tnt", other) == {}
    assert cache.forget("tnt", [])


def test_what_was_forgotten_is_not_given_again_by_who_comes_late(cache: ForecastCache, client: redis.Redis) -> None:
    assert cache.forget("tnt", [ASKED])
    assert cache.put("tnt", ASKED, {"points": []}) is False
    assert cache.get("tnt", ASKED) is None
    assert cache.put("theirs", ASKED, {})
    assert 0 < client.ttl(key("tnt", ASKED)) <= FORGOTTEN_S


def test_many_answers_are_forgotten(cache: ForecastCache) -> None:
    many = [replace(ASKED, data_rev=n) for n in range(2 * AT_ONCE + 1)]
    for question in many:
        cache.put("tnt", question, {})
    assert cache.forget("tnt", many)
    assert [cache.get("tnt", question) for question in many] == [None] * len(many)


def test_an_outage_found_by_the_board_spares_the_cache() -> None:
    with make_redis("redis://127.0.0.1:1") as client:
        breaker = Breaker(rest_s=60)
        board, cache = Board(client, breaker), ForecastCache(client, breaker)
        assert board.read("tnt", "job") is None
        assert cache.get("tnt", ASKED) is None
        assert cache.put("tnt", ASKED, {}) is False
        assert breaker.trips == 1
        assert cache.forget("tnt", [ASKED]) is False
        assert breaker.trips == 2, "forgetting is tried all the same"
        assert (cache.hits, cache.misses) == (0, 1)
