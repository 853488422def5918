"""The command `models`: which models are expected to serve, by what schedules say, and which of them do not or are too old."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from db import expected
from db.expected import MISSING, OLD, PRESENT, STATES, Expected
from ops.asking import asking
from ops.durations import short
from ops.house import folder_option
from ops.jobs import MOST_LISTED, owner, tenant_option
from ops.telling import as_json_option, tell_rows
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
    total = sum(counted.values())
    if not as_json:
        click.echo(f"{total} expected, of all tenants: {counted[PRESENT]} present, {counted[OLD]} too old, {counted[MISSING]} missing.")
    if found:
        tell_rows([asdict(each) if as_json else _line(each) for each in found], "", as_json=as_json)


def _line(each: Expected) -> dict[str, str]:
    age, oldest = ("–" if seconds is None else short(seconds) for seconds in (each.age_s, each.oldest_s))
    about = {"state": each.state, "tenant": each.tenant, "entity": each.entity, "kind": each.kind, "model": each.name}
    return about | {"age": age, "at most": oldest, "schedule": each.schedule_id}
