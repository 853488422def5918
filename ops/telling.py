"""What a command says: to people as sentences and tables that fit, to programs as JSON, one object on a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table

from db.errors import NotFound, StoreError

#: Where there is no terminal nothing is cut: a program reads.
UNBOUNDED = 10_000
#: How far a column is cut short where a line does not fit, and the space between columns.
LEAST, GAP = 4, 2

as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


#: What commands that list things are called.
LISTING = "ls"
#: What to type next where something is not there, by what it is.
NEXT: Mapping[str, str] = {
    "tenant": "`fleetcast keys create {name}` makes it.",
    "job": "`fleetcast jobs ls` shows those there are; what ended long ago is purged.",
    "schedule": "`fleetcast schedules ls` shows those there are.",
    "webhook": "`fleetcast webhooks ls` shows those there are.",
    "entity": "`fleetcast import` brings observations of it.",
}


class Group(click.Group):
    """Commands below a command; what each does is told in a whole sentence, which click would cut where the line ends."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A listing answers to `list` as well, which is not shown."""
        return super().get_command(ctx, LISTING if cmd_name == "list" and LISTING in self.commands else cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, _sentence(command)) for name, command in sorted(self.commands.items())])


class Undone(Exception):
    """Something was left as it is; the words say why."""


def _sentence(command: click.Command) -> str:
    """The first of its help."""
    return " ".join((command.help or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."


def advised(error: Exception) -> str:
    """Its sentence, and what to type next."""
    following = NEXT.get(error.what, "").format(name=error.name) if isinstance(error, NotFound) else ""
    return f"{error} {following}".strip()


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def tell(told: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """One thing: as a sentence, or with all that there is to it."""
    click.echo(_json(told) if as_json else sentence)


def tell_rows(rows: Sequence[Mapping[str, Any]], otherwise: str, *, as_json: bool) -> None:
    """Many of one kind: a table, a sentence where there are none, or a line of JSON for each."""
    if as_json:
        for row in rows:
            click.echo(_json(row))
    elif rows:
        put(fitting([{name: _text(value) for name, value in row.items()} for row in rows]))
    else:
        click.echo(otherwise)


def tell_each(ids: Iterable[str], action: Callable[[str], str], *, as_json: bool) -> None:
    """Do it to each and say what came of it. Exits with 1 when one could not be done."""
    undone = 0
    for each in dict.fromkeys(ids):
        try:
            told, done = action(each), True
        except (Undone, StoreError) as error:
            told, done = advised(error), False
            undone += 1
        if as_json:
            click.echo(_json({"id": each, "done": done, "told": told}))
        else:
            click.echo(f"{each}  {told}" if done else f"{each}  not done: {told}", err=not done)
    if undone:
        raise SystemExit(1)


def fitting(rows: Sequence[Mapping[str, str]], *, whole: Collection[str] = ("id",), numbers: Collection[str] = ()) -> Table:
    """A table of these rows, which all have the same columns; those in which nothing stands are left out.

    What does not fit the terminal is cut short, the widest column first; never one of `whole`, which other commands ask for.
    """
    told = [name for name in rows[0] if any(row[name] for row in rows)]
    needed = {name: max(len(name), *(cell_len(row[name]) for row in rows)) for name in told}
    yielding = {name: width for name, width in needed.items() if name not in whole and name not in numbers}
    fixed = sum(needed.values()) - sum(yielding.values()) + GAP * (len(told) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in (needed | _shared(yielding, terminal_width() - fixed)).items():
        kept = width if name in whole else None
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=width, min_width=kept)
        table.columns[-1].justify = "right" if name in numbers else "left"
    for row in rows:
        table.add_row(*(row[name] for name in told))
    return table


def _shared(widths: dict[str, int], room: int) -> dict[str, int]:
    """The widest give way first, none below LEAST."""
    while widths and sum(widths.values()) > room and max(widths.values()) > LEAST:
        widths[max(widths, key=lambda name: widths[name])] -= 1
    return widths


def put(told: Table | str) -> None:
    """Names are people's own: nothing in them is markup."""
    Console(markup=False, emoji=False, highlight=False, soft_wrap=isinstance(told, str), width=terminal_width()).print(told)


def terminal_width() -> int:
    return shutil.get_terminal_size((UNBOUNDED, 0)).columns


@contextmanager
def progress(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar on a terminal, beside what programs read; elsewhere nothing, but what its console prints."""
    console = Console(stderr=True, markup=False, highlight=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no JSON.")


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
