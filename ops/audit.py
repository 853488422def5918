"""The command `audit`: who did what, over all tenants, for whoever runs the house."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.table import Column, Table

from db import audit
from db.models import AuditEntry
from ops import pages
from ops.house import database, folder_option
from ops.jobs import MOST_LISTED, as_json_option, owner, since_option, tenant_option


@click.command()
@tenant_option
@click.option("--action", type=click.Choice(audit.ACTIONS), default=None, metavar="ACTION", help="Of this kind alone, as `key.revoked`.")
@since_option
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def audit_command(tenant: str | None, action: str | None, since: timedelta | None, limit: int, as_json: bool, folder: Path | None) -> None:
    """Show who made keys, moved versions, erased entities or changed webhooks and schedules, of every tenant. Newest first."""
    with database(folder, "fleetcast-audit") as (sessions, _), sessions() as session:
        found = audit.survey(session, owner(session, tenant), action=action, since=since, limit=limit)
    if as_json:
        for entry, name in found:
            click.echo(json.dumps(_told(entry, name)))
    else:
        pages.put(_listing(found) if found else "No such entries.")


def _told(entry: AuditEntry, tenant: str) -> dict[str, Any]:
    same = ("action", "subject", "actor", "request_id", "about")
    return {"tenant": tenant, "at": entry.at.isoformat()} | {name: getattr(entry, name) for name in same}


def _listing(found: Sequence[tuple[AuditEntry, str]]) -> Table:
    table = Table("at", "tenant", Column("action", no_wrap=True), "subject", "by", "request", "about")
    for entry, tenant in found:
        about = " ".join(f"{name}={value}" for name, value in entry.about.items() if value is not None)
        at = f"{entry.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, tenant, entry.action, entry.subject, entry.actor, entry.request_id or "–", about)
    return table
