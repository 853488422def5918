"""Commands `backup` and `restore`: Postgres and the artefacts together, in one file, taken while everything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import redis
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn

from db.session import make_engine
from ops import children, dumping, stack
from ops.archive import Manifest
from ops.house import HouseError, folder_option, keeping, place, served
from ops.snapshots import backup, require_new, restore
from ops.telling import as_json_option, progress, tell
from tasks.environment import load
from tasks.settings import Settings

#: What Redis remembers of jobs and forecasts: it may tell of later than the backup.
REMEMBERED = ("fleetcast:*:job:*", "fleetcast:*:forecast:*")
BAR = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
#: How long Redis may take to answer when it is greeted.
GREETING_S = 5.0


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json_option
@folder_option
def backup_command(file: Path, as_json: bool, folder: Path | None) -> None:
    """Write Postgres and the artefacts into FILE, while everything runs.

    FILE ends in .tar, or in .tar.gz, .tar.bz2 or .tar.xz; nobody else can read it, since it holds the keys' hashes and all data. Ends with
    1 when an artefact was missing or corrupt; the rest is kept. Redis is left out: it holds nothing that lasts.
    """
    require_new(file)
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
