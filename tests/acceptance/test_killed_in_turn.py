"""Jobs, while every process and both servers are killed in turn: each is read to its end, and has happened once."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ops.processes import wait_until
from tests.chaos.book import Book, opened
from tests.chaos.campaign import SCALED, drain, set_up
from tests.chaos.clients import Client, Mix, Order
from tests.chaos.stage import Stage
from tests.chaos.verdict import judge

CLIENTS = 4
#: Seconds between two kills, and in which all is to be over.
BETWEEN_S, PATIENCE_S = 3.0, 600.0
#: Jobs that end between two kills, where nobody has waited for them too long: a slow machine needs its time to rise again.
ENDS, LONGEST_S = 8, 30.0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path / "stage", SCALED) as raised:
        raised.start_all()
        yield raised


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with opened(tmp_path / "clients.jsonl") as empty:
        yield empty


def killers(stage: Stage) -> Iterator[Callable[[], None]]:
    """In turn, over and over: the web process, workers of each kind, both dispatchers, Redis with all it holds, and Postgres."""
    names = ("web-1", "interactive-1", "train-1", "dispatcher-1", "dispatcher-2", "interactive-2", "train-2")
    parts = [partial(stage.kill, stage.parts[name]) for name in names]
    return itertools.cycle([*parts, partial(stage.stop_redis, down_s=0.5), partial(stage.stop_postgres, down_s=0.5)])


def orders(dice: random.Random, count: int) -> Iterator[Order]:
    """Mostly forecasts, and some of everything else that ends by itself."""
    return itertools.islice(Mix(dice, {"predict": 70, "what_if": 10, "detect": 10, "train": 10}), count)


#: The default run has the campaign's minute of all this, and more (chaos/test_campaign.py).
@pytest.mark.slow
@pytest.mark.parametrize(("each", "least"), [(12, 3), (50, 9)], ids=["fifty", "two hundred, and everybody dies"])
def test_each_job_is_read_to_its_end_and_happened_once(stage: Stage, book: Book, each: int, least: int) -> None:
    set_up(stage, book)
    before, told = len(book.jobs), threading.Event()
    clients = [Client(stage.url, stage.key, book, orders(random.Random(n), each), most=10, every_s=0.8, told=told) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    deaths = kill_until(stage, book, lambda: all(client.idle.is_set() for client in clients))
    told.set()
    drain(stage, clients)
    ended = [seen.end for seen in list(book.jobs.values())[before:]]
    assert len(ended) == CLIENTS * each
    assert [end["state"] for end in ended if end is not None] == ["succeeded"] * CLIENTS * each
    assert judge(stage, book, []).red == {}
    assert deaths >= least, "too few had died"


def kill_until(stage: Stage, book: Book, over: Callable[[], bool]) -> int:
    """How many were killed."""
    deadline = time.monotonic() + PATIENCE_S
    for deaths, kill in enumerate(killers(stage)):
        enough = ends(book) + ENDS
        if wait_until(over, BETWEEN_S, pause=0.1) or time.monotonic() > deadline:
            return deaths
        waited = time.monotonic() + LONGEST_S
        while not over() and ends(book) < enough and time.monotonic() < waited:
            time.sleep(0.1)
        kill()
    raise AssertionError("they are killed over and over")


def ends(book: Book) -> int:
    return sum(seen.end is not None for seen in list(book.jobs.values()))
