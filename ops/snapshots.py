"""A snapshot: Postgres as it was at one moment and every artefact that it names, written into one file, and brought back from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tarfile import TarFile
from typing import cast

import click
import psycopg
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from rich.progress import Progress
from sqlalchemy import Connection, Engine, func, inspect, select, table, text
from sqlalchemy.orm import Session

from db import migrate, registry
from db.models import Base
from ml import shelf
from ops import archive, dumping
from ops.archive import Damaged, Manifest
from ops.house import HouseError


@dataclass(frozen=True)
class Snapshot:
    """What one moment of the database holds, beside its rows."""

    name: str
    revision: str
    schema: str
    server: str
    rows: dict[str, int]
    artefacts: list[str]


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


def require_new(file: Path) -> None:
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
