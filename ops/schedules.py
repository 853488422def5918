"""Commands around schedules: list, show, pause, resume, fire; the schedules of every tenant, for whoever runs the house."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from db import schedules
from db.models import Schedule, ScheduleRun, Tenant
from ops.asking import asking
from ops.durations import short
from ops.house import database, folder_option
from ops.jobs import MOST_LISTED, now_by_postgres, owner, tenant_option
from ops.telling import Group, Undone, as_json_option, fitting, put, tell_each
from tasks import firing
from tasks import schedules as planning
from tasks.runtime import Runtime

APPLICATION = "fleetcast-schedules"
#: Runs that `show` tells of.
SHOWN = 10
_WHEN = ("cron", "every_s", "time_zone", "open_hours", "jitter_s", "missed")


@click.group(cls=Group)
def schedules_command() -> None:
    """List, show, pause, resume and fire schedules, those of every tenant."""


@schedules_command.command()
@tenant_option
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def ls(tenant: str | None, limit: int, as_json: bool, folder: Path | None) -> None:
    """Schedules, the next due first; those that are paused come last."""
    with database(folder, APPLICATION) as (sessions, _), sessions() as session:
        found = schedules.survey(session, owner(session, tenant), limit)
        now = now_by_postgres(session)
    if as_json:
        for row, name in found:
            click.echo(json.dumps(_told(row, name)))
    else:
        put(_listing(found, now) if found else "No such schedules.")


@schedules_command.command()
@click.argument("schedule_id")
@as_json_option
@folder_option
def show(schedule_id: str, as_json: bool, folder: Path | None) -> None:
    """All that is known of one schedule, and what became of its last runs."""
    with database(folder, APPLICATION) as (sessions, _), sessions() as session:
        row = schedules.find(session, schedule_id)
        name, last = session.get_one(Tenant, row.tenant_id).name, schedules.runs(session, row, limit=SHOWN)
        now = now_by_postgres(session)
    if as_json:
        click.echo(json.dumps(_told(row, name) | {"runs": [_told_run(run) for run in last]}, indent=1))
    else:
        put(_listing([(row, name)], now))
        put(json.dumps({"order": row.job_order, "selector": row.selector, "when": row.conditions}, indent=1, ensure_ascii=False))
        put(_runs(last) if last else "It has not run yet.")


@schedules_command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@as_json_option
@folder_option
def pause(ids: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Let schedules rest until they are resumed. Ends with 1 when one could not be."""
    _each(folder, ids, lambda runtime, row: _planned(planning.pause(runtime, row.tenant_id, row.id, paused=True)), as_json=as_json)


@schedules_command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@as_json_option
@folder_option
def resume(ids: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Let schedules go on with the first run due from now on. Ends with 1 when one could not be."""
    _each(folder, ids, lambda runtime, row: _planned(planning.pause(runtime, row.tenant_id, row.id, paused=False)), as_json=as_json)


@schedules_command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@as_json_option
@folder_option
def fire(ids: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """One run now, besides those that are planned, also of what is paused. Ends with 1 when one could not be."""
    _each(folder, ids, _fire, as_json=as_json)


def _fire(runtime: Runtime, row: Schedule) -> str:
    outcome = firing.fire_now(runtime, row.tenant_id, row.id)
    if outcome.state == firing.FAILED:
        raise Undone(f"{outcome.reason}: {(outcome.error or {}).get('detail', '')}")
    return f"{outcome.state} {outcome.job_id or outcome.reason}"


def _planned(row: Schedule) -> str:
    return "paused" if row.next_at is None else f"next run {row.next_at:%Y-%m-%d %H:%M:%S} UTC"


def _each(folder: Path | None, ids: Iterable[str], action: Callable[[Runtime, Schedule], str], *, as_json: bool) -> None:
    with asking(folder, "schedules") as runtime:

        def done(schedule_id: str) -> str:
            with runtime.sessions() as session:
                row = schedules.find(session, schedule_id)
            return action(runtime, row)

        tell_each(ids, done, as_json=as_json)


def _listing(found: Sequence[tuple[Schedule, str]], now: datetime) -> Table:
    return fitting([_line(*each, now) for each in found])


def _line(row: Schedule, tenant: str, now: datetime) -> dict[str, str]:
    when = f"{row.cron or 'every ' + short(row.every_s or 0)} {row.time_zone}"
    about = {"id": row.id, "tenant": tenant, "name": row.name, "kind": row.kind, "when": when}
    return about | {"next run (UTC)": _planned(row).removeprefix("next run "), "behind": _behind(row, now)}


def _behind(row: Schedule, now: datetime) -> str:
    return "" if row.next_at is None or row.next_at >= now else short((now - row.next_at).total_seconds())


def _runs(found: Sequence[ScheduleRun]) -> Table:
    return fitting([_run(run) for run in found], whole=("job",))


def _run(run: ScheduleRun) -> dict[str, str]:
    about = {"due (UTC)": f"{run.due_at:%Y-%m-%d %H:%M:%S}", "state": run.state, "reason": run.reason or "", "job": run.job_id or ""}
    counts = {"entities": run.entities, "due": run.due, "passed over": run.passed_over}
    return about | {name: "" if number is None else str(number) for name, number in counts.items()}


def _told(row: Schedule, tenant: str) -> dict[str, Any]:
    plain = (
        "id",
        "name",
        "kind",
        "job_order",
        "selector",
        "conditions",
        "cron",
        "every_s",
        "time_zone",
        "open_hours",
        "jitter_s",
        "missed",
    )
    stamps = {name: getattr(row, name) for name in ("due_at", "next_at", "fired_at", "created_at")}
    told = {name: getattr(row, name) for name in plain} | {name: at and at.isoformat() for name, at in stamps.items()}
    return told | {"paused": row.paused, "tenant_name": tenant}


def _told_run(run: ScheduleRun) -> dict[str, Any]:
    plain = ("state", "reason", "error", "job_id", "entities", "due", "why", "passed_over")
    return {name: getattr(run, name) for name in plain} | {"due_at": run.due_at.isoformat(), "at": run.at.isoformat()}
