"""Commands around webhooks: list them, look at their deliveries, send one again; those of every tenant."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import deliveries, webhooks
from db.errors import StoreError
from db.models import DELIVERED, FAILED, PENDING, Webhook
from ops.house import database, folder_option
from ops.jobs import as_json_option, owner, tenant_option

APPLICATION = "fleetcast-webhooks"


@click.group()
def webhooks_command() -> None:
    """List webhooks and their deliveries, and send one again."""


@webhooks_command.command()
@tenant_option
@as_json_option
@folder_option
def ls(tenant: str | None, as_json: bool, folder: Path | None) -> None:
    """Webhooks, oldest first, and why some are disabled. Secrets are not shown."""
    columns = ("id", "url", "types", "created_at", "disabled_at", "disabled_reason")
    with database(folder, APPLICATION) as (sessions, _), sessions() as session:
        found = webhooks.survey(session, owner(session, tenant))
    _put([{"tenant": name} | _told(webhook, columns) for webhook, name in found], as_json, "No webhooks.")


@webhooks_command.command(name="deliveries")
@click.argument("webhook_id")
@click.option("--state", type=click.Choice((PENDING, DELIVERED, FAILED)), default=None, help="In this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def list_deliveries(webhook_id: str, state: str | None, limit: int, as_json: bool, folder: Path | None) -> None:
    """What WEBHOOK_ID was told or is to be told, newest first."""
    columns = ("id", "type", "state", "attempt", "status_code", "error", "created_at", "tried_at", "next_at")
    with database(folder, APPLICATION) as (sessions, _), sessions() as session:
        found = deliveries.page(session, _webhook(session, webhook_id), state=state, limit=limit)
    _put([_told(delivery, columns) for delivery in found], as_json, "No such deliveries.")


@webhooks_command.command()
@click.argument("webhook_id")
@click.argument("delivery_id")
@folder_option
def replay(webhook_id: str, delivery_id: str, folder: Path | None) -> None:
    """Send DELIVERY_ID of WEBHOOK_ID again, under the same id."""
    with database(folder, APPLICATION) as (sessions, _), sessions.begin() as session:
        try:
            deliveries.replay(session, _webhook(session, webhook_id), delivery_id)
        except StoreError as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"{delivery_id} is due now.")


def _webhook(session: Session, webhook_id: str) -> Webhook:
    found = session.scalar(select(Webhook).where(Webhook.id == webhook_id))
    if found is None:
        raise click.ClickException(f"No webhook {webhook_id!r}. `fleetcast webhooks ls` shows those there are.")
    return found


def _told(row: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    return {column: getattr(row, column) for column in columns}


def _put(rows: list[dict[str, Any]], as_json: bool, otherwise: str) -> None:
    """As a table, without columns in which nothing stands; or a line of JSON for each."""
    if as_json:
        for row in rows:
            click.echo(json.dumps({name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}))
        return
    if not rows:
        click.echo(otherwise)
        return
    shown = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    table = Table(*(Column(name, no_wrap=name == "id") for name in shown))
    for row in rows:
        table.add_row(*(_text(row[name]) for name in shown))
    Console(markup=False, emoji=False).print(table)  # what a tenant wrote is no markup


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return " ".join(value) if isinstance(value, list) else "–" if value is None else str(value)
