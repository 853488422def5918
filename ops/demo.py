"""The demo: real series taken in, trained through the queue, versioned, forecast with intervals and drawn, over HTTP alone."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from ops import frames, keeper, stack, up
from ops.acts import Show
from ops.files import FrameError
from ops.house import House, HouseError
from ops.plan import make_plan
from ops.weather import airports
from tasks.environment import load
from tasks.settings import Settings


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CSV or Parquet of yours, instead of the weather."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder of the drawings.",
)
@click.option("--once", is_flag=True, help="Stop when done, rather than on Ctrl-C.")
def demo_command(data: Path | None, output: Path, once: bool) -> None:
    """Take in real series, train, version, forecast, draw; then leave it running to be tried by hand."""
    console = Console(highlight=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: sys.exit(128 + which))  # so that the house goes with us
    try:
        plan = make_plan(airports() if data is None else frames.read(data))
    except FrameError as error:
        raise click.ClickException(str(error)) from error
    with _house(console, load()) as house:
        Show(console, house, plan, output).run()
        if not once and sys.stdin.isatty():
            console.print("\nIt keeps running for you to try. Ctrl-C stops it and cleans up.")
            _until_interrupted()
        elif not once:
            console.print("\nIt stops now, for this is no terminal in which to press Ctrl-C: start it in one to try it by hand.")


@contextmanager
def _house(console: Console, settings: Settings) -> Iterator[House]:
    """A house of our own in a temporary folder, gone without a trace; but where something failed its logs stay, for it quotes them."""
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-demo-")).resolve()
    if settings.database_url or settings.redis_url:
        console.print(f"On the servers you name in DATABASE_URL or REDIS_URL, as the tenant {up.TENANT}: what the demo writes there stays.")
    kept = False
    try:
        with console.status("Starting Postgres, Valkey, API, dispatcher, workers, Flower …"):
            house = keeper.detach(settings, folder)
        yield house
    except (HouseError, click.ClickException):
        kept = True
        raise
    finally:
        with console.status("Stopping …"):
            keeper.down(folder)
            stack.remove(folder)
        if kept:
            console.print(f"What its processes logged is kept in {folder}.", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _until_interrupted() -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: told.set())
    told.wait()
