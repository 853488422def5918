"""The command line: `fleetcast …`. A command is imported when called, so a web container needs only its own libraries."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

import click
import redis
from click.shell_completion import CompletionItem
from sqlalchemy.exc import OperationalError, ProgrammingError

from db.errors import MigrationBlocked, NotFound
from ops.house import HouseError
from ops.processes import StackError
from ops.telling import advised
from tasks.settings import SettingsError


class Entry(NamedTuple):
    """Where a command is, under its own name and `_command`."""

    module: str
    #: Its first sentence, told without importing it; a test holds the two together.
    sentence: str
    #: The extra that brings what it imports.
    extra: str = "demo"


COMMANDS: Mapping[str, Entry] = {
    "up": Entry("ops.upkeep", "Start everything: servers when none are given, migrations, API, dispatcher, workers, Flower."),
    "down": Entry("ops.upkeep", "Stop everything that `up` started."),
    "status": Entry("ops.upkeep", "Say what runs, and how to reach it."),
    "demo": Entry("ops.demo", "Take in real series, train, version, forecast, draw; then leave it running to be tried by hand."),
    "doctor": Entry("ops.doctor", "Say what is wrong and how to mend it."),
    "keys": Entry("ops.keys", "Create, list, rotate and revoke API keys."),
    "audit": Entry("ops.audit", "Show who made keys, moved versions, erased entities or changed webhooks and schedules, of every tenant."),
    "top": Entry("ops.top", "Show queues and jobs live; `q` leaves."),
    "models": Entry("ops.models", "Show which models schedules let expect, and which of them are missing or too old, of every tenant."),
    "jobs": Entry("ops.jobs", "List, show, retry and cancel jobs, those of every tenant."),
    "webhooks": Entry("ops.webhooks", "List webhooks and their deliveries, and send one again."),
    "schedules": Entry("ops.schedules", "List, show, pause, resume and fire schedules, those of every tenant."),
    "sinks": Entry("ops.sinks", "List and check the databases that forecasts may be written to, and print the tables that they need."),
    "run": Entry(
        "ops.nightly",
        "Train every entity by RECIPE, from its base where there is one, and forecast it into a sink: a night's work in one command.",
    ),
    "import": Entry("ops.importing", "Take in files or folders (CSV or Parquet; long or wide).", "worker"),
    "convert": Entry("ops.convert", "Turn FILE, a PyTorch state dict, into a zip that can be imported as a base.", "worker"),
    "backup": Entry("ops.backup", "Write Postgres and the artefacts into FILE, while everything runs."),
    "restore": Entry("ops.backup", "Bring FILE, which `backup` wrote, into an empty database."),
    "sample": Entry(
        "ops.samples",
        "Print series as CSV, to try things with: an airport's hourly weather, or a made-up person, device, plant or variant.",
    ),
    "settings": Entry("ops.doctor", "Show every setting: its variable, its default, and why."),
    "lifecycle": Entry("ops.lifecycle", "Show the life of a job: every change of state, who makes it, and when."),
    "sources": Entry("ops.sources", "List the sources of SOURCES_FILE, and try one alone."),
    "migrate": Entry("ops.run", "Bring Postgres to the schema of this version."),
    "web": Entry("ops.run", "Serve the API (gunicorn with gevent)."),
    "dispatcher": Entry("ops.run", "Ring the workers for due jobs, and reconcile."),
    "worker": Entry("ops.run", "Work on jobs: `interactive` serves predictions, what-if and batches, `train` serves trainings."),
    "flower": Entry("ops.run", "Serve Flower, read-only and behind a password."),
    "completion": Entry("ops.completion", "Print the script that completes commands and options in SHELL."),
    "healthcheck": Entry("ops.healthcheck", "Ask a process of this machine whether it does its work."),
}


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, extra = COMMANDS[cmd_name]
        try:
            found = getattr(importlib.import_module(module), f"{cmd_name}_command")
        except ModuleNotFoundError as error:
            raise click.ClickException(f"`fleetcast {cmd_name}` needs {error.name}: pip install 'fleetcast[{extra}]'.") from error
        assert isinstance(found, click.Command)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """A mistyped name is answered with those like it: click knows none, for here each is imported when called."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names as the list has them: a Tab imports nothing."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=entry.sentence) for name, entry in COMMANDS.items() if name.startswith(incomplete)] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.sentence) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """What a person can mend is told in one sentence, without a traceback."""
        try:
            return super().invoke(ctx)
        except (SettingsError, StackError, HouseError, MigrationBlocked) as error:
            raise click.ClickException(str(error)) from error
        except NotFound as error:
            raise click.ClickException(advised(error)) from error
        except redis.RedisError as error:
            raise click.ClickException(f"Redis does not answer: {error}. `fleetcast doctor` says what is wrong.") from error
        except OperationalError as error:
            first = str(error.orig).splitlines()[0]
            raise click.ClickException(f"Postgres does not answer: {first}. `fleetcast doctor` says what is wrong.") from error
        except ProgrammingError as error:
            first = str(error.orig).splitlines()[0]
            raise click.ClickException(f"Postgres refuses: {first}. `fleetcast migrate` brings it to this version.") from error


@click.group(cls=Commands)
@click.version_option(package_name="fleetcast")
def main() -> None:
    """Fleetcast: forecasts for a fleet of entities. Begin with `fleetcast demo`, or `fleetcast up`."""


if __name__ == "__main__":
    main(prog_name="fleetcast")
