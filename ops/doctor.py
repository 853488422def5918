"""Commands that look: what is wrong and how to mend it, and every setting with its reason."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

import click
import redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from db import ledger, migrate
from db.session import Sessions, make_engine, make_sessions
from ops import children
from ops.house import House, folder_option, place, read
from ops.processes import command_line
from ops.telling import as_json_option, counted, tell_rows
from tasks.environment import load
from tasks.settings import Settings

#: Below so many free bytes a training may fail to store its artefact.
LEAST_FREE = 500 * 2**20
OLDEST_POSTGRES = 15
STANDINGS = {
    migrate.Standing.BEHIND: "behind this version; run `fleetcast migrate`",
    migrate.Standing.LEVEL: "at head",
    migrate.Standing.AHEAD: "those of a newer version, beside which this one runs",
}


@dataclass(frozen=True)
class Finding:
    name: str
    well: bool
    #: What was seen, and when it is not well, how to mend it.
    detail: str


@click.command()
@folder_option
@as_json_option
def doctor_command(folder: Path | None, as_json: bool) -> None:
    """Say what is wrong and how to mend it. Ends with 1 when something is."""
    found = list(examine(load(), place(folder)))
    if as_json:
        tell_rows([vars(finding) for finding in found], "", as_json=True)
    else:
        for finding in found:
            mark = click.style("well", fg="green") if finding.well else click.style("ill ", fg="red")
            click.echo(f"{mark}  {finding.name:<12} {finding.detail}")
    if not all(finding.well for finding in found):
        raise SystemExit(1)


@click.command()
@click.option("--env", "as_env", is_flag=True, help="As a file of variables: this is .env.example.")
@as_json_option
def settings_command(as_env: bool, as_json: bool) -> None:
    """Show every setting: its variable, its default, and why."""
    if as_json:
        tell_rows([_setting(field) for field in fields(Settings)], "", as_json=True)
    else:
        click.echo(settings_env() if as_env else settings_table())


def _setting(field: Field[Any]) -> dict[str, Any]:
    also = list(field.metadata["variables"])
    return {
        "variable": field.name.upper(),
        "also": also,
        "default": field.default,
        "secret": field.metadata["secret"],
        "why": field.metadata["why"],
    }


def settings_table() -> str:
    """The configuration table, in Markdown."""
    rows = ["| variable | default | what for |", "|---|---|---|"]
    for field in fields(Settings):
        also = "".join(f", `{name}`" for name in field.metadata["variables"])
        default = "" if field.default == "" else f"`{field.default}`"
        rows.append(f"| `{field.name.upper()}`{also} | {default} | {field.metadata['why']} |")
    return "\n".join(rows)


def settings_env() -> str:
    """Every variable with its default, to be copied to `.env`. One that is left empty keeps its default."""
    lines = ["# Copy to .env and change what you need. Made by `fleetcast settings --env`."]
    for field in fields(Settings):
        also = "".join(f" Also read: {name}." for name in field.metadata["variables"])
        lines += ["", f"# {field.metadata['why']}{also}", f"{field.name.upper()}={field.default}"]
    return "\n".join(lines)


def examine(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Everything that can be looked at from here. The servers of a running `up` are taken where none are named."""
    house = read(folder)
    database, broker = settings.database_url, settings.redis_url
    if house is not None:
        yield _running(house)
        database, broker = database or house.database_url, broker or house.redis_url
    elif children.orphans(folder):
        left = ", ".join(children.orphans(folder))
        yield Finding("house", False, f"the `up` of {folder} was killed and left {left} behind; end them with `fleetcast down`")
    elif not (database and broker):
        yield Finding("house", False, f"nothing runs from {folder}; start it with `fleetcast up`, or name servers in {_unnamed(settings)}")
    if database:
        yield from _postgres(database)
    if broker:
        yield _look("redis", broker, must_keep=True)
    if settings.cache_url and settings.cache_url != broker:
        yield _look("cache", settings.cache_url, must_keep=False)
    yield _disk(settings.model_dir if settings.model_dir.is_absolute() else folder / settings.model_dir)


def _running(house: House) -> Finding:
    """Its processes are looked at too: one that dies again and again is down most of the time."""
    gone = [name for name, pid in house.pids.items() if not command_line(pid)]
    if gone:
        return Finding("house", False, f"{', '.join(gone)} died and waits to be started again; see {house.folder}/logs/{gone[0]}.log")
    return Finding("house", True, f"runs from {house.folder}: {house.url}")


def _unnamed(settings: Settings) -> str:
    given = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return " and ".join(variable for variable, value in given.items() if not value)


def _postgres(url: str) -> Iterator[Finding]:
    engine = make_engine(url, application="fleetcast-doctor")
    try:
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
        new = int(version.split(".")[0]) >= OLDEST_POSTGRES
        yield Finding("postgres", new, f"answers, version {version}" + ("" if new else f"; bring it to {OLDEST_POSTGRES} or newer"))
        standing = migrate.standing(engine)
        fit = standing is not migrate.Standing.BEHIND
        yield Finding("migrations", fit, STANDINGS[standing])
        if fit:
            yield _ledger(make_sessions(engine))
    except SQLAlchemyError as error:
        first = str(getattr(error, "orig", error)).splitlines()[0]
        yield Finding("postgres", False, f"{first}; check DATABASE_URL and that the server runs")
    finally:
        engine.dispose()


def _ledger(sessions: Sessions) -> Finding:
    with sessions() as session:
        broken = {name: count for name, count in ledger.violations(session).items() if count}
        waiting = sum(depth.queued for depth in ledger.queues(session))
    if broken:
        return Finding("ledger", False, f"broken invariants: {broken}; report this, it is a fault of the program")
    return Finding("ledger", True, f"every invariant holds; {counted(waiting, 'job')} waiting")


def _look(name: str, url: str, *, must_keep: bool) -> Finding:
    """A Redis; the broker must keep what it is given, the cache need not."""
    variable = "CACHE_URL" if name == "cache" else "REDIS_URL"
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            version, policy = client.info("server")["redis_version"], client.info("memory")["maxmemory_policy"]
    except (redis.RedisError, ValueError) as error:
        return Finding(name, False, f"{error}; check {variable} and that the server runs")
    if must_keep and policy != "noeviction":
        fix = "run `CONFIG SET maxmemory-policy noeviction` there, and name an evicting server in CACHE_URL if you want one"
        return Finding(name, False, f"its maxmemory-policy is {policy}, and a broker must not evict; {fix}")
    return Finding(name, True, f"answers, version {version}")


def _disk(folder: Path) -> Finding:
    """The folder of artefacts can be written to, and has room. Where it is not made yet, the one that it would be made in is looked at."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(
            "models", False, f"{folder} cannot be written: {error.strerror}; set MODEL_DIR, or give this user the right to write there"
        )
    if free < LEAST_FREE:
        return Finding("models", False, f"{folder} has {free / 2**20:.0f} MiB left, 500 are needed; make room, or set MODEL_DIR")
    can = "is writable" if there == folder else "is not there yet and can be made"
    return Finding("models", True, f"{folder} {can}, {free / 2**30:.1f} GiB free")
