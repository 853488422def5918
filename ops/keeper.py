"""The keeper of a house seen from outside: brought up in the background, told to stop, cleared up after when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ops import stack
from ops.children import GRACE_S, end_orphans, notebook
from ops.house import House, HouseError, forget, is_kept, keeping, read
from ops.processes import wait_until
from tasks.environment import environment, inherited
from tasks.settings import Settings

#: Within so many seconds an API that was started answers.
READY_S = 60.0


def down(folder: Path) -> bool:
    """Stop the house of this folder and wait until it has; False when there was none. Clears up after one that was killed."""
    wait_until(lambda: notebook(folder) is not None or not is_kept(folder), GRACE_S)  # it may have begun an instant ago
    left = notebook(folder)
    if left is None:
        return False
    if not is_kept(folder):
        with keeping(folder):
            clear_up(folder, servers_too=True)
        return True
    with suppress(ProcessLookupError):
        os.kill(left.keeper, signal.SIGTERM)
    if not wait_until(lambda: not is_kept(folder), GRACE_S * 2):
        raise HouseError(
            f"Process {left.keeper} did not stop within {GRACE_S * 2:g} s. See {folder / 'logs'}, then `kill -9 {left.keeper}`."
        )
    return True


def detach(settings: Settings, folder: Path) -> House:
    """Bring the house up in the background and return once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    if is_kept(folder):
        raise HouseError(f"It already runs from {folder}. See it with `fleetcast status`, stop it with `fleetcast down`.")
    log = folder / "up.log"
    with log.open("ab") as output:
        begin = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "ops.cli", "up", "--folder", str(folder)],
            env=inherited() | _given(settings),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until(lambda: child.poll() is not None or _belongs(read(folder), child.pid), READY_S * 2, pause=0.1)
    house = read(folder)
    if house is None or not _belongs(house, child.pid):
        late = f" within {READY_S * 2:g} s; where the machine is only busy, try again" if child.poll() is None else ""
        child.terminate()
        child.wait(GRACE_S * 2)
        told = log.read_bytes()[begin:].decode(errors="replace").splitlines()
        raise HouseError("\n".join([f"The house did not come up{late}. The end of {log}:", *told[-15:]]))
    return house


def clear_up(folder: Path, *, servers_too: bool) -> list[str]:
    """After a keeper that was killed: its processes, whose names are returned, then the servers it started."""
    forget(folder)
    left = notebook(folder)
    ended = end_orphans(folder)
    if left is not None and left.embedded and servers_too:
        stack.stop(folder)
    return ended


def _given(settings: Settings) -> dict[str, str]:
    """The settings as a child reads them; blanks stay blank, for the child to fill."""
    return {name: value for name, value in environment(settings).items() if value}


def _belongs(house: House | None, supervisor: int) -> bool:
    return house is not None and house.pids.get("supervisor") == supervisor
