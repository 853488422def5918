"""Commands around API keys: create, list, rotate, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from db import tenants
from db.errors import Conflict, NotFound
from db.models import ApiKey
from ops.durations import DURATION
from ops.house import database, folder_option
from ops.telling import Group, as_json_option, tell, tell_rows
from tasks.settings import Settings

#: Of a key's life; the most is a hundred years.
DAYS = click.IntRange(1, 36_500)


@click.group(cls=Group)
def keys_command() -> None:
    """Create, list, rotate and revoke API keys."""


@keys_command.command()
@click.argument("tenant")
@click.option("--name", default="key", help="What it is for.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(tenants.SCOPES), help="Repeatable. Default: all.")
@click.option("--days", type=DAYS, help="Valid for so many days. Default: until revoked.")
@as_json_option
@folder_option
def create(tenant: str, name: str, scopes: tuple[str, ...], days: int | None, as_json: bool, folder: Path | None) -> None:
    """Make a key for TENANT, creating the tenant when it is new. The key is shown once."""
    with database(folder, "fleetcast-keys") as (sessions, settings), sessions.begin() as session:
        owner = _tenant(session, tenant, settings)
        key, whole = tenants.issue_key(session, owner, name, scopes or tenants.SCOPES, _in(days))
    tell(_told(key) | {"tenant": tenant, "key": whole}, whole, as_json=as_json)


@keys_command.command(name="ls")
@click.argument("tenant")
@as_json_option
@folder_option
def list_keys(tenant: str, as_json: bool, folder: Path | None) -> None:
    """The keys of TENANT. Secrets are not kept and cannot be shown."""
    with database(folder, "fleetcast-keys") as (sessions, _), sessions.begin() as session:
        found = tenants.list_keys(session, tenants.find_tenant(session, tenant).id)
    tell_rows([_told(key) for key in found], "No keys.", as_json=as_json)


@keys_command.command()
@click.argument("tenant")
@click.argument("key_id")
@click.option("--overlap", type=DURATION, default="24h", show_default=True, help="How long both work, as 30m, 24h or 7d.")
@click.option("--days", type=DAYS, help="The new one is valid for so many days. Default: for as long as the old one was.")
@as_json_option
@folder_option
def rotate(tenant: str, key_id: str, overlap: timedelta, days: int | None, as_json: bool, folder: Path | None) -> None:
    """Make a key that takes over from KEY_ID: same name, same scopes. The old one ends after the overlap. The new one is shown once."""
    with database(folder, "fleetcast-keys") as (sessions, _), sessions.begin() as session:
        owner = tenants.find_tenant(session, tenant).id
        try:
            rotated = tenants.rotate_key(session, owner, key_id, overlap, _in(days))
        except NotFound as error:
            raise click.ClickException(f"{error} `fleetcast keys ls {tenant}` shows those there are.") from error
        except Conflict as error:
            raise click.ClickException(f"{error} `fleetcast keys create {tenant}` makes a new one.") from error
    tell(_told(rotated.new) | {"tenant": tenant, "key": rotated.whole, "old": _told(rotated.old)}, rotated.whole, as_json=as_json)
    until = "until it is revoked" if rotated.new.expires_at is None else f"until {rotated.new.expires_at:%Y-%m-%d %H:%M} UTC"
    click.echo(f"Key {rotated.new.id} works {until}, the old one until {rotated.old.expires_at:%Y-%m-%d %H:%M} UTC.", err=True)


@keys_command.command()
@click.argument("tenant")
@click.argument("key_id")
@as_json_option
@folder_option
def revoke(tenant: str, key_id: str, as_json: bool, folder: Path | None) -> None:
    """End a key at once."""
    with database(folder, "fleetcast-keys") as (sessions, _), sessions.begin() as session:
        owner = tenants.find_tenant(session, tenant).id
        try:
            tenants.revoke_key(session, owner, key_id)
        except NotFound as error:
            raise click.ClickException(f"{error} `fleetcast keys ls {tenant}` shows those there are.") from error
    tell({"id": key_id, "tenant": tenant, "state": "revoked"}, f"Key {key_id} is revoked.", as_json=as_json)


def _told(key: ApiKey) -> dict[str, Any]:
    """All but the secret."""
    same = ("id", "name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    return {name: getattr(key, name) for name in same}


def _in(days: int | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)


def _tenant(session: Session, name: str, settings: Settings) -> str:
    try:
        return tenants.find_tenant(session, name).id
    except NotFound:
        limits = {"max_unfinished": settings.tenant_max_unfinished, "max_running": settings.tenant_max_running}
        return tenants.create_tenant(session, name, **limits).id
