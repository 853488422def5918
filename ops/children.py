"""The processes of a house: started, watched, started again when they die, and ended together, even after their keeper was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ops.house import write_private
from ops.processes import PROC, command_line, wait_until
from tasks.environment import environment, inherited
from tasks.settings import Settings

#: A worker hands its jobs back within 25 s of being told to stop.
GRACE_S = 30.0
#: Waits before a process that dies again and again is started: 1, 2, 4 … 30 s, from the beginning once it has lived a minute.
FIRST_S, LONGEST_S, STEADY_S = 1.0, 30.0, 60.0


@dataclass(frozen=True)
class Role:
    """One process of the house."""

    #: The `fleetcast` command that becomes it.
    command: tuple[str, ...]
    #: What its command line says once it has become what it is to be.
    mark: str


ROLES: Mapping[str, Role] = {
    "web": Role(("web",), "webapp.wsgi:app"),
    "dispatcher": Role(("dispatcher",), "ops.cli dispatcher"),
    "interactive": Role(("worker", "interactive"), "interactive@"),
    "train": Role(("worker", "train"), "train@"),
    "flower": Role(("flower",), " flower"),
}


@dataclass(frozen=True)
class Notebook:
    """What the keeper of a house writes down as it goes, for whoever has to clear up after it was killed."""

    keeper: int
    #: Whether the embedded servers were started for it.
    embedded: bool
    children: dict[str, int] = field(default_factory=dict)


class Backoff:
    """How long a process that died waits to be started again."""

    def __init__(self) -> None:
        self._wait = 0.0

    def after(self, lived_s: float) -> float:
        fresh = lived_s >= STEADY_S or not self._wait
        self._wait = FIRST_S if fresh else min(2 * self._wait, LONGEST_S)
        return self._wait


@dataclass
class Child:
    process: subprocess.Popen[bytes]
    backoff: Backoff = field(default_factory=Backoff)
    started_at: float = field(default_factory=time.monotonic)
    #: When one that has died is started again.
    due_at: float | None = None


class Children:
    """All processes of the house that runs from `folder`."""

    def __init__(self, folder: Path, say: Callable[[str], None], *, embedded: bool) -> None:
        self._folder, self._say, self._embedded = folder, say, embedded
        self._held: dict[str, Child] = {}
        self._write()

    @property
    def pids(self) -> dict[str, int]:
        return {name: child.process.pid for name, child in self._held.items()}

    def start_all(self, settings: Settings) -> None:
        for name in ROLES:
            self._held[name] = Child(self._spawn(name, settings))
            self._write()

    def is_gone(self, name: str) -> bool:
        return self._held[name].process.poll() is not None

    def log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def look_after(self, settings: Settings) -> bool:
        """Start again what has died, each in its own time; True when a process is a new one."""
        now, renewed = time.monotonic(), False
        for name, child in self._held.items():
            if child.due_at is not None and now >= child.due_at:
                child.process, child.started_at, child.due_at = self._spawn(name, settings), now, None
                self._write()
                renewed = True
            elif child.due_at is None and child.process.poll() is not None:
                wait = child.backoff.after(now - child.started_at)
                child.due_at = now + wait
                self._say(
                    f"{name} ended with status {child.process.returncode}; starting it again in {wait:g} s. Its log: {self.log(name)}"
                )
        return renewed

    def end_all(self) -> None:
        """All are told at once, since each only needs the servers, which are ended last; a job in work is handed back."""
        for child in self._held.values():
            if child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for name, child in self._held.items():
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"{name} did not stop in time; killing it. Its jobs are run again by the next worker.")
                _kill(child.process.pid)
                child.process.wait()
        _notebook_file(self._folder).unlink(missing_ok=True)

    def _spawn(self, name: str, settings: Settings) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C reaches us alone; in our folder, so that no `tasks/` of the caller stands in for ours."""
        self.log(name).parent.mkdir(exist_ok=True)
        worker_name = {"WORKER_NAME": f"{name}@{socket.gethostname()}"} if name in ("interactive", "train") else {}
        with self.log(name).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "ops.cli", *ROLES[name].command],
                env=inherited() | environment(settings) | worker_name,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _write(self) -> None:
        told = Notebook(os.getpid(), self._embedded, self.pids)
        write_private(_notebook_file(self._folder), json.dumps(vars(told)))


def notebook(folder: Path) -> Notebook | None:
    try:
        return Notebook(**json.loads(_notebook_file(folder).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def orphans(folder: Path) -> dict[str, int]:
    """Processes that live on though their keeper was killed."""
    left = notebook(folder)
    return {name: pid for name, pid in left.children.items() if _is_ours(name, pid, folder)} if left else {}


def end_orphans(folder: Path) -> list[str]:
    """End them as their keeper would have; their names."""
    left = orphans(folder)
    for pid in left.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not orphans(folder), GRACE_S, pause=0.1)
    for pid in orphans(folder).values():
        _kill(pid)
    wait_until(lambda: not orphans(folder), GRACE_S, pause=0.1)
    _notebook_file(folder).unlink(missing_ok=True)
    return list(left)


def _notebook_file(folder: Path) -> Path:
    return folder / "children.json"


def _is_ours(name: str, pid: int, folder: Path) -> bool:
    """Whether this process is what the notebook says: its number alone may have passed to somebody else."""
    words, role = command_line(pid), ROLES.get(name)
    if role is None or not (role.mark in words or f"ops.cli {' '.join(role.command)}" in words):
        return False
    stands = PROC / str(pid) / "cwd"
    try:
        return not PROC.is_dir() or stands.readlink() == folder  # macOS has no /proc
    except OSError:
        return False


def _kill(pid: int) -> None:
    """The process and its own children: each role leads a group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
