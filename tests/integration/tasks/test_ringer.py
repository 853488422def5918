"""The ringer: dispatchers are called after a job stands, once for many, and nobody waits for the call."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine

from db.session import make_engine
from tasks.ringer import Ringer


@pytest.fixture
def listener(engine: Engine) -> Iterator[psycopg.Connection]:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN job_due")
        yield connection


def heard(listener: psycopg.Connection, seconds: float) -> int:
    return len(list(listener.notifies(timeout=seconds)))


def test_a_call_is_heard(engine: Engine, listener: psycopg.Connection) -> None:
    ringer = Ringer(engine)
    ringer.ring()
    assert heard(listener, 0.5) == 1
    ringer.ring()
    assert heard(listener, 0.5) == 1
    ringer.close()


def test_many_calls_at_once_are_few(engine: Engine, listener: psycopg.Connection) -> None:
    ringer = Ringer(engine)
    for _ in range(1000):
        ringer.ring()
    ringer.close()
    assert 1 <= heard(listener, 0.5) < 100


def test_the_last_call_is_made_before_the_end(engine: Engine, listener: psycopg.Connection) -> None:
    ringer = Ringer(engine)
    ringer.ring()
    ringer.close()
    assert heard(listener, 0.5) >= 1


def test_nobody_waits_for_a_postgres_that_is_away() -> None:
    ringer = Ringer(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    begun = time.monotonic()
    ringer.ring()
    assert time.monotonic() - begun < 0.1
    ringer.close()


def test_without_a_call_there_is_no_thread(engine: Engine, listener: psycopg.Connection) -> None:
    Ringer(engine).close()
    assert heard(listener, 0.2) == 0
