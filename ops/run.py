"""How each process of the house is started: the same commands by hand, under `up`, and in containers."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click

from db import migrate
from db.session import make_engine
from ops.house import folder_option, served
from tasks import logs
from tasks.dispatcher import Dispatcher
from tasks.jobs import SERVES
from tasks.runtime import open_runtime
from tasks.settings import Settings, SettingsError, environment, inherited, load

#: What `fleetcast` commands become, and the extra of ours that brings it.
EXTRAS = {"gunicorn": "web", "celery": "worker", "flower": "operate"}
#: A training worker's child is replaced after so many jobs, so that what native code leaks does not add up.
JOBS_PER_CHILD = 50
#: Its presence says that a CUDA card can be used, without loading torch to ask.
NVIDIA = Path("/dev/nvidiactl")


@click.command()
@folder_option
def migrate_command(folder: Path | None) -> None:
    """Bring Postgres to the schema of this version."""
    engine = make_engine(served(folder).database_url, application="fleetcast-migrate")
    try:
        migrate.upgrade(engine)
    finally:
        engine.dispose()
    click.echo("The database is at the newest migration.")


@click.command()
def web_command() -> None:
    """Serve the API (gunicorn with gevent)."""
    settings = _settings()
    bind = f"{settings.api_host}:{settings.api_port}"
    _become(
        "gunicorn", "--config", "python:webapp.gunicorn_conf", "--bind", bind, "--workers", str(settings.web_workers), "webapp.wsgi:app"
    )


@click.command()
def dispatcher_command() -> None:
    """Ring the workers for due jobs, and reconcile. Any number may run."""
    settings = _settings()
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    runtime = open_runtime(settings, "dispatcher", pool_size=2)
    Dispatcher(runtime).run(stop)
    runtime.close()


@click.command()
@click.argument("kind", type=click.Choice(sorted(SERVES)))
def worker_command(kind: str) -> None:
    """Work on jobs: `interactive` serves predictions, what-if and batches, `train` serves trainings."""
    settings = _settings()
    settings = replace(settings, worker_name=settings.worker_name or f"{kind}@{socket.gethostname()}")
    # CUDA does not survive a fork, so a child for the card is started afresh.
    start = "spawn" if settings.device == "cuda" or (settings.device == "auto" and NVIDIA.exists()) else "fork"
    recycle = ("--max-tasks-per-child", str(JOBS_PER_CHILD)) if kind == "train" else ()
    words = ("--include", "tasks.worker", "--queues", ",".join(SERVES[kind]), "--hostname", f"{kind}@%h")
    pool = ("--pool", "prefork", "--concurrency", str(settings.worker_concurrency), "--pool-start-method", start)
    quiet = ("--without-gossip", "--without-mingle", "--events", "--loglevel", settings.log_level)
    _become("celery", "--app", "tasks", "worker", *words, *pool, *recycle, *quiet, settings=settings)


@click.command()
def flower_command() -> None:
    """Serve Flower, read-only and behind a password."""
    settings = _settings()
    if ":" not in settings.flower_basic_auth:
        raise SettingsError("FLOWER_BASIC_AUTH", "", "set `user:password`; Flower shows every tenant's jobs")
    address = (f"--address={settings.api_host}", f"--port={settings.flower_port}")
    _require("flower")
    _become("celery", "--app", "tasks", "flower", *address, "--read_only=True", settings=settings)


def _settings() -> Settings:
    """The settings, with both servers named."""
    settings = load()
    for variable, value in (("DATABASE_URL", settings.database_url), ("REDIS_URL", settings.redis_url)):
        if not value:
            raise SettingsError(variable, value, "name the server, or start the whole house with `fleetcast up`")
    return settings


def _become(module: str, *words: str, settings: Settings | None = None) -> None:
    """Replace this process by `python -m module words…`, so that signals reach it directly.

    Secrets travel in the environment, never on the command line, which every user of the machine can read.
    """
    _require(module)
    told = environment(settings or load())
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *words], inherited() | told)


def _require(module: str) -> None:
    if find_spec(module) is None:
        raise click.ClickException(f"{module} is not installed: pip install 'fleetcast[{EXTRAS[module]}]'.")
