"""The faults: what befalls the processes, the servers, the wires, the messages, the disk and the artefacts."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from tasks.jobs import QUEUES
from tests.chaos.points import POINTS
from tests.chaos.stage import Part, Stage

#: Seconds for which something is gone, unless a fault says otherwise.
SHORT_S, LONG_S = 0.5, 3.0


@dataclass(frozen=True)
class Hit:
    """A fault that happened. Moments by the clock of this machine, which is Postgres' too."""

    name: str
    began: float
    ended: float
    detail: str = ""
    #: Jobs that ran in what was killed, and those that had been rung for when Redis was emptied.
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gremlin:
    """One who strikes: what befell is told in a word, with the jobs it befell; None where there was nothing to strike."""

    stage: Stage
    dice: random.Random

    def strike(self, name: str) -> Hit | None:
        began = time.time()
        with suppress(redis.RedisError, ProcessLookupError):
            told = FAULTS[name].strike(self)
            return None if told is None else Hit(name, began, time.time(), *told)
        return Hit(name, began, time.time(), "in the middle of another")

    def part(self, kind: str) -> Part:
        return self.dice.choice(self.stage.of(kind))

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def lease_s(self) -> float:
        return float(self.stage.setting("LEASE_S"))


Told = tuple[str, tuple[str, ...]]
Strike = Callable[[Gremlin], Told | None]


@dataclass(frozen=True)
class Fault:
    strike: Strike
    #: How often beside the others.
    weight: int
    #: Whether it lasts: such ones come one after the other, beside the quick ones.
    lasts: bool = False


def running(stage: Stage, owner: str) -> tuple[str, ...]:
    """The jobs in this worker's hands."""
    query = "SELECT id FROM jobs WHERE state = 'running' AND starts_with(lease_owner, %(owner)s)"
    return tuple(row[0] for row in stage.rows(query, owner=f"{owner}/"))


def kill_web(gremlin: Gremlin) -> Told:
    part = gremlin.part("web")
    gremlin.stage.kill(part)
    return part.name, ()


def kill_web_worker(gremlin: Gremlin) -> Told | None:
    """What answers requests, not its master."""
    children = gremlin.part("web").children()
    if not children:
        return None
    os.kill(children[0], signal.SIGKILL)
    return "", ()


def kill_dispatcher(gremlin: Gremlin) -> Told:
    part = gremlin.part("dispatcher")
    gremlin.stage.kill(part)
    return part.name, ()


def kill_worker(gremlin: Gremlin) -> Told:
    """With all its children, as when the machine goes: nobody is left to count a crash."""
    part = gremlin.part("worker")
    gremlin.stage.kill(part)
    return part.name, running(gremlin.stage, part.name)


def kill_child(gremlin: Gremlin) -> Told | None:
    """As the kernel does when memory is short. Never thrice the same job: that is what the product calls poison."""
    part = gremlin.part("worker")
    children, held = part.children(), running(gremlin.stage, part.name)
    crashed = gremlin.stage.rows("SELECT id FROM jobs WHERE id = ANY(%(held)s) AND crashes > 0", held=list(held))
    if not children or crashed:
        return None
    os.kill(gremlin.dice.choice(children), signal.SIGKILL)
    return part.name, held


def drain_worker(gremlin: Gremlin) -> Told:
    """Told to stop, as at every deployment."""
    part = gremlin.part("worker")
    gremlin.stage.kill_one(part, signal.SIGTERM)
    return part.name, running(gremlin.stage, part.name)


def zombie(gremlin: Gremlin) -> Told | None:
    """Stopped until its lease was given to another, then woken: it believes that it still holds its jobs."""
    part = gremlin.part("worker")
    held = running(gremlin.stage, part.name)
    frozen = [pid for pid in (part.pid, *part.children()) if pid is not None]
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        gremlin.rest(gremlin.lease_s() * 1.5)
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    return part.name, held


def no_dispatcher(gremlin: Gremlin) -> Told:
    """For a while there is none at all."""
    both = gremlin.stage.of("dispatcher")
    for part in both:
        gremlin.stage.hold(part)
    gremlin.rest(LONG_S)
    for part in both:
        gremlin.stage.free(part)
    return "", ()


def crash_point(gremlin: Gremlin) -> Told | None:
    """The next point that nobody has died at yet, or one of them again."""
    free = [point.name for point in POINTS if not (gremlin.stage.armed / point.name).exists()]
    fresh = [name for name in free if name not in gremlin.stage.points]
    if not free:
        return None
    name = gremlin.dice.choice(fresh or free)
    gremlin.stage.arm(name)
    return name, ()


def empty_redis(gremlin: Gremlin) -> Told:
    rung = gremlin.stage.rows("SELECT id FROM jobs WHERE state = 'queued' AND dispatched_at IS NOT NULL")
    with gremlin.stage.redis() as client:
        client.flushall()
    return "", tuple(row[0] for row in rung)


def kill_redis(gremlin: Gremlin) -> Told:
    """And what it held is gone."""
    rung = gremlin.stage.rows("SELECT id FROM jobs WHERE state = 'queued' AND dispatched_at IS NOT NULL")
    gremlin.stage.stop_redis(down_s=gremlin.dice.uniform(0.2, LONG_S))
    return "", tuple(row[0] for row in rung)


def slow_redis(gremlin: Gremlin) -> Told:
    """It takes commands and answers none."""
    with gremlin.stage.redis() as client:
        client.client_pause(int(LONG_S * 1000))
    gremlin.rest(LONG_S)
    return "", ()


def full_redis(gremlin: Gremlin) -> Told:
    with gremlin.stage.redis() as client:
        client.config_set("maxmemory", "1")
        try:
            gremlin.rest(LONG_S)
        finally:
            client.config_set("maxmemory", "0")
    return "", ()


def stop_postgres(gremlin: Gremlin) -> Told:
    down_s = gremlin.dice.uniform(0.0, LONG_S)
    gremlin.stage.stop_postgres(down_s=down_s)
    return f"{down_s:.1f} s", ()


def end_sessions(gremlin: Gremlin) -> Told:
    with gremlin.stage.postgres() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ended = connection.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()
    return f"{len(ended)} sessions", ()


def exhaust_postgres(gremlin: Gremlin) -> Told:
    """Somebody takes every connection that is left."""
    with ExitStack() as held:
        taken = 0
        with suppress(psycopg.OperationalError):
            for taken in range(1, 250):  # noqa: B007  # how many there were
                held.enter_context(gremlin.stage.postgres_now())
        gremlin.rest(LONG_S)
    return f"{taken} connections", ()


def lock_table(gremlin: Gremlin) -> Told:
    """As a careless migration does."""
    with gremlin.stage.postgres() as connection, suppress(psycopg.OperationalError), connection.transaction():
        connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        gremlin.rest(LONG_S / 2)
    return "", ()


def cut_wire(gremlin: Gremlin) -> Told:
    return _wire(gremlin, "cut", SHORT_S)


def black_hole(gremlin: Gremlin) -> Told:
    return _wire(gremlin, "hole", LONG_S)


def slow_wire(gremlin: Gremlin) -> Told:
    return _wire(gremlin, f"delay {gremlin.dice.choice((0.05, 0.2))}", LONG_S)


def _wire(gremlin: Gremlin, order: str, seconds: float) -> Told:
    name = gremlin.dice.choice(gremlin.stage.wires)
    gremlin.stage.wire(name, order)
    gremlin.rest(seconds)
    gremlin.stage.wire(name, "pass")
    return f"{name} {order}", ()


def double_messages(gremlin: Gremlin) -> Told | None:
    """Bells that lie in a queue, several times over."""
    with gremlin.stage.redis() as client:
        lying = [(queue, raw) for queue in QUEUES for raw in client.lrange(queue, 0, 2)]
        for queue, raw in lying:
            client.lpush(queue, *[raw] * gremlin.dice.randrange(1, 6))
    return f"{len(lying)} bells", ()


def forge_messages(gremlin: Gremlin) -> Told | None:
    """Bells for jobs that have ended, that run, and that never were; in the right form."""
    some = gremlin.stage.rows("SELECT id, kind, queue FROM jobs ORDER BY random() LIMIT 5")
    with gremlin.stage.redis() as client:
        for job_id, kind, queue in (*some, ("job_never", "train", "train"), (some[0][0] if some else "job_x", "format_disk", "train")):
            client.lpush(queue, _message(kind, job_id, queue))
    return "", ()


def garbage_messages(gremlin: Gremlin) -> Told:
    with gremlin.stage.redis() as client:
        for raw in (b'{"not": "a message"}', b"\xff\xfe", b"[]", _message("train", "x" * 1_000_000, "train"), b"{" * 5000):
            client.lpush(gremlin.dice.choice(QUEUES), raw)
    return "", ()


def _message(kind: str, job_id: str, queue: str) -> bytes:
    """As kombu writes them."""
    body = json.dumps([[job_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    told = {"delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": "forged", "body_encoding": None, "priority": 0}
    headers = {"lang": "py", "task": kind, "id": f"{job_id}:99", "root_id": job_id, "parent_id": None, "argsrepr": "", "kwargsrepr": ""}
    message = {"body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers, "properties": told}
    return json.dumps(message).encode()


def full_disk(gremlin: Gremlin) -> Told | None:
    """Not a byte is left where artefacts are written. Only where the campaign could give them a disk of their own."""
    if not gremlin.stage.own_disk:
        return None
    filler = gremlin.stage.models / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"\0" * 65_536)
            file.flush()
    gremlin.rest(LONG_S)
    filler.unlink()
    return "", ()


def rot_artefact(gremlin: Gremlin) -> Told | None:
    """A byte of an active version's artefact is another one now."""
    query = """
        SELECT artefact_sha256 FROM versions JOIN models ON models.id = model_id JOIN entities ON entities.id = entity_id
        WHERE active AND pruned_at IS NULL AND entities.name = %(victim)s ORDER BY random() LIMIT 1"""
    found = gremlin.stage.rows(query, victim=ROTTEN)
    if not found:
        return None
    [(sha256,)] = found
    files = sorted(file for file in (gremlin.stage.models / sha256[:2] / sha256).glob("*") if file.stat().st_size)
    if not files:
        return None
    _flip(gremlin.dice.choice(files), gremlin.dice)
    return sha256[:12], ()


#: The one whose artefacts rot: of it alone a forecast may fail, as `artefact_corrupt`.
ROTTEN = "device-0"


def _flip(file: Path, dice: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place = dice.randrange(len(content))
    content[place] ^= 1 << dice.randrange(8)
    file.chmod(0o600)
    file.write_bytes(content)


FAULTS: Mapping[str, Fault] = {
    "web killed": Fault(kill_web, 2),
    "web worker killed": Fault(kill_web_worker, 3),
    "dispatcher killed": Fault(kill_dispatcher, 4),
    "worker killed": Fault(kill_worker, 3),
    "child killed": Fault(kill_child, 14),
    "worker told to stop": Fault(drain_worker, 4),
    "died at a named point": Fault(crash_point, 14),
    "Redis emptied": Fault(empty_redis, 8),
    "sessions of Postgres ended": Fault(end_sessions, 10),
    "messages doubled": Fault(double_messages, 8),
    "messages forged": Fault(forge_messages, 6),
    "garbage among the messages": Fault(garbage_messages, 6),
    "artefact damaged": Fault(rot_artefact, 4),
    "worker frozen and woken": Fault(zombie, 8, lasts=True),
    "no dispatcher": Fault(no_dispatcher, 4, lasts=True),
    "Redis killed": Fault(kill_redis, 8, lasts=True),
    "Redis silent": Fault(slow_redis, 6, lasts=True),
    "Redis full": Fault(full_redis, 5, lasts=True),
    "Postgres stopped hard": Fault(stop_postgres, 8, lasts=True),
    "connections of Postgres used up": Fault(exhaust_postgres, 4, lasts=True),
    "table locked": Fault(lock_table, 3, lasts=True),
    "wire cut": Fault(cut_wire, 14, lasts=True),
    "wire a black hole": Fault(black_hole, 8, lasts=True),
    "wire slow": Fault(slow_wire, 5, lasts=True),
    "disk full": Fault(full_disk, 4, lasts=True),
}
