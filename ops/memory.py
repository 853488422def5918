"""What the servers' folder remembers between starts: where each listens and what it asks for; and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ops.ground import belongs
from ops.processes import StackError, wait_until

NAMES = ("postgres", "valkey")
LOCK_PATIENCE = 180.0  # seconds to wait for another start or stop in the same folder


@dataclass(frozen=True)
class Seat:
    """Where one server listens and what it asks for; port 0: none chosen yet."""

    port: int
    password: str


@dataclass(frozen=True)
class State:
    """What the folder remembers between starts."""

    ground: Path
    seats: dict[str, Seat]

    def with_port(self, name: str, port: int) -> State:
        return replace(self, seats=self.seats | {name: replace(self.seats[name], port=port)})


def recall(folder: Path) -> State | None:
    """None for a state file that is missing or is none."""
    try:
        kept = json.loads((folder / "state.json").read_text())
        seats = {name: Seat(int(kept[name]["port"]), str(kept[name]["password"])) for name in NAMES}
        ground = folder / kept["ground"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not ground.is_dir():
        return None
    if not belongs(ground, folder):
        raise StackError(
            f"{folder} was moved or copied, and its data is in {ground}; move it back, or delete its state.json to begin anew."
        )
    return State(ground, seats)


def write(folder: Path, state: State) -> None:
    ground = "." if state.ground == folder else str(state.ground)  # a folder that holds its own data may be moved
    kept = {"ground": ground} | {name: vars(seat) for name, seat in state.seats.items()}
    handle, side = tempfile.mkstemp(prefix="new-state-", dir=folder)  # mode 0600: it holds both passwords
    with os.fdopen(handle, "w") as file:
        json.dump(kept, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(side).replace(folder / "state.json")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One start or stop at a time per folder. The kernel lets go of the lock when its holder dies, however it dies."""
    file = (folder / "lock").open("a")
    with file:
        if not wait_until(lambda: _lock(file.fileno()), LOCK_PATIENCE, pause=0.05):
            raise StackError(f"another start or stop has held {folder / 'lock'} for {LOCK_PATIENCE:.0f} s; wait for it, or end it.")
        if not os.path.samestat(os.fstat(file.fileno()), (folder / "lock").stat()):
            raise StackError(f"{folder} was removed meanwhile; start again.")
        yield


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
