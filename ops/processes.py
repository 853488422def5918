"""The floor of the engine room: running a program, starting a server that outlives us, knowing it again, ending it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LOCALHOST = "127.0.0.1"
# Nothing of the caller's environment reaches a server; messages stay English because we read some of them.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
# Below the range from which kernels take the ports of outgoing connections, so a remembered port is seldom lost to one.
PORTS = range(15_000, 30_000)
PROC = Path("/proc")
LOG_LIMIT = 5_000_000  # bytes; a longer log is set aside when its server starts


class StackError(Exception):
    """The embedded servers cannot do what was asked; the sentence says why and how to mend it."""


@dataclass(frozen=True)
class Account:
    """Whom the servers run as; both None: ourselves."""

    user: int | None = None
    group: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups to keep: root's must not travel with a process that is no longer root's."""
        return None if self.user is None else []

    def own(self, path: Path) -> None:
        """Give away what root has just made."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)


@dataclass(frozen=True)
class Log:
    """A server's log, and where in it the present run begins."""

    path: Path
    begin: int = 0

    def since(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.since().splitlines()[-lines:])


def run(command: Sequence[str | Path], account: Account, stdin: str = "") -> str:
    """Run a program to its end and return what it said."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env=ENVIRONMENT,
            umask=0o077,
            timeout=300,
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{name} could not be run: {error}") from error
    if done.returncode:
        raise StackError(f"{name} failed with status {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def spawn(command: Sequence[str | Path], account: Account, folder: Path, log: Path) -> tuple[int, Log]:
    """Start a server that outlives us, in a session of its own and holding none of our files open.

    A shell puts it in the background and ends, so whoever called us neither waits for the server nor keeps its zombie.
    """
    with _open_log(log) as out:
        begin = out.tell()
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *(str(word) for word in command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=out,
            cwd=folder,
            env=ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            check=True,
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
        )
    return int(shell.stdout), Log(log, begin)


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.old"))
    file = path.open("ab")
    path.chmod(0o600)
    return file


def command_line(pid: int) -> str:
    """The words a process was started with; empty for one that is gone, dying, a zombie or not for us to see."""
    if not (PROC / "self" / "cmdline").exists():
        return _command_line_by_ps(pid)
    try:
        return os.fsdecode((PROC / str(pid) / "cmdline").read_bytes()).replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _command_line_by_ps(pid: int) -> str:
    """macOS has no /proc."""
    told = subprocess.run(["ps", "-ww", "-o", "stat=", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, env=ENVIRONMENT)
    state, _, words = told.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else words.strip()


def read_pid(file: Path) -> int | None:
    """The first line of a pid file. What it names may long be somebody else: only `command_line` can tell."""
    try:
        pid = int(file.read_text().split()[0])
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None
    return pid if pid > 1 else None


def end(pid: int, recognise: Callable[[int], bool], signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Ask a process to end, ever less politely, and wait each time; True once it is gone."""
    for number, patience in signals:
        if not recognise(pid):
            return True
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        if wait_until(lambda: not recognise(pid), patience):
            return True
    return not recognise(pid)


def wait_until(true: Callable[[], bool], patience: float, pause: float = 0.02) -> bool:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def usable_port(remembered: int, patience: float = 0.0) -> int:
    """The remembered port when it is free, else another. A server killed an instant ago may need `patience` to let go of its own."""
    if remembered and wait_until(lambda: _is_free(remembered), patience):
        return remembered
    for _ in range(200):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        if _is_free(port):
            return port
    raise StackError(f"no free port found between {PORTS.start} and {PORTS.stop} on {LOCALHOST}; end some of the servers there.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: leftovers of closed connections are no hindrance
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True
