"""Commands around the whole house: up, down, status."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from ops import children, keeper, up
from ops.house import House, folder_option, place, read
from ops.telling import as_json_option, tell
from tasks.environment import load


@click.command()
@folder_option
@click.option("--detach", is_flag=True, help="Return once it answers, and leave it running.")
@as_json_option
def up_command(folder: Path | None, detach: bool, as_json: bool) -> None:
    """Start everything: servers when none are given, migrations, API, dispatcher, workers, Flower."""
    if as_json and not detach:
        raise click.UsageError("--json tells how to reach what goes on running: say --detach, too.")
    if detach:
        with Console(stderr=True).status("Starting everything; the first time takes longest …"):  # where somebody looks
            house = keeper.detach(settings := load(), place(folder))
        for line in up.gave_way(settings, house):
            click.echo(line, err=True)
        tell(asdict(house), f"{_sentences(house)}\nRunning in the background. Stop it with `fleetcast down`.", as_json=as_json)
    else:
        up.Supervisor(load(), place(folder), click.echo).run(_ready)


@click.command()
@folder_option
@as_json_option
def down_command(folder: Path | None, as_json: bool) -> None:
    """Stop everything that `up` started."""
    ran = keeper.down(place(folder))
    tell({"folder": place(folder), "stopped": ran}, "Stopped." if ran else f"Nothing runs from {place(folder)}.", as_json=as_json)


@click.command()
@folder_option
@as_json_option
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
        click.echo(_sentences(house))


def _absent(folder: Path) -> str:
    left = children.orphans(folder)
    if left:
        return f"The `up` of {folder} was killed and left {', '.join(left)} behind. End them with `fleetcast down`."
    return f"Nothing runs from {folder}. Start it with `fleetcast up`."


def _sentences(house: House, *, openly: bool = True) -> str:
    elsewhere = "told by `fleetcast status`"
    return "\n".join(
        (
            f"API        {house.url}      (docs: {house.docs})",
            f"Dashboard  {house.url}/      (log in with the key)",
            f"key        {house.key if openly else elsewhere}",
            f"Flower     {house.flower}      (user {house.flower_user}, password {house.flower_password if openly else elsewhere})",
            f"folder     {house.folder}      (logs/, models/)",
            "processes  " + ", ".join(f"{name} {pid}" for name, pid in house.pids.items()),
        )
    )


def _ready(house: House) -> None:
    """Where nobody looks on, what is said becomes a log, and a log holds no secrets."""
    click.echo(_sentences(house, openly=sys.stdout.isatty()))
    click.echo("Running. Ctrl-C stops everything.")
