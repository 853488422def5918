"""How each process of the house is started: the same commands by hand, under `up`, and in containers."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import migrate
from db.session import make_engine
from ops.house import HouseError, folder_option, served, write_private
from ops.telling import as_json_option, progress, tell
from tasks import logs
from tasks.dispatcher import Dispatcher
from tasks.environment import environment, inherited, load
from tasks.jobs import SERVES
from tasks.runtime import open_runtime
from tasks.settings import Settings, SettingsError

#: What `fleetcast` commands become, and the extra of ours that brings it.
EXTRAS = {"gunicorn": "web", "celery": "worker", "flower": "flower"}
#: A training worker's child is replaced after so many jobs, so that what native code leaks does not add up.
JOBS_PER_CHILD = 50
#: Its presence says that a CUDA card can be used, without loading torch to ask.
NVIDIA = Path("/dev/nvidiactl")
#: A killed Flower has forgotten no more than the last so many seconds.
FLOWER_SAVES_S = 10
#: A worker gone for so long leaves Flower's list and its metrics, which would otherwise grow with every new container's name.
FLOWER_FORGETS_S = 300
#: Tells Flower its password and the cookies' secret.
FLOWER_CONF = Path(__file__).with_name("flower_conf.py")


@click.command()
@as_json_option
@folder_option
def migrate_command(as_json: bool, folder: Path | None) -> None:
    """Bring Postgres to the schema of this version."""
    engine = make_engine(served(folder).database_url, application="fleetcast-migrate")
    try:
        with progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as bar:
            _migrated(engine, bar)
        standing = migrate.standing(engine)
    finally:
        engine.dispose()
    newer = "A newer version migrated the database; this one runs beside it and leaves it as it is."
    sentence = newer if standing is migrate.Standing.AHEAD else "The database is at the newest migration."
    tell({"standing": standing.value}, sentence, as_json=as_json)


def _migrated(engine: Engine, bar: Progress) -> None:
    """Each migration is a transaction of its own, so they can be counted."""
    missing = migrate.missing(engine)
    task = bar.add_task("migrations", total=len(missing))
    for revision in missing:
        bar.update(task, description=f"migration {revision}")
        migrate.upgrade(engine, revision)
        bar.advance(task)
    migrate.upgrade(engine)


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
    _require_schema(settings)
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    runtime = open_runtime(settings, "dispatcher", connections=6)
    Dispatcher(runtime).run(stop)
    runtime.close()


@click.command()
@click.argument("kind", type=click.Choice(sorted(SERVES)))
def worker_command(kind: str) -> None:
    """Work on jobs: `interactive` serves predictions, what-if and batches, `train` serves trainings."""
    settings = _settings()
    _require_schema(settings)
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
    settings = _named(load(), "REDIS_URL")
    if ":" not in settings.flower_basic_auth:
        raise SettingsError("FLOWER_BASIC_AUTH", "", "set `user:password`; Flower shows every tenant's jobs")
    _require("flower")
    state = _private(settings.flower_folder)
    _make_cookie_secret(state)
    _become("celery", "--app", "tasks", "--quiet", "flower", *_flower_words(settings, state), settings=settings)


def _flower_words(settings: Settings, state: Path) -> tuple[str, ...]:
    """Whoever may look may change nothing; what was seen outlives the process."""
    address = (
        f"--address={settings.api_host}",
        f"--port={settings.flower_port}",
        f"--url_prefix={settings.flower_url_prefix}",
        "--xheaders",
    )
    kept = ("--persistent=True", f"--db={state / 'flower.db'}", f"--state_save_interval={1000 * FLOWER_SAVES_S}")
    bounds = (f"--max_tasks={settings.flower_max_tasks}", f"--purge_offline_workers={FLOWER_FORGETS_S}")
    # tornado would otherwise set its own level, and Flower run a `flowerconfig.py` of the folder it is started in.
    return (*address, *kept, *bounds, "--read_only=True", "--logging=none", f"--conf={FLOWER_CONF}")


def _private(folder: Path) -> Path:
    """The folder, ours alone. Flower's file is a pickle: whoever may write it runs code as us, whoever may read it sees every tenant.

    One that is open to others is refused and not closed: it may be a folder that they need.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except OSError as error:
        raise SettingsError("FLOWER_FOLDER", str(folder), f"{error.strerror}; name a folder of this user's own") from None
    if about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise SettingsError("FLOWER_FOLDER", str(folder), "others can enter it; `chmod 700` it, or name a folder of this user's own")
    return folder


def _make_cookie_secret(state: Path) -> None:
    """Made at the first start and kept, so that what Flower signed is still good after the next."""
    file = state / "cookie-secret"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(64))


def _settings() -> Settings:
    """The settings, with both servers named."""
    return _named(load(), "DATABASE_URL", "REDIS_URL")


def _require_schema(settings: Settings) -> None:
    """Refuse to work on a database that lacks migrations. One that does not answer is waited for, as at any other time."""
    engine = make_engine(settings.database_url, connections=2, application="fleetcast-migrate")
    try:
        behind = migrate.standing(engine) is migrate.Standing.BEHIND
    except OperationalError:
        return
    finally:
        engine.dispose()
    if behind:
        raise HouseError("The database lacks migrations of this version. Run `fleetcast migrate`, then start this again.")


def _named(settings: Settings, *variables: str) -> Settings:
    """The settings, in which these servers must be named."""
    for variable in variables:
        if not getattr(settings, variable.lower()):
            raise SettingsError(variable, "", "name the server, or start the whole house with `fleetcast up`")
    return settings


def _become(module: str, *words: str, settings: Settings | None = None) -> None:
    """Replace this process by `python -m module words…`, so that signals reach it directly.

    Secrets travel in files where they came in files, else in the environment; never on the command line, which everybody can read.
    """
    _require(module)
    told = environment(settings or load())
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *words], inherited() | told)


def _require(module: str) -> None:
    if find_spec(module) is None:
        raise click.ClickException(f"{module} is not installed: pip install 'fleetcast[{EXTRAS[module]}]'.")
