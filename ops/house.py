"""What runs from a folder and how to reach it: the note a running house leaves there, read by every command that needs its servers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from db.session import Sessions, make_engine, make_sessions
from ops.ground import default_folder
from ops.processes import wait_until
from tasks.environment import load
from tasks.settings import Settings, SettingsError

#: Seconds that a start waits for somebody who only looks whether the house runs.
LOOK_S = 1.0

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Where data, logs and models are. Default: FLEETCAST_FOLDER, else ~/.local/state/fleetcast (as root /var/lib/fleetcast/default).",
)


class HouseError(Exception):
    """The house did not come up, does not stop, or runs already; the sentence says what to do."""


@dataclass(frozen=True)
class House:
    """What is running and how to reach it."""

    url: str
    key: str
    docs: str
    flower: str
    flower_user: str
    flower_password: str
    database_url: str
    redis_url: str
    folder: str
    pids: dict[str, int]


def place(folder: Path | None) -> Path:
    """The folder named by the command, else by the settings, else the user's own."""
    named = load().fleetcast_folder
    return (folder or (Path(named) if named else default_folder())).expanduser().resolve()


def read(folder: Path) -> House | None:
    """The house that runs from this folder and answers, or None. What a killed one has left does not count."""
    try:
        house = House(**json.loads(_note_file(folder).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return house if is_kept(folder) else None


def note(folder: Path, house: House) -> None:
    write_private(_note_file(folder), json.dumps(asdict(house), indent=1))


def forget(folder: Path) -> None:
    _note_file(folder).unlink(missing_ok=True)


def served(folder: Path | None) -> Settings:
    """The settings of this process; servers that they leave blank are those of the house that runs from the folder.

    Raises SettingsError when DATABASE_URL is named by neither.
    """
    settings = load()
    if settings.database_url and settings.redis_url:
        return settings
    house = read(place(folder))
    if house is not None:
        settings = replace(
            settings,
            database_url=settings.database_url or house.database_url,
            redis_url=settings.redis_url or house.redis_url,
        )
    if not settings.database_url:
        raise SettingsError("DATABASE_URL", "", f"name the server, or start one: `fleetcast up` (nothing runs from {place(folder)})")
    return settings


@contextlib.contextmanager
def database(folder: Path | None, application: str) -> Iterator[tuple[Sessions, Settings]]:
    """Sessions with the Postgres that `served` finds."""
    settings = served(folder)
    engine = make_engine(settings.database_url, application=application)
    try:
        yield make_sessions(engine), settings
    finally:
        engine.dispose()


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Be the one who keeps the house of this folder. The kernel ends this when we die, however we die. Raises HouseError."""
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_file(folder).open("a") as file:
        if not wait_until(lambda: _lock(file.fileno(), fcntl.LOCK_EX), LOOK_S, pause=0.05):
            raise HouseError(f"It already runs from {folder}. See it with `fleetcast status`, stop it with `fleetcast down`.")
        yield


def is_kept(folder: Path) -> bool:
    try:
        with _lock_file(folder).open() as file:
            return not _lock(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def write_private(path: Path, text: str) -> None:
    """Written aside and renamed, readable by nobody else: it holds a key."""
    side = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    side.replace(path)


def _note_file(folder: Path) -> Path:
    return folder / "up.json"


def _lock_file(folder: Path) -> Path:
    return folder / "up.lock"


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
