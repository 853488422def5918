"""The breaker, by a clock of its own."""

from __future__ import annotations

import pytest
import redis

from db.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Redis:
    """Counts who asks, and answers as told."""

    asked = 0
    error: Exception | None = None

    def __call__(self) -> str:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Redis:
    return Redis()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(rest_s=1.0, clock=clock)


def test_an_answer_is_passed_on(breaker: Breaker, server: Redis) -> None:
    assert breaker.ask(server, "miss") == "answer"
    assert breaker.trips == 0


@pytest.mark.parametrize("error", [redis.ConnectionError(), redis.TimeoutError(), redis.BusyLoadingError(), redis.AuthenticationError()])
def test_after_a_failure_nobody_asks_for_a_while(breaker: Breaker, server: Redis, clock: Clock, error: Exception) -> None:
    server.error = error
    assert [breaker.ask(server, "miss") for _ in range(5)] == ["miss"] * 5
    assert (server.asked, breaker.trips) == (1, 1)
    clock.now += 0.99
    breaker.ask(server, "miss")
    assert server.asked == 1
    clock.now += 0.01
    breaker.ask(server, "miss")
    assert (server.asked, breaker.trips) == (2, 2)


def test_an_outage_is_remembered_for_a_while(breaker: Breaker, server: Redis, clock: Clock) -> None:
    assert not breaker.tripped(within_s=15)
    server.error = redis.ConnectionError()
    breaker.ask(server, "miss")
    clock.now += 14.9
    assert breaker.tripped(within_s=15)
    clock.now += 0.2
    assert not breaker.tripped(within_s=15)


def test_one_success_opens_the_road_again(breaker: Breaker, server: Redis, clock: Clock) -> None:
    server.error = redis.ConnectionError()
    breaker.ask(server, "miss")
    server.error = None
    assert breaker.ask(server, "miss") == "miss"
    clock.now += 1
    assert [breaker.ask(server, "miss") for _ in range(3)] == ["answer"] * 3


def test_while_one_tries_the_others_rest(breaker: Breaker, server: Redis, clock: Clock) -> None:
    server.error = redis.TimeoutError()
    breaker.ask(server, "miss")
    clock.now += 1
    others: list[str] = []

    def slow() -> str:
        others.append(breaker.ask(server, "miss"))
        return server()

    breaker.ask(slow, "miss")
    assert others == ["miss"]
    assert server.asked == 2


def test_a_refused_command_is_a_miss_and_no_outage(breaker: Breaker, server: Redis) -> None:
    server.error = redis.ResponseError("OOM command not allowed")
    assert [breaker.ask(server, "miss") for _ in range(2)] == ["miss"] * 2
    assert (server.asked, breaker.trips) == (2, 0)


def test_a_mistake_of_ours_is_not_hidden(breaker: Breaker, server: Redis) -> None:
    server.error = KeyError("spec")
    with pytest.raises(KeyError):
        breaker.ask(server, "miss")


def test_while_it_stays_away_it_is_asked_less_and_less_often(breaker: Breaker, server: Redis, clock: Clock) -> None:
    server.error = redis.ConnectionError()
    asked = []
    for quarter in range(80):
        clock.now = 100 + quarter / 4
        before = server.asked
        breaker.ask(server, "miss")
        asked += [clock.now - 100] * (server.asked - before)
    assert asked == [0, 1, 3, 7, 11, 15, 19]
    server.error = None
    clock.now += 4
    assert breaker.ask(server, "miss") == "answer"
    server.error = redis.ConnectionError()
    breaker.ask(server, "miss")
    clock.now += 1.01
    before = server.asked
    breaker.ask(server, "miss")
    assert server.asked == before + 1, "after an answer the first rest is short again"
