"""What ends connections from outside, as a restart of Postgres or an administrator would."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from ops.processes import wait_until

_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE :named"


def cut(engine: Engine, *, named: str = "%") -> None:
    """End every other connection of this test's database, or those of one application. They are gone when this returns:

    a backend dies a moment after it is told to, and until then a connection may pass its check and break in the statement after.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        told = connection.execute(text(f"SELECT pid, pg_terminate_backend(pid) {_OTHERS}"), {"named": named}).scalars().all()
        left = text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:told)")
        assert wait_until(lambda: connection.execute(left, {"told": told}).scalar_one() == 0, 10, pause=0.01)
    # It hangs up a moment after it has left the list. (On another machine its number tells nothing.)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in told), 1, pause=0.01)
