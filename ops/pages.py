"""Jobs as an operator reads them: a list that fits the terminal, and a page about one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from db.models import Attempt, Job
from ops.durations import short

#: Of `job_` and a ULID.
ID_WIDTH = 30
#: Columns that are cut short where a line does not fit, how far, and the space between columns.
YIELDING = ("tenant", "kind", "label", "code")
LEAST, GAP = 4, 2
NUMBERS = ("try", "age", "ran")
#: Where there is no terminal nothing is cut: a program reads.
UNBOUNDED = 10_000


def listing(found: Sequence[tuple[Job, str, dict[str, Any]]], now: datetime) -> Table:
    """What does not fit the terminal is cut short; never the id, which the other commands ask for. Empty columns are left out."""
    rows = [_line(*each, now) for each in found]
    told = [name for name in rows[0] if any(row[name] for row in rows)]
    needed = {name: max(len(name), *(len(row[name]) for row in rows)) for name in told}
    yielding = {name: needed[name] for name in told if name in YIELDING}
    fixed = sum(needed.values()) - sum(yielding.values()) + GAP * (len(told) - 1)
    widths = needed | _shared(yielding, terminal_width() - fixed)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in widths.items():
        column = Column(name, no_wrap=True, overflow="ellipsis", max_width=width, min_width=min(width, ID_WIDTH))
        column.justify = "right" if name in NUMBERS else "left"
        table.columns.append(column)
    for row in rows:
        table.add_row(*(row[name] for name in told))
    return table


def _line(job: Job, tenant: str, document: dict[str, Any], now: datetime) -> dict[str, str]:
    return {
        "id": job.id,
        "tenant": tenant,
        "kind": job.kind,
        "label": job.label,
        "state": document["state"],
        "try": str(job.attempt),
        "age": short((now - job.created_at).total_seconds()),
        "ran": _ran(job.started_at, job.finished_at, now),
        "code": (job.error or {}).get("code", ""),
    }


def _shared(widths: dict[str, int], room: int) -> dict[str, int]:
    """The widest give way first, none below LEAST."""
    while sum(widths.values()) > room and max(widths.values()) > LEAST:
        widths[max(widths, key=lambda name: widths[name])] -= 1
    return widths


def _ran(started: datetime | None, ended: datetime | None, now: datetime) -> str:
    return "" if started is None else short(((ended or now) - started).total_seconds())


def page(job: Job, tenant: str, document: dict[str, Any], now: datetime) -> Table:
    table = Table.grid("name", "told", padding=(0, 2))
    rows = {
        "job": f"{job.id}, {job.kind} of {tenant}: {job.label}",
        "state": f"{document['state']}, try {job.attempt} of {job.max_attempts}, crashes: {job.crashes}{of_items(document)}",
        "queue": f"{job.queue}, priority {job.priority}" + _place(document["queue"]["position"]),
        "asked for": _at(job.created_at, now),
        "due": None if job.terminal or job.children is not None else _at(job.available_at, now),
        "started": _at(job.started_at, now),
        "ended": _at(job.finished_at, now),
        "deadline": None if job.terminal else _at(job.deadline_at, now),
        "bells": f"{job.dispatch_no} rung" + ("" if job.dispatched_at is None else f", the last {_at(job.dispatched_at, now)}"),
        "held by": job.lease_owner and f"{job.lease_owner} until {_at(job.lease_until, now)}, fence {job.fence}",
        "batch": job.parent_id,
        "retry of": job.retry_of,
    }
    for name, told in rows.items():
        if told:
            table.add_row(name, told)
    return table


def _place(position: int | None) -> str:
    return "" if position is None else f", {position} before it"


def of_items(document: dict[str, Any]) -> str:
    """A batch's items by state, as an appendix."""
    items = document["progress"].get("items")
    return "" if items is None else "; items: " + ", ".join(f"{count} {state}" for state, count in items.items())


def _at(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    away = (now - moment).total_seconds()
    return f"{moment:%Y-%m-%d %H:%M:%S} ({short(away)} ago)" if away >= 0 else f"{moment:%Y-%m-%d %H:%M:%S} (in {short(-away)})"


def attempts(tries: Sequence[Attempt], now: datetime) -> Table:
    table = Table("try", "worker", "started (UTC)", "ran", "outcome", "code", "fence", box=None, pad_edge=False)
    for each in tries:
        told = attempt(each)
        ran = _ran(each.started_at, each.ended_at, now)
        started = f"{each.started_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(each.number), each.worker, started, ran, each.outcome or "under way", told["code"] or "", str(each.fence))
    return table


def attempt(each: Attempt) -> dict[str, Any]:
    return {
        "number": each.number,
        "fence": each.fence,
        "worker": each.worker,
        "started_at": each.started_at.isoformat(),
        "ended_at": each.ended_at and each.ended_at.isoformat(),
        "outcome": each.outcome,
        "code": (each.error or {}).get("code"),
        "error": each.error,
    }


def carriage(job: Job, tenant: str, tries: Sequence[Attempt]) -> dict[str, Any]:
    """What clients are not told: how the job is carried."""
    stamps = {name: getattr(job, name) for name in ("available_at", "deadline_at", "dispatched_at", "lease_until")}
    plain = ("label", "crashes", "priority", "dispatch_no", "lease_owner", "fence", "cancel_requested", "drain_requested")
    told = {name: getattr(job, name) for name in plain} | {name: at and at.isoformat() for name, at in stamps.items()}
    return told | {"tenant_name": tenant, "attempts": [attempt(each) for each in tries]}


def put(told: Table | str) -> None:
    """Names are people's own: nothing in them is markup."""
    Console(markup=False, emoji=False, highlight=False, soft_wrap=isinstance(told, str), width=terminal_width()).print(told)


def terminal_width() -> int:
    return shutil.get_terminal_size((UNBOUNDED, 0)).columns
