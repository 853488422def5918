"""Commands around sinks: which there are, whether they would take a forecast, and the tables that they need."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from db.errors import StoreError
from db.sinks.catalogue import Sink
from db.sinks.writer import Writer, open_writer
from ops.telling import Group, as_json_option, tell, tell_rows
from tasks.environment import load
from tasks.runtime import read_sinks

#: What is said where there is none.
NONE = "No sinks: SINKS_FILE names none. It is the path of a TOML file with a table [sinks.NAME] for each, which says `url` and `tenants`."


@click.group(cls=Group)
def sinks_command() -> None:
    """List and check the databases that forecasts may be written to, and print the tables that they need."""


@sinks_command.command()
@as_json_option
def ls(as_json: bool) -> None:
    """The sinks of SINKS_FILE. Nothing is opened."""
    found = [_told(sink) for sink in _sinks().values()]
    told = found if as_json else [{name: value or "any" for name, value in sink.items()} for sink in found]
    tell_rows(told, NONE, as_json=as_json)


@sinks_command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Reach the sinks, and try every statement of a write on no rows. Ends with 1 when one would not take a forecast."""
    known = _sinks()
    sought = [_named(known, name) for name in names or known]
    if not sought and not as_json:
        click.echo(NONE)
    tried = {sink.name: _tried(sink) for sink in sought}
    for name, (well, told) in tried.items():
        if as_json:
            tell({"name": name, "well": well, "told": told}, "", as_json=True)
        else:
            click.echo(f"{name}  {told}", err=not well)
    if not all(well for well, _ in tried.values()):
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
        raise click.ClickException(f"No sink {name!r}. SINKS_FILE names: {', '.join(known) or 'none'}. `fleetcast sinks ls` shows more.")
    return known[name]


def _told(sink: Sink) -> dict[str, str | None]:
    whose = {"tenants": ", ".join(sink.tenants), "target": sink.target}
    return {"name": sink.name, "schema": sink.schema, "forecasts": sink.forecasts.name, "models": sink.models.name} | whose


def _tried(sink: Sink) -> tuple[bool, str]:
    """Whether it would take a forecast, and what was seen."""
    begun = time.perf_counter()
    try:
        dialect = _checked(sink)
    except StoreError as error:
        return False, f"{error}{_cause(error)}"
    return True, f"takes forecasts: {dialect}, {1000 * (time.perf_counter() - begun):.0f} ms"


def _checked(sink: Sink) -> str:
    writer: Writer = open_writer(sink)
    try:
        writer.check()
        return str(writer.engine.dialect.name)
    finally:
        writer.close()


def _cause(error: StoreError) -> str:
    """What the database said, for the operator's eyes; its first line, since the others may quote rows."""
    said = str(getattr(error.__cause__, "orig", "") or "").strip()
    return f" {said.splitlines()[0]}" if said else ""
