"""Bringing Postgres to the schema this code was written for, beside processes of this release and of the one before.

Each migration is a transaction of its own and waits for a lock only for a moment: whoever asks for a table after it waits behind it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db.errors import MigrationBlocked

FOLDER = Path(__file__).resolve().parent.parent / "alembic"
#: Held while migrating, so that several starting processes do it once. Any constant unique within the database will do.
LOCK = 0x666C656574
#: Longest that a migration, and with it every statement that comes after it, waits for the statements before it.
LOCK_TIMEOUT_S = 1.0
#: How often a migration is begun, and the longest pause after one that gave up: a backup may hold its locks for minutes.
TRIES, PAUSE_S = 100, 5.0
#: How often somebody looks whether the other has finished migrating.
LOOK_S = 0.2


class Standing(Enum):
    """How the database stands to this code."""

    #: It lacks migrations.
    BEHIND = "behind"
    LEVEL = "level"
    #: A newer release migrated it. What it took away, this one did not use: docs/decisions/0024.
    AHEAD = "ahead"


def config() -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return settings


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up, one process at a time. A database that a newer release migrated is left as it is. Raises MigrationBlocked."""
    with engine.connect() as connection, _alone(connection):
        if _standing(connection) is not Standing.AHEAD:
            _run(connection, revision, command.upgrade)


def missing(engine: Engine) -> list[str]:
    """The migrations that the database lacks, in their order."""
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if _standing(connection) is not Standing.BEHIND:
            return []
    scripts = ScriptDirectory.from_config(config())
    return [script.revision for script in scripts.iterate_revisions("head", found or "base")][::-1]


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down; `base` removes everything. Raises MigrationBlocked."""
    with engine.connect() as connection, _alone(connection):
        _run(connection, revision, command.downgrade)


def standing(engine: Engine) -> Standing:
    with engine.connect() as connection:
        return _standing(connection)


def _standing(connection: Connection) -> Standing:
    scripts = ScriptDirectory.from_config(config())
    found = MigrationContext.configure(connection).get_current_revision()
    if found == scripts.get_current_head():
        return Standing.LEVEL
    return Standing.BEHIND if found is None or found in {script.revision for script in scripts.walk_revisions()} else Standing.AHEAD


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Nobody else migrates meanwhile.

    The lock is asked for again and again, not waited for: who waits inside a statement holds up an index that is made CONCURRENTLY.
    """
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one():
        connection.commit()
        time.sleep(LOOK_S)
    connection.commit()
    try:
        yield
    finally:
        connection.invalidate()  # the lock ends with the session, and so does what `_run` sets


def _run(connection: Connection, revision: str, direction: Callable[[Config, str], None]) -> None:
    """Each try goes on with the migration that gave up; those before it are done."""
    settings = config()
    settings.attributes["connection"] = connection
    connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": f"{LOCK_TIMEOUT_S:g}s"})
    connection.commit()
    for _ in range(TRIES):
        try:
            direction(settings, revision)
            connection.commit()
            return
        except OperationalError as error:
            connection.rollback()
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            time.sleep(random.uniform(0, PAUSE_S))
    raise MigrationBlocked(TRIES)
