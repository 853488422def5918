"""Jobs as an operator reads them: a list that fits the terminal, and a page about one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from db.models import Attempt, Job
from ops.durations import short
from ops.telling import fitting

NUMBERS = ("try", "age", "ran")
#: What other commands ask for, and what is short.
WHOLE = ("id", "state")


def listing(found: Sequence[tuple[Job, str, dict[str, Any]]], now: datetime) -> Table:
    return fitting([_line(*each, now) for each in found], whole=WHOLE, numbers=NUMBERS)


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
