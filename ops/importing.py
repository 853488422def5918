"""The command `import`: files and folders of series into Postgres, many thousand rows a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from db import observations
from db.session import Sessions
from db.tenants import find_tenant
from ops import files, frames
from ops.frames import Reading
from ops.house import database, folder_option
from ops.telling import as_json_option, counted, progress, tell

#: Rows of one transaction: large enough that COPY sets the pace, small enough that a broken import loses little.
CHUNK = 50_000


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--tenant", default="development", show_default=True, help="Whose the rows are.")
@click.option("--entity", default=None, help="Column that says whom a row is about. Default: found by its name.")
@click.option("--time", default=None, help="Column of times. Default: found by its name.")
@click.option("--map", "mapped", metavar="COLUMN=CHANNEL", multiple=True, help="Read this column as this channel, and no others.")
@click.option("--entity-from-filename", is_flag=True, help="Each file is one entity, named after it.")
@as_json_option
@folder_option
def import_command(
    paths: tuple[Path, ...],
    tenant: str,
    entity: str | None,
    time: str | None,
    mapped: tuple[str, ...],
    entity_from_filename: bool,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Take in files or folders (CSV or Parquet; long or wide).

    Rows sent before are replaced, so what broke off can be repeated. Into the servers of DATABASE_URL, else into those of the running
    `fleetcast up`.
    """
    reading = _reading(entity, time, mapped, entity_from_filename)
    found = list(_files(paths))
    with database(folder, "fleetcast-import") as (sessions, _):
        taken = _Taken(sessions, _tenant(sessions, tenant))
        with progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()) as bar:
            for file in found:
                _send(taken, file, reading, bar)
    channels = sorted(taken.channels)
    told = {"rows": taken.rows, "entities": len(taken.entities), "channels": channels}
    whose = counted(len(taken.entities), "entity", "entities")
    sentence = f"{counted(taken.rows, 'row')} of {whose}, {'channel' if len(channels) == 1 else 'channels'} {', '.join(channels)}."
    tell(told, sentence, as_json=as_json)


def _reading(entity: str | None, time: str | None, mapped: Sequence[str], by_file: bool) -> Reading:
    if entity is not None and by_file:
        raise click.UsageError("--entity and --entity-from-filename exclude one another.")
    pairs = [each.rpartition("=") for each in mapped]
    for column, _, channel in pairs:
        if not column or frames.name_fault(channel):
            raise click.BadParameter(f"{column}={channel}: write COLUMN=CHANNEL.", param_hint="--map")
    return Reading(entity, time, {column: channel for column, _, channel in pairs}, by_file)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and of a folder all that can be read, below it too."""
    for path in paths:
        if path.is_dir():
            found = sorted(inner for inner in path.rglob("*") if inner.is_file() and files.readable(inner))
            if not found:
                raise click.ClickException(f"{path} holds no file that can be read ({files.READABLE}).")
            yield from found
        else:
            yield path


def _tenant(sessions: Sessions, name: str) -> str:
    with sessions() as session:
        return find_tenant(session, name).id


@dataclass
class _Taken:
    """What was taken in so far."""

    sessions: Sessions
    tenant_id: str
    rows: int = 0
    entities: set[str] = field(default_factory=set)
    channels: set[str] = field(default_factory=set)

    def take(self, chunk: Sequence[tuple[str, observations.Row]]) -> None:
        """In a transaction of its own."""
        with self.sessions.begin() as session:
            observations.upsert_many(session, self.tenant_id, chunk)
        self.rows += len(chunk)
        self.entities |= {entity for entity, _ in chunk}
        self.channels |= {row.channel for _, row in chunk}


def _send(taken: _Taken, file: Path, reading: Reading, bar: Progress) -> None:
    """Piece by piece, and these chunk by chunk. Whatever was taken when a file breaks off stays, and may be sent again."""
    task, whole = bar.add_task(file.name, total=files.length(file)), 0
    try:
        for piece in frames.pieces(file, reading):
            for chunk in _chunks(frames.rows(piece)):
                taken.take(chunk)
            whole += len(piece)
            bar.update(task, completed=whole)
    except files.FrameError as error:
        raise click.ClickException(f"{error} Taken in before that: {counted(taken.rows, 'row')}.") from error
    bar.update(task, total=whole, completed=whole)


def _chunks(rows: Iterable[tuple[str, observations.Row]]) -> Iterator[list[tuple[str, observations.Row]]]:
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        yield chunk
