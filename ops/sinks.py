"""Commands around sinks: which there are, whether they would take a forecast, and the tables that they need."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import click
from rich.table import Table

from db.errors import StoreError
from db.sinks.catalogue import Sink
from db.sinks.writer import Writer, open_writer
from ops import pages
from tasks.runtime import read_sinks
from tasks.settings import load


@click.group()
def sinks_command() -> None:
    """List and check the databases that forecasts may be written to, and print the tables that they need."""


@sinks_command.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ls(as_json: bool) -> None:
    """The sinks of SINKS_FILE. Nothing is opened."""
    found = [_told(sink) for sink in _sinks().values()]
    if as_json:
        click.echo(json.dumps(found))
    elif not found:
        click.echo("No sinks: SINKS_FILE names none.")
    else:
        table = Table(*found[0], box=None, pad_edge=False)
        for sink in found:
            table.add_row(*(value or "any" for value in sink.values()))
        pages.put(table)


@sinks_command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def check(names: tuple[str, ...]) -> None:
    """Reach the sinks, and try every statement of a write on no rows. Ends with 1 when one would not take a forecast."""
    known, wrong = _sinks(), 0
    for name in names or known:
        try:
            click.echo(f"{name}  takes forecasts: {_tried(_named(known, name))}")
        except StoreError as error:
            wrong += 1
            click.echo(f"{name}  {error}{_cause(error)}", err=True)
    if wrong:
        raise SystemExit(1)


@sinks_command.command()
@click.argument("name")
def ddl(name: str) -> None:
    """The statements that make the tables of the sink NAME, in the words of its kind of database. Nothing is opened."""
    try:
        writer = open_writer(_named(_sinks(), name))
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(writer.ddl(), nl=False)
    writer.close()


def _sinks() -> Mapping[str, Sink]:
    return read_sinks(load())


def _named(known: Mapping[str, Sink], name: str) -> Sink:
    if name not in known:
        raise click.ClickException(f"No sink {name!r}. SINKS_FILE names: {', '.join(known) or 'none'}.")
    return known[name]


def _told(sink: Sink) -> dict[str, str | None]:
    whose = {"tenants": ", ".join(sink.tenants), "target": sink.target}
    return {"name": sink.name, "schema": sink.schema, "forecasts": sink.forecasts.name, "models": sink.models.name} | whose


def _tried(sink: Sink) -> str:
    writer: Writer = open_writer(sink)
    begun = time.perf_counter()
    try:
        writer.check()
    finally:
        writer.close()
    return f"{writer.engine.dialect.name}, {1000 * (time.perf_counter() - begun):.0f} ms"


def _cause(error: StoreError) -> str:
    """What the database said, for the operator's eyes; its first line, since the others may quote rows."""
    said = str(getattr(error.__cause__, "orig", "") or "").strip()
    return f" {said.splitlines()[0]}" if said else ""
