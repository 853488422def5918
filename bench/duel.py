"""Two apps under the same gunicorn, ours and the least that does the same, over the same servers; and a client that asks both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, text

from bench.client import Plan
from bench.house import PLENTY, children, cpu_seconds
from db import migrate
from db.session import make_engine
from ops import stack
from ops.processes import usable_port, wait_until
from tasks.environment import inherited
from tests.support.web import API, Caller, House, days, make_house, make_runtime

ROOT = Path(__file__).parent.parent
ENTITIES = 50
WARM_UP_S = 0.3


@dataclass(frozen=True)
class Server:
    port: int
    #: The master's; its only child does the work.
    pid: int

    def cpu_seconds(self) -> float:
        return cpu_seconds(children(self.pid)[0])


@dataclass(frozen=True)
class Measure:
    """One thing that both can be asked; `rival` names the bare one it stands beside."""

    name: str
    method: str
    path: str
    body: str
    good: str
    headers: Mapping[str, str]
    rival: str | None = None


@dataclass
class Ground:
    """Everything that a run needs."""

    engine: Engine
    memory: redis.Redis
    ours: Server
    bare: Server
    sent: int = 0

    def empty_queues(self) -> None:
        """Tables in the state of a service whose workers keep up, with fresh statistics."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("DELETE FROM jobs WHERE state = 'queued'"))
            connection.execute(text("VACUUM ANALYZE jobs"))
        self.memory.delete("bare")

    def delay_commits(self, milliseconds: float) -> None:
        """Postgres waits so long before each commit, whether others wait too or not."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"ALTER SYSTEM SET commit_delay = {round(milliseconds * 1000)}"))
            connection.execute(text("ALTER SYSTEM SET commit_siblings = 0"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def run(self, measure: Measure, concurrency: int, seconds: float) -> dict[str, Any]:
        server = self._server(measure)
        if measure.method == "POST":
            self.empty_queues()
        before = server.cpu_seconds()
        told = self.send(measure, concurrency, seconds, WARM_UP_S)
        return told | {"cpu_ms": (server.cpu_seconds() - before) / told["sent"] * 1000}

    def send(self, measure: Measure, concurrency: int, seconds: float, warm_up: float) -> dict[str, Any]:
        """Exits when an answer is not the one that the measure calls good."""
        plan = Plan(
            port=self._server(measure).port,
            method=measure.method,
            path=measure.path,
            headers=dict(measure.headers),
            body=measure.body,
            concurrency=concurrency,
            seconds=seconds,
            warm_up=warm_up,
            first=self.sent,
        )
        told = drive(plan)
        self.sent += told["sent"]
        if told["statuses"].keys() != {measure.good}:
            raise SystemExit(f"{measure.name}: {told['statuses']} instead of {measure.good}. One answer: {told['odd']}")
        return told

    def _server(self, measure: Measure) -> Server:
        return self.bare if measure.rival is None else self.ours


def drive(plan: Plan) -> dict[str, Any]:
    """What the client in a process of its own brings back."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.client"],
        input=json.dumps(asdict(plan)),
        cwd=ROOT,
        env=inherited(),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def prepare(held: ExitStack, folder: Path) -> tuple[Ground, list[Measure]]:
    held.callback(stack.remove, folder / "servers")
    servers = stack.start(folder / "servers")
    engine = make_engine(servers.database_url)
    held.callback(engine.dispose)
    migrate.upgrade(engine)
    runtime = make_runtime(engine, servers.redis_url)
    house = make_house(runtime)
    me = house.caller("bench")
    with engine.begin() as connection:
        connection.execute(text("UPDATE tenants SET max_unfinished = :plenty"), {"plenty": PLENTY})
    job = _furnish(house, me)
    environment = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "MAX_QUEUE": str(PLENTY),
        "RATE_LIMIT_PER_MINUTE": str(PLENTY),
    }
    ours = held.enter_context(_served("webapp.wsgi:app", folder / "ours.log", environment))
    bare = held.enter_context(_served("bench.bare:app", folder / "bare.log", environment))
    answer = me.get(f"/jobs/{job}")
    memory = held.enter_context(redis.Redis.from_url(servers.redis_url))
    memory.set("bare:job", answer.data)
    return Ground(engine, memory, ours, bare), _measures(me.key, job, answer.headers["ETag"])


def _furnish(house: House, me: Caller) -> str:
    """Entities with data and an active version; the id of a finished job."""
    for number in range(ENTITIES):
        assert me.post(f"/entities/e{number}/observations", {"observations": days(60)}).status_code == 200
        job: str = me.post("/models/train", {"entity": f"e{number}", "recipe": "health-daily"}).json["id"]
        house.publish(me, job)
    return job


def _measures(key: str, job: str, etag: str) -> list[Measure]:
    """In the order in which a round runs them: each of ours beside its rival."""
    mine = {"Authorization": f"Bearer {key}"}
    predict = '{"entity": "e7", "target": "rhr", "level": 0.5%(n)08d}'
    train = '{"entity": "e7", "recipe": "health-daily", "spec": {"seed": %(n)d}}'
    return [
        Measure("submit predict", "POST", f"{API}/predict", predict, "202", mine, "delay()"),
        Measure("delay()", "POST", "/submit", predict, "202", {}),
        Measure("submit train", "POST", f"{API}/models/train", train, "202", mine, "delay()"),
        Measure("poll", "GET", f"{API}/jobs/{job}", "", "200", mine, "redis GET"),
        Measure("redis GET", "GET", "/jobs/job", "", "200", {}),
        Measure("poll unchanged", "GET", f"{API}/jobs/{job}", "", "304", mine | {"If-None-Match": etag}, "redis GET"),
    ]


@contextmanager
def _served(app: str, log: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    port = usable_port(0)
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webapp.gunicorn_conf", "-w", "1", "-b", f"127.0.0.1:{port}", app]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=inherited() | dict(environment), stdout=output, stderr=output) as process,
    ):
        server = Server(port, process.pid)
        try:
            if not wait_until(lambda: _greets(server), 30, pause=0.1):
                raise SystemExit(log.read_text())
            yield server
        finally:
            process.terminate()


def _greets(server: Server) -> bool:
    try:
        drive(Plan(server.port, "GET", "/", {}, "", 1, 0.01, 0.0, 0))
    except SystemExit:
        return False
    return True
