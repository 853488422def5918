"""Bringing Postgres to the schema this code was written for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

FOLDER = Path(__file__).resolve().parent.parent / "alembic"
#: Held while migrating, so that several starting processes do it once. Any constant unique within the database will do.
LOCK = 0x666C656574


def config() -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return settings


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up, in one transaction, one process at a time."""
    _run(engine, revision, command.upgrade)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down; `base` removes everything."""
    _run(engine, revision, command.downgrade)


def at_head(engine: Engine) -> bool:
    """Whether the database has every migration this code knows."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == ScriptDirectory.from_config(config()).get_current_head()


def _run(engine: Engine, revision: str, direction: Callable[[Config, str], None]) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        settings = config()
        settings.attributes["connection"] = connection
        direction(settings, revision)
