"""The command `sources`: what jobs may read besides the built-in store, and whether it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.configs import Config
from db.sources.opened import Sources
from db.sources.source import Whom
from ops.telling import Group, as_json_option, counted, tell, tell_rows
from tasks.environment import load
from tasks.runtime import open_sources

#: What is said where there is none.
NONE = "No sources: SOURCES_FILE names none. It is the path of a TOML file with a table [sources.NAME] for each, which says its `kind`."
#: Entities that `check` names of a source when it is asked about none.
SHOWN = 10


@click.group(cls=Group)
def sources_command() -> None:
    """List the sources of SOURCES_FILE, and try one alone."""


@sources_command.command(name="ls")
@as_json_option
def list_sources(as_json: bool) -> None:
    """The sources and who may read them. None of them is asked."""
    line = _of_program if as_json else _of_person
    found = [line(name, config) for name, config in sorted(_sources().configs.items())]
    tell_rows(found, NONE, as_json=as_json)


def _of_program(name: str, config: Config) -> dict[str, Any]:
    limits = {"fresh_s": config.fresh_s, "lag_limit_s": config.lag_limit_s}
    return {"name": name, "kind": config.kind, "tenants": list(config.tenants), "channels": list(config.channels), **limits}


def _of_person(name: str, config: Config) -> dict[str, Any]:
    limits = {"fresh": f"{config.fresh_s:g} s", "lag limit": f"{config.lag_limit_s:g} s" if config.lag_limit_s else "–"}
    return {"name": name, "kind": config.kind, "tenants": config.tenants, "channels": list(config.channels), **limits}


@sources_command.command()
@click.argument("name")
@click.option("--entity", help="Count its rows; otherwise some entities are named.")
@click.option("--tenant", default="development", show_default=True, help="Whose rows, where the source tells tenants apart.")
@as_json_option
def check(name: str, entity: str | None, tenant: str, as_json: bool) -> None:
    """Ask the source NAME: whether it answers, how far behind it is, and what it has of an entity. Exit status 1 if it cannot be read."""
    sources = _sources()
    if name not in sources.configs:
        known = ", ".join(sorted(sources.configs)) or "none"
        raise click.ClickException(f"No source {name!r} in SOURCES_FILE; it has: {known}. `fleetcast sources ls` shows more.")
    try:
        lines = list(_told(sources, name, entity, tenant))
        tell({"name": name, "well": True, "told": lines}, "\n".join(lines), as_json=as_json)
    except (SourceUnavailable, SourceUnreadable) as error:
        raise click.ClickException(f"{error} {error.__cause__ or ''}".strip()) from error
    finally:
        sources.close()


def _told(sources: Sources, name: str, entity: str | None, tenant: str) -> Iterator[str]:
    source, config = sources.open(name), sources.configs[name]
    yield f"{name} answers; {_lag(source.health().lag_s, config)}."
    if not config.serves(tenant):
        yield f"Jobs of {tenant} may not read it: tenants = {list(config.tenants)}."
    if entity is None:
        found = source.entities(tenant, SHOWN + 1)
        more = " and more" if len(found) > SHOWN else ""
        yield f"It has rows of {', '.join(found[:SHOWN]) or 'nobody'}{more}."
        return
    held = source.coverage(Whom(entity, tenant))
    yield from (_covered(channel, coverage) for channel, coverage in sorted(held.items()))
    if not held:
        raise SourceUnreadable(f"Not one row of {entity}: {source.sought(Whom(entity, tenant))}.")


def _lag(lag_s: float | None, config: Config) -> str:
    if lag_s is not None:
        return f"it is {lag_s:.0f} s behind (limit {config.lag_limit_s or 'none'})"
    unused = ", and lag_limit_s has no effect" if config.lag_limit_s else ""
    return f"it is no replica, or tells no replication lag, so none is checked{unused}"


def _covered(channel: str, held: Coverage) -> str:
    span = f"from {held.first:%Y-%m-%d %H:%M} to {held.last:%Y-%m-%d %H:%M} UTC"
    return f"{channel}: {counted(held.rows, 'row')} on {counted(held.days, 'day')}, {span}."


def _sources() -> Sources:
    return open_sources(load())
