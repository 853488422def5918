"""What is started against a database of another release: what lacks its migrations refuses to work, what has more of them works."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from db import migrate
from db.session import make_engine
from ops import run
from tests.integration.ops.conftest import Command
from tests.support.servers import Servers, database

AWAY = "postgresql+psycopg://x@127.0.0.1:1/x"
PROCESSES = (("worker", "train"), ("worker", "interactive"), ("dispatcher",))


@pytest.fixture
def other(live: Servers) -> Iterator[str]:
    """A database with the migrations of this release, to be changed."""
    with database(live.database_url) as url:
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        yield url


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processes that would have begun to work."""
    found: list[str] = []

    class Dispatching:
        def __init__(self, _: object) -> None: ...

        def run(self, _: object) -> None:
            found.append("dispatcher")

    monkeypatch.setattr(os, "execve", lambda _, words, __: found.append(words[words.index("-m") + 1]))
    monkeypatch.setattr(run, "Dispatcher", Dispatching)
    return found


def stamp(url: str, revision: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


@pytest.mark.parametrize("words", PROCESSES)
def test_what_lacks_its_migrations_does_not_begin_and_says_what_to_do(
    fleetcast: Command, other: str, began: list[str], words: tuple[str, ...]
) -> None:
    engine = make_engine(other)
    migrate.downgrade(engine, "-1")
    engine.dispose()
    told = fleetcast(*words, DATABASE_URL=other)
    assert (told.exit_code, began) == (1, [])
    assert told.output == "Error: The database lacks migrations of this version. Run `fleetcast migrate`, then start this again.\n"
    assert fleetcast("migrate", DATABASE_URL=other).exit_code == 0
    assert fleetcast(*words, DATABASE_URL=other).exit_code == 0
    assert len(began) == 1


@pytest.mark.parametrize("words", PROCESSES)
def test_on_a_newer_releases_database_it_works(fleetcast: Command, other: str, began: list[str], words: tuple[str, ...]) -> None:
    stamp(other, "9999")
    assert fleetcast(*words, DATABASE_URL=other).exit_code == 0
    assert len(began) == 1


@pytest.mark.parametrize("words", PROCESSES)
def test_a_database_that_is_away_is_waited_for(fleetcast: Command, began: list[str], words: tuple[str, ...]) -> None:
    assert fleetcast(*words, DATABASE_URL=AWAY).exit_code == 0
    assert len(began) == 1


def test_going_back_a_release_leaves_the_database_as_it_is(fleetcast: Command, other: str) -> None:
    stamp(other, "9999")
    told = fleetcast("migrate", DATABASE_URL=other)
    assert (told.exit_code, told.output) == (
        0,
        "A newer version migrated the database; this one runs beside it and leaves it as it is.\n",
    )


def test_a_migration_that_found_no_gap_is_told_in_one_sentence(fleetcast: Command, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(other)
    migrate.downgrade(engine, "-1")
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(migrate, "TRIES", 1)
    with engine.connect() as reader:
        # Every migration writes its number there, whatever else it changes.
        reader.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))
        told = fleetcast("migrate", DATABASE_URL=other)
    engine.dispose()
    assert told.exit_code == 1
    assert told.output.startswith("Error: A migration gave way 1 times to transactions that hold the table it changes.")
