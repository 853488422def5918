"""Commands around the whole house: up, down, status."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from ops import children, up
from ops.house import House, folder_option, place, read
from tasks.settings import load


@click.command()
@folder_option
@click.option("--detach", is_flag=True, help="Return once it answers, and leave it running.")
def up_command(folder: Path | None, detach: bool) -> None:
    """Start everything: servers when none are given, migrations, API, dispatcher, workers, Flower."""
    if detach:
        _tell(up.detach(load(), place(folder)))
        click.echo("Running in the background. Stop it with `fleetcast down`.")
    else:
        up.Supervisor(load(), place(folder), click.echo).run(_ready)


@click.command()
@folder_option
def down_command(folder: Path | None) -> None:
    """Stop everything that `up` started."""
    click.echo("Stopped." if up.down(place(folder)) else f"Nothing runs from {place(folder)}.")


@click.command()
@folder_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--env", "as_env", is_flag=True, help="For the shell: FLEETCAST_URL and FLEETCAST_KEY.")
def status_command(folder: Path | None, as_json: bool, as_env: bool) -> None:
    """Say what runs, and how to reach it."""
    house = read(place(folder))
    if house is None:
        raise click.ClickException(_absent(place(folder)))
    if as_json:
        click.echo(json.dumps(asdict(house), indent=1))
    elif as_env:
        click.echo(f"export FLEETCAST_URL={house.url} FLEETCAST_KEY={house.key}")
    else:
        _tell(house)


def _absent(folder: Path) -> str:
    left = children.orphans(folder)
    if left:
        return f"The `up` of {folder} was killed and left {', '.join(left)} behind. End them with `fleetcast down`."
    return f"Nothing runs from {folder}. Start it with `fleetcast up`."


def _tell(house: House, *, openly: bool = True) -> None:
    elsewhere = "told by `fleetcast status`"
    click.echo(f"API        {house.url}      (docs: {house.docs})")
    click.echo(f"Dashboard  {house.url}/      (log in with the key)")
    click.echo(f"key        {house.key if openly else elsewhere}")
    click.echo(f"Flower     {house.flower}      (user {house.flower_user}, password {house.flower_password if openly else elsewhere})")
    click.echo(f"folder     {house.folder}      (logs/, models/)")
    click.echo("processes  " + ", ".join(f"{name} {pid}" for name, pid in house.pids.items()))


def _ready(house: House) -> None:
    """Where nobody looks on, what is said becomes a log, and a log holds no secrets."""
    _tell(house, openly=sys.stdout.isatty())
    click.echo("Running. Ctrl-C stops everything.")
