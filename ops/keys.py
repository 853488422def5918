"""Commands around API keys: create, list, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy.orm import Session

from db import tenants
from db.errors import NotFound
from ops.house import database, folder_option
from tasks.settings import Settings


@click.group()
def keys_command() -> None:
    """Create, list and revoke API keys."""


@keys_command.command()
@click.argument("tenant")
@click.option("--name", default="key", help="What it is for.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(tenants.SCOPES), help="Repeatable. Default: all.")
@click.option("--days", type=click.IntRange(min=1), help="Valid for so many days. Default: until revoked.")
@folder_option
def create(tenant: str, name: str, scopes: tuple[str, ...], days: int | None, folder: Path | None) -> None:
    """Make a key for TENANT, creating the tenant when it is new. The key is shown once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with database(folder, "fleetcast-keys") as (sessions, settings), sessions.begin() as session:
        owner = _tenant(session, tenant, settings)
        _, key = tenants.issue_key(session, owner, name, scopes or tenants.SCOPES, expires_at)
    click.echo(key)


@keys_command.command(name="list")
@click.argument("tenant")
@folder_option
def list_keys(tenant: str, folder: Path | None) -> None:
    """The keys of TENANT. Secrets are not kept and cannot be shown."""
    table = Table(Column("id", no_wrap=True), "name", "scopes", "created", "last used", "expires", "revoked")
    with database(folder, "fleetcast-keys") as (sessions, _), sessions.begin() as session:
        for key in tenants.list_keys(session, _known(session, tenant)):
            moments = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
            table.add_row(key.id, key.name, " ".join(key.scopes), *("–" if at is None else f"{at:%Y-%m-%d %H:%M}" for at in moments))
    Console().print(table)


@keys_command.command()
@click.argument("tenant")
@click.argument("key_id")
@folder_option
def revoke(tenant: str, key_id: str, folder: Path | None) -> None:
    """End a key at once."""
    with database(folder, "fleetcast-keys") as (sessions, _), sessions.begin() as session:
        try:
            tenants.revoke_key(session, _known(session, tenant), key_id)
        except NotFound as error:
            raise click.ClickException(f"{error} `fleetcast keys list {tenant}` shows those there are.") from error
    click.echo(f"Key {key_id} is revoked.")


def _tenant(session: Session, name: str, settings: Settings) -> str:
    try:
        return tenants.find_tenant(session, name).id
    except NotFound:
        limits = {"max_unfinished": settings.tenant_max_unfinished, "max_running": settings.tenant_max_running}
        return tenants.create_tenant(session, name, **limits).id


def _known(session: Session, name: str) -> str:
    try:
        return tenants.find_tenant(session, name).id
    except NotFound as error:
        raise click.ClickException(f"{error} `fleetcast keys create {name}` makes it.") from error
