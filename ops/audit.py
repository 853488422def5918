"""The command `audit`: who did what, over all tenants, for whoever runs the house."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from db import audit
from db.models import AuditEntry
from ops.durations import DURATION
from ops.house import database, folder_option
from ops.jobs import MOST_LISTED, owner, tenant_option
from ops.telling import as_json_option, tell_rows


@click.command()
@tenant_option
@click.option("--action", type=click.Choice(audit.ACTIONS), default=None, metavar="ACTION", help="Of this kind alone, as `key.revoked`.")
@click.option("--since", type=DURATION, default=None, help="Done no longer ago, as 2h or 3d.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def audit_command(tenant: str | None, action: str | None, since: timedelta | None, limit: int, as_json: bool, folder: Path | None) -> None:
    """Show who made keys, moved versions, erased entities or changed webhooks and schedules, of every tenant. Newest first."""
    with database(folder, "fleetcast-audit") as (sessions, _), sessions() as session:
        found = audit.survey(session, owner(session, tenant), action=action, since=since, limit=limit)
    if as_json:
        tell_rows([_told(*each) for each in found], "", as_json=True)
    else:
        tell_rows([_line(*each) for each in found], "No such entries.", as_json=False)


def _told(entry: AuditEntry, tenant: str) -> dict[str, Any]:
    same = ("action", "subject", "actor", "request_id", "about")
    return {"tenant": tenant, "at": entry.at} | {name: getattr(entry, name) for name in same}


def _line(entry: AuditEntry, tenant: str) -> dict[str, Any]:
    about = " ".join(f"{name}={value}" for name, value in entry.about.items() if value is not None)
    who = {"at": entry.at, "tenant": tenant, "action": entry.action, "subject": entry.subject, "by": entry.actor}
    return who | {"request": entry.request_id, "about": about}
