"""Commands around webhooks: list them, look at their deliveries, send one again; those of every tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import deliveries, webhooks
from db.errors import StoreError
from db.models import DELIVERED, FAILED, PENDING, Webhook
from ops.house import database, folder_option
from ops.jobs import owner, tenant_option
from ops.telling import Group, as_json_option, tell, tell_rows

APPLICATION = "fleetcast-webhooks"


@click.group(cls=Group)
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
    tell_rows([{"tenant": name} | _told(webhook, columns) for webhook, name in found], "No webhooks.", as_json=as_json)


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
    tell_rows([_told(delivery, columns) for delivery in found], "No such deliveries.", as_json=as_json)


@webhooks_command.command()
@click.argument("webhook_id")
@click.argument("delivery_id")
@as_json_option
@folder_option
def replay(webhook_id: str, delivery_id: str, as_json: bool, folder: Path | None) -> None:
    """Send DELIVERY_ID of WEBHOOK_ID again, under the same id."""
    with database(folder, APPLICATION) as (sessions, _), sessions.begin() as session:
        try:
            deliveries.replay(session, _webhook(session, webhook_id), delivery_id)
        except StoreError as error:
            raise click.ClickException(f"{error} `fleetcast webhooks deliveries {webhook_id}` shows what it was told.") from error
    tell({"id": delivery_id, "webhook": webhook_id, "state": PENDING}, f"{delivery_id} is due now.", as_json=as_json)


def _webhook(session: Session, webhook_id: str) -> Webhook:
    found = session.scalar(select(Webhook).where(Webhook.id == webhook_id))
    if found is None:
        raise click.ClickException(f"No webhook {webhook_id!r}. `fleetcast webhooks ls` shows those there are.")
    return found


def _told(row: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    return {column: getattr(row, column) for column in columns}
