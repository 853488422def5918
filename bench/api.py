"""How fast does the API take work in, and how fast does it tell how a job stands? Beside the least Flask app that does either.

    python -m bench.api [--seconds 2] [--rounds 5] [--concurrency 1,16,64] [--json]

Both apps run under gunicorn with webapp/gunicorn_conf.py (gevent, one worker process), over the same embedded Postgres (with fsync, as in
production) and Valkey, in turns: ours, bare, ours, bare. Rates are medians over the rounds, and so are their ratios' parts, the latencies
and the CPU time of the server's worker process per request. One client process of ours sends over kept-alive connections, one request
under way on each; its own ceiling against a server that does nothing is printed first. Client, server, Postgres and Valkey share the cores.

What is measured:

submit predict   POST /predict of an entity with an active version, each for another level, so that each is a new job (checked, looked up,
                 written to Postgres, committed); against POST of the same body, get_json() and one Celery delay()
submit train     POST /models/train of an entity with sixty days of data, each with another seed, its readiness measured each time; against
                 the same delay()
poll             GET /jobs/{id} of a finished job that Redis mirrors; against one Redis GET of the same bytes
poll unchanged   the same with If-None-Match, answered 304; against the same Redis GET

Ours also looks up the API key (once in seven seconds) and the tenant; bare asks for none. No dispatcher and no worker runs:
what happens after the answer is not measured. Each submitting run begins with empty queues, and its jobs stay in them until it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, text

from bench.client import Plan
from db import migrate
from db.session import make_engine
from ops import stack
from ops.processes import usable_port, wait_until
from tasks.settings import inherited
from tests.support.web import API, Caller, House, days, make_house, make_runtime

ROOT = Path(__file__).parent.parent
ENTITIES = 50
WARM_UP_S = 0.3
#: No quota is to be met, and no limit on requests.
PLENTY = 10_000_000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    port: int
    #: The master's; its only child does the work.
    pid: int

    @property
    def worker(self) -> int:
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def cpu_seconds(self) -> float:
        spent = Path(f"/proc/{self.worker}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return sum(map(int, spent)) / TICKS


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


def main() -> None:
    options = _options()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ceiling = _ceiling(max(options.concurrency), options.seconds)
        ground, measures = prepare(held, folder)
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for _ in range(options.rounds):
            for concurrency in options.concurrency:
                for measure in measures:
                    found.setdefault((measure.name, concurrency), []).append(ground.run(measure, concurrency, options.seconds))
        rows = _compared(measures, options.concurrency, {key: _median(runs) for key, runs in found.items()})
    print(json.dumps({"client_ceiling": ceiling, "options": vars(options), "rows": rows}, indent=1)) if options.json else _show(
        ceiling, rows
    )


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


def _ceiling(concurrency: int, seconds: float) -> float:
    """Requests a second that the client reaches when the server does nothing."""
    port = usable_port(0)
    with subprocess.Popen([sys.executable, "-m", "bench.client", str(port)], cwd=ROOT, env=inherited()) as responder:
        try:
            time.sleep(0.5)
            return float(drive(Plan(port, "GET", "/", {}, "", concurrency, seconds, WARM_UP_S, 0))["rate"])
        finally:
            responder.kill()


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


def _median(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in ("rate", "p50", "p99", "cpu_ms")}


def _compared(measures: list[Measure], concurrency: list[int], found: Mapping[tuple[str, int], dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {
            "measure": measure.name,
            "concurrency": lines,
            "ours": found[measure.name, lines],
            "bare": found[measure.rival, lines],
            "ratio": found[measure.name, lines]["rate"] / found[measure.rival, lines]["rate"],
            "cpu_ratio": found[measure.rival, lines]["cpu_ms"] / found[measure.name, lines]["cpu_ms"],
        }
        for measure in measures
        if measure.rival is not None
        for lines in concurrency
    ]


def _show(ceiling: float, rows: list[dict[str, Any]]) -> None:
    print(f"client's own ceiling: {ceiling:,.0f} requests/s against a server that does nothing\n")
    print(f"{'':16}{'':>5}{'requests/s':>20}{'':>8}{'p50 ms':>16}{'p99 ms':>16}{'CPU ms/request':>20}")
    print(
        f"{'':16}{'at':>5}{'ours':>10}{'bare':>10}{'ratio':>8}{'ours':>8}{'bare':>8}{'ours':>8}{'bare':>8}{'ours':>10}{'bare':>10}{'ratio':>8}"
    )
    for row in rows:
        ours, bare = row["ours"], row["bare"]
        rates = f"{ours['rate']:10,.0f}{bare['rate']:10,.0f}{row['ratio']:7.2f}×"
        waits = "".join(f"{side[at]:8.1f}" for at in ("p50", "p99") for side in (ours, bare))
        print(
            f"{row['measure']:16}{row['concurrency']:5}{rates}{waits}{ours['cpu_ms']:10.3f}{bare['cpu_ms']:10.3f}{row['cpu_ratio']:7.2f}×"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run, of which there are six per round and concurrency")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=_numbers, default=[1, 16, 64], help="connections at once: 1,16,64")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def _numbers(told: str) -> list[int]:
    return [int(word) for word in told.split(",")]


if __name__ == "__main__":
    main()
