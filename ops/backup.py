"""Commands `backup` and `restore`: Postgres and the artefacts together, in one file, taken while everything runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tarfile import TarFile
from typing import Any, cast

import click
import psycopg
import redis
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from sqlalchemy import Connection, Engine, func, inspect, select, table, text
from sqlalchemy.orm import Session

from db import migrate, registry
from db.models import Base
from db.session import make_engine
from ml import shelf
from ops import archive, children, dumping, stack
from ops.archive import Damaged, Manifest
from ops.house import HouseError, folder_option, keeping, place, served
from ops.telling import as_json_option, progress, tell
from tasks.settings import Settings, load

#: What Redis remembers of jobs and forecasts: it may tell of later than the backup.
REMEMBERED = ("fleetcast:*:job:*", "fleetcast:*:forecast:*")
BAR = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
#: How long Redis may take to answer when it is greeted.
GREETING_S = 5.0


@dataclass(frozen=True)
class Snapshot:
    """What one moment of the database holds, beside its rows."""

    name: str
    revision: str
    schema: str
    server: str
    rows: dict[str, int]
    artefacts: list[str]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json_option
@folder_option
def backup_command(file: Path, as_json: bool, folder: Path | None) -> None:
    """Write Postgres and the artefacts into FILE, while everything runs.

    FILE ends in .tar, or in .tar.gz, .tar.bz2 or .tar.xz; nobody else can read it, since it holds the keys' hashes and all data. Ends with
    1 when an artefact was missing or corrupt; the rest is kept. Redis is left out: it holds nothing that lasts.
    """
    _require_new(file)
    settings = served(folder)
    engine = make_engine(settings.database_url, application="fleetcast-backup")
    try:
        with progress(*BAR) as bar:
            manifest = backup(engine, _models(settings, folder), file.absolute(), bar)
    finally:
        engine.dispose()
    size = file.stat().st_size
    tell({"file": file, "bytes": size, **_counted(manifest)}, f"{file}: {_told(manifest)}, {size / 2**20:,.1f} MiB.", as_json=as_json)
    caution(manifest)
    if manifest.missing:
        click.echo(f"{_artefacts(manifest.missing)} could not be kept; what names them will not serve after a restore.", err=True)
        raise SystemExit(1)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json_option
@folder_option
def restore_command(file: Path, as_json: bool, folder: Path | None) -> None:
    """Bring FILE, which `backup` wrote, into an empty database.

    Into that of DATABASE_URL; without one into the folder's own embedded servers, which are up for as long as it takes. Nothing is ever
    overwritten. Jobs that were running when the backup was taken are run again once their leases are found to have run out.
    """
    with _target(folder) as settings, progress(*BAR) as bar:
        _greet(settings.cache)
        engine = make_engine(settings.database_url, application="fleetcast-restore")
        models = _models(settings, folder)
        try:
            manifest = restore(engine, models, file.absolute(), bar)
        except OSError as error:
            raise HouseError(f"{models} cannot be written: {error.strerror or error}. Set MODEL_DIR, or make room.") from error
        finally:
            engine.dispose()
        _forget_answers(settings.cache)
    sentence = f"Restored from {manifest.made_at}: {_told(manifest)} in {models}. Migrations are at head."
    tell({"made_at": manifest.made_at, "models": models, **_counted(manifest)}, sentence, as_json=as_json)
    if manifest.missing:
        click.echo(f"The backup had no {', '.join(manifest.missing)}: their versions do not serve. Train again, or roll back.", err=True)


def caution(manifest: Manifest) -> None:
    """Better said now than when it is needed."""
    server = int(manifest.server.split(".")[0])
    if dumping.too_new(manifest.dumped_by, server):
        click.echo(
            f"It was written by pg_dump {manifest.dumped_by} and can be restored into Postgres {dumping.SETS_TRANSACTION_TIMEOUT} or newer "
            f"only, not into a server of version {server} as yours. With postgresql-client-{server} installed it could be.",
            err=True,
        )


def backup(engine: Engine, models: Path, file: Path, bar: Progress) -> Manifest:
    """One snapshot of the database first, then every artefact that it names: they never change, and are kept while we copy."""
    with archive.private(file) as side, engine.connect() as connection:
        step = bar.add_task("Postgres", total=None)
        snapshot = _snapshot(connection)
        tool = dumping.find("pg_dump", _major(connection))
        _take_up(models, snapshot.artefacts)
        dumping.dump(tool, _server(connection), snapshot.schema, snapshot.name, side / archive.DUMP)
        bar.update(step, total=1, completed=1)
        connection.rollback()
        _take_up(models, snapshot.artefacts)
        with archive.written(file, side) as tar:
            dump_sha256 = archive.add_dump(tar, side / archive.DUMP)
            kept = [name for name in bar.track(snapshot.artefacts, description="artefacts") if _kept(tar, models, name)]
            manifest = _manifest(snapshot, tool, dump_sha256, kept)
            archive.add_manifest(tar, manifest)
    return manifest


def restore(engine: Engine, models: Path, file: Path, bar: Progress) -> Manifest:
    """Everything is checked first. Then the artefacts, which nobody misses where the next step fails, then all rows in one transaction."""
    models.mkdir(parents=True, exist_ok=True)
    # Named as the leftovers that are collected after an hour: of a restore that is killed nothing stays.
    with tempfile.TemporaryDirectory(prefix=".tmp-restore-", dir=models) as unpacked, engine.connect() as connection:
        step = bar.add_task("reading", total=1)
        manifest = archive.unpack(file, Path(unpacked))
        bar.update(step, completed=1)
        tool = dumping.find("pg_restore", manifest.dumped_by)
        _require_fit(connection, manifest, tool)
        connection.rollback()
        _require_same(models, manifest)
        archive.put_in_place(Path(unpacked), models, manifest.artefacts)
        step = bar.add_task("Postgres", total=None)
        dumping.restore(tool, _server(connection), manifest.schema, Path(unpacked) / archive.DUMP)
        _require_all(connection, manifest)
        connection.rollback()
        migrate.upgrade(engine)
        _analyse(engine)
        bar.update(step, total=1, completed=1)
    return manifest


def _snapshot(connection: Connection) -> Snapshot:
    """Its transaction has to live until pg_dump has ended, however long that idles."""
    connection.execution_options(isolation_level="REPEATABLE READ")
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise HouseError("This database holds nothing of ours. Check DATABASE_URL.")
    with Session(connection) as session:
        artefacts = sorted(registry.referenced_artefacts(session))
        return Snapshot(
            name=session.scalars(text("SELECT pg_export_snapshot()")).one(),
            revision=revision,
            schema=_schema(connection),
            server=session.scalars(text("SHOW server_version")).one(),
            rows=_rows(connection, [each.name for each in Base.metadata.sorted_tables]),
            artefacts=artefacts,
        )


def _manifest(snapshot: Snapshot, tool: dumping.Tool, dump_sha256: str, kept: list[str]) -> Manifest:
    return Manifest(
        format=archive.FORMAT,
        fleetcast=version("fleetcast"),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=snapshot.revision,
        server=snapshot.server,
        dumped_by=tool.major,
        schema=snapshot.schema,
        rows=snapshot.rows,
        dump_sha256=dump_sha256,
        artefacts=kept,
        missing=sorted(set(snapshot.artefacts) - set(kept)),
    )


def _take_up(models: Path, artefacts: Iterable[str]) -> None:
    """Whoever collects abandoned artefacts lets one alone for an hour that was taken up: a version pruned meanwhile is still copied."""
    for address in artefacts:
        folder = shelf.folder(models, address)
        with suppress(OSError):  # where it is missing, or not ours to mark, the copying will tell
            os.utime(folder)


def _kept(tar: TarFile, models: Path, address: str) -> bool:
    try:
        files = archive.artefact(models, address)
    except Damaged as error:
        click.echo(str(error), err=True)
        return False
    archive.add_artefact(tar, address, files)
    return True


def _require_new(file: Path) -> None:
    if file.suffix not in archive.ENDINGS:
        raise click.UsageError(f"{file.name!r} does not say how it is packed: end it in .tar or one of {', '.join(archive.ENDINGS)}.")
    if file.exists():
        raise HouseError(f"{file} is there already, and a backup overwrites none. Name another file.")


def _require_fit(connection: Connection, manifest: Manifest, tool: dumping.Tool) -> None:
    """The database is empty, of the same schema, and of a version that all this can be brought into."""
    here = set(inspect(connection).get_table_names()) & {"alembic_version", *Base.metadata.tables, *manifest.rows}
    if here:
        raise HouseError(
            f"The database holds {', '.join(sorted(here))} already, and nothing is overwritten. "
            "Make an empty one and name it in DATABASE_URL, or name a new folder with --folder."
        )
    known = {script.revision for script in ScriptDirectory.from_config(migrate.config()).walk_revisions()}
    if manifest.revision not in known:
        raise HouseError(f"The backup is of fleetcast {manifest.fleetcast}, which is newer than this one. Install that version first.")
    if manifest.schema != _schema(connection):
        raise HouseError(f"The backup's tables are in the schema {manifest.schema}. Make it, and put it first in the role's search_path.")
    dumping.require_fit(tool, _major(connection), manifest.dumped_by)


def _require_same(models: Path, manifest: Manifest) -> None:
    """What lies under an artefact's name already must be that artefact."""
    for address in manifest.artefacts:
        home = shelf.folder(models, address)
        if home.exists():
            try:
                archive.artefact(models, address)
            except Damaged as error:
                raise HouseError(f"{error} Nothing is overwritten: move {home} away, then restore again.") from error


def _require_all(connection: Connection, manifest: Manifest) -> None:
    found = _rows(connection, manifest.rows)
    wrong = [name for name, count in manifest.rows.items() if found[name] != count]
    if wrong:
        raise HouseError(f"The rows of {', '.join(wrong)} are not as many as in the backup. Do not use this database; report this.")


def _rows(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    return {name: connection.scalars(select(func.count()).select_from(table(name))).one() for name in names}


def _schema(connection: Connection) -> str:
    return cast(str, connection.scalars(text("SELECT current_schema()")).one())


def _major(connection: Connection) -> int:
    return _server(connection).info.server_version // 10_000


def _server(connection: Connection) -> psycopg.Connection:
    return cast(psycopg.Connection, connection.connection.driver_connection)


def _analyse(engine: Engine) -> None:
    """Else the first minutes' plans know nothing of the tables."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


@contextmanager
def _target(folder: Path | None) -> Iterator[Settings]:
    """The servers named; where none is, the folder's own, which no `up` may take meanwhile."""
    settings = load()
    if settings.database_url:
        yield settings
        return
    home = place(folder)
    with keeping(home):
        if children.orphans(home):
            raise HouseError(f"The `up` of {home} was killed and left processes behind. End them with `fleetcast down`.")
        servers = stack.start(home)
        try:
            yield replace(settings, database_url=servers.database_url, redis_url=settings.redis_url or servers.redis_url)
        finally:
            stack.stop(home)


def _models(settings: Settings, folder: Path | None) -> Path:
    return settings.model_dir if settings.model_dir.is_absolute() else place(folder) / settings.model_dir


def _greet(cache_url: str) -> None:
    """Before anything is written: answers from later than the backup must not outlive the restore."""
    if not cache_url:
        click.echo("REDIS_URL names no server. If there is one of before, empty it: it may tell of later than this backup.", err=True)
        return
    try:
        with _redis(cache_url) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise HouseError(
            f"Redis does not answer: {error}. Start it, since what it remembers has to go, or leave REDIS_URL blank."
        ) from error


def _forget_answers(cache_url: str) -> None:
    if cache_url:
        with _redis(cache_url) as client, client.pipeline(transaction=False) as pipeline:
            for key in (key for pattern in REMEMBERED for key in client.scan_iter(pattern, count=1000)):
                pipeline.unlink(key)
            pipeline.execute()


def _redis(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=GREETING_S, socket_connect_timeout=GREETING_S)


def _counted(manifest: Manifest) -> dict[str, Any]:
    return {"rows": manifest.rows, "artefacts": len(manifest.artefacts), "missing": manifest.missing}


def _told(manifest: Manifest) -> str:
    return f"{sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables and {_artefacts(manifest.artefacts)}"


def _artefacts(named: Sized) -> str:
    return "1 artefact" if len(named) == 1 else f"{len(named):,} artefacts"
