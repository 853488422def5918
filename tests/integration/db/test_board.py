"""The board never turns back, fades by itself, and costs nobody more than a blink when Redis is away."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.board import Board, Breaker, key, make_redis
from ops.valkey import find_program
from tests.support import rows


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with make_redis(redis_url, timeout_s=2) as client:
        yield client


@pytest.fixture
def board(client: redis.Redis) -> Board:
    return Board(client)


def test_what_is_shown_is_read(board: Board) -> None:
    assert board.read("tnt", "job") is None
    body = {"state": "running", "progress": {"fraction": 0.5}, "name": "Zoë"}
    assert board.show("tnt", "job", 1, 0, body, 15)
    assert board.read("tnt", "job") == body


def test_tenants_and_jobs_stay_apart(board: Board) -> None:
    board.show("ours", "job", 1, 0, {"n": 1}, 15)
    assert board.read("theirs", "job") is None
    assert board.read("ours", "other") is None


@pytest.mark.parametrize(
    ("held", "offered", "taken"),
    [
        ((1, 0), (1, 1), True),
        ((1, 0), (2, 0), True),
        ((1, 9), (2, 0), True),
        ((9, 0), (10, 0), True),
        ((1, 1), (1, 1), False),
        ((1, 1), (1, 0), False),
        ((2, 0), (1, 9), False),
        ((10, 0), (9, 99), False),
    ],
)
def test_only_the_newer_is_taken(board: Board, held: tuple[int, int], offered: tuple[int, int], taken: bool) -> None:
    board.show("tnt", "job", *held, {"at": list(held)}, 15)
    assert board.show("tnt", "job", *offered, {"at": list(offered)}, 15) is taken
    assert board.read("tnt", "job") == {"at": list(offered if taken else held)}


STATES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 2**40)), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=STATES)
def test_in_any_order_the_newest_stays(board: Board, client: redis.Redis, states: list[tuple[int, int]]) -> None:
    client.delete(key("tnt", "job"))
    for rev, seq in states:
        board.show("tnt", "job", rev, seq, {"at": [rev, seq]}, 15)
    assert board.read("tnt", "job") == {"at": list(max(states))}


def test_writers_at_once_leave_the_newest(board: Board) -> None:
    rows.at_once(*[lambda seq=seq: board.show("tnt", "job", 1, seq, {"seq": seq}, 15) for seq in range(20)])
    assert board.read("tnt", "job") == {"seq": 19}


def test_a_status_fades(board: Board, client: redis.Redis) -> None:
    board.show("tnt", "job", 1, 0, {}, 0.15)
    assert 0 < client.pttl(key("tnt", "job")) <= 150
    board.show("tnt", "job", 2, 0, {}, 3600)
    assert 3_590_000 < client.pttl(key("tnt", "job")) <= 3_600_000
    board.show("tnt", "other", 1, 0, {}, 0.05)
    time.sleep(0.1)
    assert board.read("tnt", "other") is None


def test_a_wiped_redis_is_filled_again(board: Board, client: redis.Redis) -> None:
    board.show("tnt", "job", 5, 0, {"n": 1}, 15)
    client.flushdb()
    client.script_flush()
    assert board.read("tnt", "job") is None
    assert board.show("tnt", "job", 1, 0, {"n": 2}, 15)
    assert board.read("tnt", "job") == {"n": 2}


def test_a_key_of_another_type_is_a_miss_and_no_outage(board: Board, client: redis.Redis) -> None:
    client.set(key("tnt", "job"), "not a hash")
    assert board.read("tnt", "job") is None
    assert board.show("tnt", "job", 1, 0, {}, 15) is False
    assert board.show("tnt", "other", 1, 0, {}, 15) is True


# Redis away


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/4"


def test_a_black_hole_costs_one_blink_then_nothing(black_hole: str) -> None:
    with make_redis(black_hole) as client:
        board = Board(client)
        assert seconds(lambda: board.read("tnt", "job")) < 0.2
        assert board.read("tnt", "job") is None
        assert board.show("tnt", "job", 1, 0, {}, 15) is False
        assert seconds(lambda: [board.read("tnt", "job") for _ in range(1000)]) < 0.2


def test_a_closed_port_is_a_miss(black_hole: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"redis://127.0.0.1:{listening.getsockname()[1]}"
    with make_redis(url) as client:
        board = Board(client)
        assert seconds(lambda: board.read("tnt", "job")) < 0.2
        assert board.show("tnt", "job", 1, 0, {}, 15) is False


class OwnServer:
    """A Redis of the test's own, to be killed."""

    def __init__(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            self.port: int = listening.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [find_program().path, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with make_redis(self.url, timeout_s=1) as client:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    server = OwnServer()
    server.start()
    yield server
    server.kill()


def test_a_killed_redis_is_a_miss_and_found_again_when_it_is_back(own_server: OwnServer) -> None:
    with make_redis(own_server.url, timeout_s=1) as client:
        breaker = Breaker(rest_s=0.2)
        board = Board(client, breaker)
        assert board.show("tnt", "job", 1, 0, {"n": 1}, 15)
        own_server.kill()
        assert seconds(lambda: board.read("tnt", "job")) < 0.2
        assert board.show("tnt", "job", 2, 0, {"n": 2}, 15) is False
        assert breaker.trips == 1
        own_server.start()
        time.sleep(0.25)
        assert board.show("tnt", "job", 2, 0, {"n": 2}, 15)
        assert board.read("tnt", "job") == {"n": 2}
