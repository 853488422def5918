"""The board never turns back, fades by itself, and costs nobody more than a blink when Redis is away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.board import BURIED_S, Board
from db.breaker import AT_ONCE, Breaker, make_redis
from db.events import EVENTS_KEPT, PLACES, Event, Follower, News, Place, Told, events_key, key
from tests.support import rows
from tests.support.own_redis import own_server


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
    assert board.show("tnt", "job", 1, 0, {}, 15) is None
    assert board.show("tnt", "other", 1, 0, {}, 15) is True


# What is told

START, STATE, END = Place(0, 0), Told("state", {"n": 1}), Told("end", None)


def late(n: int) -> Told:
    return Told("metric", {"n": n}, late=True)


def tell(board: Board, rev: int, seq: int, *told: Told, last: bool = False, ttl_s: float = 60) -> bool | None:
    return board.show("tnt", "job", rev, seq, {"at": [rev, seq]}, 15, News(told, ttl_s, last))


def heard(board: Board, since: Place = START) -> list[Event]:
    found = board.events("tnt", "job", since)
    assert found is not None
    return found


def names(board: Board) -> list[str]:
    return [event.event for event in heard(board)]


def test_a_document_is_told_at_its_own_place(board: Board) -> None:
    tell(board, 1, 0, STATE)
    tell(board, 2, 1, STATE)
    tell(board, 2, 4, late(2), late(3), STATE)
    tell(board, 3, 4, Told("warning", {"code": "gaps"}), END, last=True)
    places = [Place.of(1, 0), Place.of(2, 1), Place.of(2, 4).before(2), Place.of(2, 4).before(), Place.of(2, 4)]
    assert [event.place for event in heard(board)] == [*places, Place.of(3, 4).before(), Place.of(3, 4)]
    assert names(board) == ["state", "state", "metric", "metric", "progress", "warning", "end"]
    assert [event.data for event in heard(board)][-2:] == ['{"code": "gaps"}', ""]


@pytest.mark.parametrize(
    ("held", "offered", "told"),
    [
        ((1, 0), (1, 0), []),
        ((1, 0), (1, 1), ["progress"]),
        ((1, 5), (1, 4), []),
        ((1, 5), (2, 0), ["state"]),
        ((2, 0), (1, 9), []),
        ((9, 0), (10, 0), ["state"]),
        ((10, 0), (9, 99), []),
        ((1, 2**40), (1, 2**40 + 1), ["progress"]),
    ],
)
def test_only_a_newer_document_is_told(
    board: Board, client: redis.Redis, held: tuple[int, int], offered: tuple[int, int], told: list[str]
) -> None:
    tell(board, *held, STATE)
    client.delete(key("tnt", "job"))  # the mirror fades sooner than the events
    tell(board, *offered, STATE)
    assert names(board) == ["state", *told]


def test_what_comes_late_takes_the_next_free_place(board: Board) -> None:
    """Two items of a batch end at once, and each worker counts both."""
    tell(board, 1, 2, late(1))
    tell(board, 1, 2, late(2))
    tell(board, 1, 1, late(3))
    assert [event.place for event in heard(board)] == [Place.of(1, 2), Place(1, 3 * PLACES), Place(1, 3 * PLACES + 1)]
    tell(board, 1, 3, late(4))
    assert heard(board)[-1].place == Place.of(1, 3), "and leaves the order to the counts"


def test_after_the_end_nothing_is_told(board: Board) -> None:
    tell(board, 2, 1, END, last=True)
    for rev, seq, last in ((1, 9, False), (2, 0, True), (2, 1, True)):
        tell(board, rev, seq, late(1), END if last else STATE, last=last)
    assert names(board) == ["end"]


def test_each_names_the_one_before(board: Board, client: redis.Redis) -> None:
    tell(board, 1, 0, STATE)
    tell(board, 2, 3, late(1), STATE)
    first, *others = heard(board)
    assert first.after == START, "a job begins with revision 1"
    assert [event.after for event in others] == [event.place for event in heard(board)][:-1]
    client.flushdb()
    tell(board, 2, 4, STATE)
    tell(board, 2, 5, STATE)
    reborn, other = heard(board)
    assert (reborn.after, other.after) == (reborn.place, reborn.place), "what came before a wipe is not known"


Shown = tuple[int, int, int]
SHOWS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shows=SHOWS)
def test_whatever_is_shown_in_whatever_order_is_told_in_order(board: Board, client: redis.Redis, shows: list[Shown]) -> None:
    """Revision 4 is the last. What may be late is told unless its revision is over; a document is told once, never after a newer."""
    client.delete(key("tnt", "job"), events_key("tnt", "job"))
    top, expected = Place(0, 0), []
    for rev, seq, extra in shows:
        last = rev == 4
        tell(board, rev, seq, *(late(n) for n in range(extra)), END if last else STATE, last=last)
        newer = Place.of(rev, seq) > top
        if newer or (rev == top.rev and not last):
            expected += ["metric"] * extra
        if newer:
            expected.append("end" if last else "progress" if rev == top.rev else "state")
        top = heard(board)[-1].place
    assert names(board) == expected
    places = [event.place for event in heard(board)]
    assert places == sorted(set(places))
    assert board.read("tnt", "job") == {"at": list(max((rev, seq) for rev, seq, _ in shows))}


def test_so_many_are_kept(board: Board) -> None:
    for n in range(0, EVENTS_KEPT + 1000, 200):
        tell(board, 1, n, *(late(i) for i in range(200)))
    assert EVENTS_KEPT <= len(heard(board)) < EVENTS_KEPT + 200
    first = heard(board)[0]
    assert START < first.after < first.place, "it names one that is gone"


def test_events_fade(board: Board, client: redis.Redis) -> None:
    tell(board, 1, 0, STATE, ttl_s=3600)
    assert 3_590_000 < client.pttl(events_key("tnt", "job")) <= 3_600_000
    tell(board, 1, 0, STATE, ttl_s=7200)
    assert client.pttl(events_key("tnt", "job")) > 3_600_000, "a look at the job keeps them alive"
    tell(board, 2, 0, STATE, ttl_s=0.05)
    time.sleep(0.1)
    assert heard(board) == []


def test_events_are_forgotten_with_the_status(board: Board) -> None:
    tell(board, 1, 0, STATE)
    assert board.forget("tnt", ["job"])
    assert (board.read("tnt", "job"), heard(board)) == (None, [])


def test_what_was_buried_is_not_put_up_again(board: Board, client: redis.Redis) -> None:
    tell(board, 1, 0, STATE)
    assert board.bury("tnt", ["job"])
    assert tell(board, 2, 5, late(1), END, last=True) is False
    assert (board.written("tnt", "job"), board.read("tnt", "job"), heard(board)) == (None, None, [])
    assert board.places([("tnt", "job")]) == [None]
    assert not client.exists(events_key("tnt", "job"))
    assert 0 < client.ttl(key("tnt", "job")) <= BURIED_S
    assert board.show("theirs", "job", 1, 0, {}, 15)


def test_a_batch_tells_nothing_of_an_item_that_was_buried(board: Board) -> None:
    board.bury("tnt", ["erased"])
    for n, item in enumerate(("erased", "other")):
        board.show("tnt", "job", 1, n, {"n": n}, 15, News([late(n)], 60, items=[item]))
    assert [event.data for event in heard(board)] == ['{"n": 1}']
    assert board.read("tnt", "job") == {"n": 1}, "the batch goes on"


@pytest.mark.parametrize("count", [0, 1, 2 * AT_ONCE + 1])
def test_many_are_buried(board: Board, client: redis.Redis, count: int) -> None:
    jobs = [f"job_{n}" for n in range(count)]
    for job in jobs:
        board.show("tnt", job, 1, 0, {}, 15)
    client.set(key("tnt", "job_0"), "not a hash")
    assert board.bury("tnt", jobs)
    assert [board.read("tnt", job) for job in jobs] == [None] * count


def test_what_was_buried_fades(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.board.BURIED_S", 1)
    board.bury("tnt", ["job"])
    assert board.show("tnt", "job", 1, 0, {}, 15) is False
    time.sleep(1.1)
    assert board.show("tnt", "job", 1, 0, {}, 15) is True


def test_a_reader_goes_on_where_it_was(board: Board) -> None:
    for seq in range(4):
        tell(board, 1, seq, STATE)
    assert [event.place for event in heard(board, Place.of(1, 2))] == [Place.of(1, 2), Place.of(1, 3)]
    assert heard(board, Place.of(2, 0)) == []
    assert board.events("other", "job", START) == []


def test_where_many_stand_is_asked_at_once(board: Board) -> None:
    tell(board, 2, 5, STATE)
    assert board.places([("tnt", "job"), ("tnt", "other"), ("other", "job")]) == [Place.of(2, 5), None, None]
    assert board.places([]) == []


def test_a_number_that_is_none_is_told_as_null(board: Board) -> None:
    tell(board, 1, 0, Told("metric", {"val_loss": float("nan")}))
    assert heard(board)[0].data == '{"val_loss": null}'


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-b", "1-2-3", " 1-2", "1-2\n", "1e3-4", "١-٢", f"1-{10**16}", f"{10**16}-1"])
def test_ids_that_are_none(text: str) -> None:
    assert Place.read(text) is None


def test_ids_are_read_as_they_are_written() -> None:
    assert Place.read(str(Place.of(3, 2**40))) == Place.of(3, 2**40)


def test_a_follower_hears_of_many_jobs_at_once(board: Board, redis_url: str) -> None:
    with make_redis(redis_url, timeout_s=2) as client:
        follower = Follower(client)
        assert follower.hear({("tnt", "job"): START, ("tnt", "other"): START}) == {}
        tell(board, 1, 0, STATE)
        tell(board, 1, 1, STATE)
        found = follower.hear({("tnt", "job"): Place.of(1, 0), ("tnt", "other"): START})
        assert found is not None
        assert {about: [event.place for event in events] for about, events in found.items()} == {("tnt", "job"): [Place.of(1, 1)]}


def test_a_follower_is_woken(board: Board, redis_url: str) -> None:
    with make_redis(redis_url, timeout_s=2) as client:
        begun = time.monotonic()
        timer = threading.Timer(0.05, tell, [board, 1, 0, STATE])
        timer.start()
        assert Follower(client).hear({("tnt", "job"): START})
        assert time.monotonic() - begun < 0.15
        timer.join()


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
        assert board.events("tnt", "job", START) is None
        assert board.places([("tnt", "job")] * 2) == [None, None]
        assert Follower(client).hear({("tnt", "job"): START}) is None
        assert board.show("tnt", "job", 1, 0, {}, 15) is None
        assert seconds(lambda: [board.read("tnt", "job") for _ in range(1000)]) < 0.2


def test_taking_down_is_tried_also_while_others_rest(client: redis.Redis) -> None:
    breaker = Breaker(rest_s=60)
    board = Board(client, breaker)
    board.show("tnt", "job", 1, 0, {}, 15)
    with make_redis("redis://127.0.0.1:1") as nobody:
        assert Board(nobody, breaker).read("tnt", "job") is None
        assert Board(nobody, breaker).bury("tnt", ["job"]) is False
    assert board.show("tnt", "job", 2, 0, {}, 15) is None, "it rests"
    assert board.bury("tnt", ["job"]) is True
    assert board.show("tnt", "job", 2, 0, {}, 15) is False, "and has found Redis back"


def test_a_closed_port_is_a_miss(black_hole: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"redis://127.0.0.1:{listening.getsockname()[1]}"
    with make_redis(url) as client:
        board = Board(client)
        assert seconds(lambda: board.read("tnt", "job")) < 0.2
        assert board.show("tnt", "job", 1, 0, {}, 15) is None


def test_a_killed_redis_is_a_miss_and_found_again_when_it_is_back() -> None:
    with own_server() as server, make_redis(server.url, timeout_s=1) as client:
        breaker = Breaker(rest_s=0.2)
        board = Board(client, breaker)
        assert board.show("tnt", "job", 1, 0, {"n": 1}, 15)
        server.kill()
        assert seconds(lambda: board.read("tnt", "job")) < 0.2
        assert board.show("tnt", "job", 2, 0, {"n": 2}, 15) is None
        assert breaker.trips == 1
        server.start()
        time.sleep(0.25)
        assert board.show("tnt", "job", 2, 0, {"n": 2}, 15)
        assert board.read("tnt", "job") == {"n": 2}
