"""The test bench's house: real servers, a real web process, and what a process takes of the machine."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from db import migrate
from db.session import make_engine
from ops import stack
from tests.support.web import Caller, House, make_house, make_runtime

TICKS = os.sysconf("SC_CLK_TCK")
#: No quota is to be met.
PLENTY = 10_000_000


@dataclass(frozen=True)
class Ground:
    folder: Path
    house: House
    me: Caller
    database_url: str
    redis_url: str


@contextmanager
def ground() -> Iterator[Ground]:
    """Embedded servers with fsync, as in production, and a tenant without limits."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        servers = stack.start(folder / "servers")
        engine = make_engine(servers.database_url)
        try:
            migrate.upgrade(engine)
            house = make_house(make_runtime(engine, servers.redis_url))
            me = house.caller("bench")
            with engine.begin() as connection:
                connection.execute(text("UPDATE tenants SET max_unfinished = :plenty, max_running = 256"), {"plenty": PLENTY})
            gc.collect()
            gc.freeze()  # as a web process does with what it has imported
            yield Ground(folder, house, me, servers.database_url, servers.redis_url)
        finally:
            engine.dispose()
            stack.remove(folder / "servers")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    spent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, spent)) / TICKS


def most_held(pid: int) -> float:
    """Megabytes of memory that the process ever held since `forget_most`."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) / 1024


def forget_most(pid: int) -> float:
    """Count the most anew from now; the megabytes held now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return most_held(pid)
