"""The engine room's door: a Postgres and a Valkey of our own, kept in one folder, for those who bring no servers."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ops.ground import abandoned, choose_ground, default_folder, make_folder, servers_account
from ops.memory import NAMES, Seat, State, locked, recall, write
from ops.postgres import DATABASE, USER, Postgres
from ops.processes import LOCALHOST, Account, Log, StackError, usable_port, wait_until
from ops.valkey import Valkey

__all__ = ["Stack", "StackError", "default_folder", "remove", "start", "status", "stop"]

READY_PATIENCE = 60.0  # seconds for a server to greet us, recovery after a crash included
GRACE = 2.0  # seconds a killed server may need to let go of its port

Server = Postgres | Valkey


@dataclass(frozen=True)
class Stack:
    """The running servers."""

    database_url: str
    redis_url: str
    folder: Path
    pids: dict[str, int]


def start(folder: Path | None = None, *, durable: bool = True) -> Stack:
    """Start what is not up yet, and say where it is. `durable=False` trades safety against power loss for speed, for tests."""
    folder = _folder(folder)
    with _plainly(folder):
        account = servers_account()
        make_folder(folder, account)
        with locked(folder):
            state = recall(folder) or _take_over(folder, account)
            _sweep(folder, state.ground)
            for server in _servers(state.ground, account):
                state = _bring_up(server, folder, state, durable=durable)
            return _stack(folder, state)


def stop(folder: Path | None = None) -> None:
    """Stop both; quiet when nothing runs."""
    folder = _folder(folder)
    with _plainly(folder):
        if folder.is_dir():
            with locked(folder):
                _stop(folder)


def status(folder: Path | None = None) -> Stack | None:
    """The servers when both run, else None. Changes nothing."""
    folder = _folder(folder)
    with _plainly(folder):
        state = recall(folder)
        return _stack(folder, state) if state and len(_pids(state)) == len(state.seats) else None


def remove(folder: Path | None = None) -> None:
    """Stop both and delete their data, wherever it lies; what else is in the folder stays."""
    folder = _folder(folder)
    with _plainly(folder):
        if not folder.is_dir():
            return
        with locked(folder):
            ground = _stop(folder)
            if ground != folder:
                shutil.rmtree(ground)
            for pattern in ("postgres-[0-9]*", "new-*", "valkey", "valkey.*", "postgres.log*", "state.json", "lock"):
                for path in folder.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):  # not empty, or not ours to delete
            folder.rmdir()


def _folder(folder: Path | None) -> Path:
    return (folder or default_folder()).expanduser().resolve()


def _servers(ground: Path, account: Account) -> tuple[Server, Server]:
    return Postgres(ground, account), Valkey(ground, account)


def _pids(state: State) -> dict[str, int]:
    found = {server.name: server.pid() for server in _servers(state.ground, Account())}
    return {name: pid for name, pid in found.items() if pid is not None}


def _stack(folder: Path, state: State) -> Stack:
    postgres, valkey = state.seats["postgres"], state.seats["valkey"]
    return Stack(
        database_url=f"postgresql+psycopg://{USER}:{postgres.password}@{LOCALHOST}:{postgres.port}/{DATABASE}",
        redis_url=f"redis://:{valkey.password}@{LOCALHOST}:{valkey.port}/0",
        folder=folder,
        pids=_pids(state),
    )


def _take_over(folder: Path, account: Account) -> State:
    """A new state. Data found without one is kept, but nobody knows its password any more, so it gets the new one."""
    _clear_away(folder)
    seats = {name: Seat(0, secrets.token_hex(24)) for name in NAMES}
    state = State(choose_ground(folder, account), seats)
    postgres, valkey = Postgres(state.ground, account), Valkey(state.ground, account)
    for server in (postgres, valkey):
        _end(server)
    postgres.reset_password(state.seats["postgres"].password)
    write(folder, state)
    return state


def _sweep(*places: Path) -> None:
    """What starts cut short have left. A killed one's initdb may still be writing there; then a later start gets the rest."""
    for left in (path for place in places for path in place.glob("new-*")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _clear_away(folder: Path) -> None:
    for ground in abandoned(folder):
        for server in _servers(ground, Account()):
            _end(server)
        shutil.rmtree(ground, ignore_errors=True)  # another start may be at it too


def _bring_up(server: Server, folder: Path, state: State, *, durable: bool) -> State:
    """Adopt the running server or start it, until it greets us. The port is written down first: a start cut short here is found again."""
    deadline = time.monotonic() + READY_PATIENCE
    seat = state.seats[server.name]
    while time.monotonic() < deadline:
        pid, log = server.pid(), None
        if pid is None:
            seat = replace(seat, port=usable_port(seat.port, GRACE if server.ended_badly() else 0.0))
            state = state.with_port(server.name, seat.port)
            write(folder, state)
            pid, log = server.launch(seat.port, seat.password, durable=durable)
        if _greeted(server, seat, pid, deadline):
            return state
        _judge(server, log)
        time.sleep(0.2)
    raise StackError(
        f"{server.name} did not answer within {READY_PATIENCE:.0f} s; see its log in {state.ground}, then stop it or start again."
    )


def _greeted(server: Server, seat: Seat, pid: int, deadline: float) -> bool:
    """Wait for a real connection; False when the server has died or time is up."""
    wait_until(lambda: server.answers(seat.port, seat.password) or not server.recognises(pid), deadline - time.monotonic())
    return server.pid() is not None and server.answers(seat.port, seat.password)


def _judge(server: Server, log: Log | None) -> None:
    """A server we launched has died. Only what passes by itself is tried again: its port, or its data, still in use by others."""
    if log is not None and server.pid() is None and "in use" not in log.since():
        raise StackError(f"{server.name} ended while starting; {log.path} says:\n{log.tail()}")


def _stop(folder: Path) -> Path:
    state = recall(folder)
    ground = state.ground if state else folder
    for server in _servers(ground, Account()):
        _end(server)
    return ground


def _end(server: Server) -> None:
    if not server.stop():
        raise StackError(
            f"{server.name} (process {server.pid()}) does not stop; see its log in {server.ground}, then try again or kill it."
        )


@contextlib.contextmanager
def _plainly(folder: Path) -> Iterator[None]:
    """The machine's refusals (no space, no permission, a file in the way) in our own words."""
    try:
        yield
    except OSError as error:
        raise StackError(f"the embedded servers cannot use {folder}: {error}; free it, or name another folder.") from error
