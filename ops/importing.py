"""The command `import`: files of series into Postgres, many thousand rows a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from db import observations
from db.errors import NotFound
from db.session import Sessions
from db.tenants import find_tenant
from ops import frames
from ops.house import database, folder_option

#: Rows of one transaction: large enough that COPY sets the pace, small enough that a broken import loses little.
CHUNK = 50_000


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", default="development", show_default=True, help="Whose the rows are.")
@click.option("--entity", default=None, help="Column that says whom a row is about. Default: found by its name.")
@click.option("--time", default=None, help="Column of times. Default: found by its name.")
@folder_option
def import_command(file: Path, tenant: str, entity: str | None, time: str | None, folder: Path | None) -> None:
    """Take in FILE (CSV or Parquet; long or wide).

    Rows sent before are replaced, so it can be repeated. Into the servers of DATABASE_URL, else into those of the running `fleetcast up`.
    """
    with database(folder, "fleetcast-import") as (sessions, _):
        tenant_id = _tenant(sessions, tenant)
        try:
            frame = frames.read(file, entity=entity, time=time)
        except frames.FrameError as error:
            raise click.ClickException(str(error)) from error
        total = _send(sessions, tenant_id, frame, file.name)
    click.echo(f"{total:,} rows of {frame['entity'].nunique():,} entities, channels {', '.join(frames.channels(frame))}.")


def _tenant(sessions: Sessions, name: str) -> str:
    with sessions() as session:
        try:
            return find_tenant(session, name).id
        except NotFound as error:
            raise click.ClickException(f"{error} `fleetcast keys create {name}` makes it.") from error


def _send(sessions: Sessions, tenant_id: str, frame: pd.DataFrame, name: str) -> int:
    """Chunk by chunk, each in its own transaction; the number of rows."""
    total = int(frame[frames.channels(frame)].notna().sum().sum())
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with bar, sessions() as session:
        task = bar.add_task(name, total=total)
        for chunk in _chunks(frames.rows(frame)):
            with session.begin():
                observations.upsert_many(session, tenant_id, chunk)
            bar.advance(task, len(chunk))
    return total


def _chunks(rows: Iterable[tuple[str, observations.Row]]) -> Iterator[list[tuple[str, observations.Row]]]:
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        yield chunk
