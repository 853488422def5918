"""The command `models`: which models are expected to serve, by what schedules say, and which of them do not or are too old."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Column, Table

from db import expected
from db.expected import MISSING, OLD, PRESENT, STATES, Expected
from ops import pages
from ops.asking import asking
from ops.durations import short
from ops.house import folder_option
from ops.jobs import MOST_LISTED, as_json_option, owner, tenant_option
from tasks.expected import promises


@click.command()
@tenant_option
@click.option("--state", type=click.Choice(STATES), default=None, help="Those that stand so. Default: the missing and the old.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def models_command(tenant: str | None, state: str | None, limit: int, as_json: bool, folder: Path | None) -> None:
    """Show which models schedules let expect, and which of them are missing or too old, of every tenant.

    Expected is a model of each entity that a schedule trains, forecasts or watches, unless the schedule is paused.
    """
    states = (MISSING, OLD) if state is None else (state,)
    with asking(folder, "models") as runtime, runtime.sessions() as session:
        told = promises(session, runtime)
        found = expected.survey(session, told, states=states, tenant_id=owner(session, tenant), limit=limit)
        counted = expected.count(session, told)
    if as_json:
        for each in found:
            click.echo(json.dumps(asdict(each)))
        return
    total = sum(counted.values())
    click.echo(f"{total} expected, of all tenants: {counted[PRESENT]} present, {counted[OLD]} too old, {counted[MISSING]} missing.")
    if found:
        pages.put(_listing(found))


def _listing(found: Sequence[Expected]) -> Table:
    table = Table("state", "tenant", "entity", "kind", "model", "age", "at most", Column("schedule", no_wrap=True))
    for each in found:
        age, oldest = ("–" if seconds is None else short(seconds) for seconds in (each.age_s, each.oldest_s))
        table.add_row(each.state, each.tenant, each.entity, each.kind, each.name, age, oldest, each.schedule_id)
    return table
