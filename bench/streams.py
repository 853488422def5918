"""Does watching cost those who submit? Hundreds of event streams and long polls open at once, on one gunicorn process.

    python -m bench.streams [--streams 200] [--polls 200] [--running 8] [--seconds 3] [--rounds 5]

gunicorn runs with webapp/gunicorn_conf.py (gevent, one worker process) over embedded Postgres (with fsync, as in production) and Valkey.
The watchers are real clients on sockets of their own, in another process. They watch as many jobs as there are streams; `running` of
these are told of twice a second each, as trainings are, also while nobody watches. In turns, without and with the watchers:

submit           POST /models/train of an entity with sixty days of data, each with another seed
poll unchanged   GET /jobs/{id} with If-None-Match, answered 304 from Redis

Printed: for each, without and with the watchers side by side, the median and the 99th percentile of the latency over all rounds (of a round
the median of rounds is taken), at 1 and at 8 requests under way. Then how much CPU of the web process the watchers took while nobody
submitted. Last, with all streams on one job: how long after its worker told of an epoch the first, the middle and the last of the streams
had it. Client, watchers, server, Postgres and Valkey share the cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.client import Plan as Load
from bench.duel import drive
from bench.house import PLENTY, children, cpu_seconds
from bench.watchers import Plan
from db import ledger, migrate
from db.session import make_engine
from ops import stack
from tasks import status
from tasks.environment import inherited
from tasks.lease import Lease
from tests.support.served import ROOT, Served, served
from tests.support.web import API, Caller, House, days, make_house, make_runtime

ENTITIES = 50
WARM_UP_S = 0.5
#: After so long those who have just come cost no more than those who wait.
SETTLE_S = 3.0
CONCURRENCIES = (1, 8)
#: Epochs of the job that all watch together, and the pause between two.
EPOCHS, PAUSE_S = 30, 0.3


@dataclass
class Ground:
    house: House
    me: Caller
    server: Served
    #: Jobs to watch; those in front are running.
    jobs: Sequence[str]
    leases: Sequence[tuple[str, Lease]]
    sent: int = 0

    def cpu_seconds(self) -> float:
        """Of the web process."""
        [worker] = children(self.server.process.pid)
        return cpu_seconds(worker)


def main() -> None:
    options = _options()
    with ExitStack() as held:
        ground = _prepare(held, options)
        rows: dict[tuple[str, int, bool], list[dict[str, Any]]] = {}
        shares = []
        for _ in range(options.rounds):
            _measure(ground, options.seconds, rows, watched=False)
            with _watching(ground, ground.jobs, options.streams, options.polls):
                before, began = ground.cpu_seconds(), time.monotonic()
                time.sleep(options.seconds)
                shares.append((ground.cpu_seconds() - before) / (time.monotonic() - began))
                _measure(ground, options.seconds, rows, watched=True)
        _show(rows, statistics.median(shares), options)
        _spread(ground, options.streams)


def _measure(ground: Ground, seconds: float, rows: dict[tuple[str, int, bool], list[dict[str, Any]]], *, watched: bool) -> None:
    mine = {"Authorization": f"Bearer {ground.me.key}"}
    etag = ground.me.get(f"/jobs/{ground.jobs[-1]}").headers["ETag"]
    train = '{"entity": "e7", "recipe": "health-daily", "spec": {"seed": %(n)d}}'
    asked = (
        ("submit", "POST", f"{API}/models/train", mine, train, "202"),
        ("poll unchanged", "GET", f"{API}/jobs/{ground.jobs[-1]}", mine | {"If-None-Match": etag}, "", "304"),
    )
    for name, method, path, headers, body, good in asked:
        for concurrency in CONCURRENCIES:
            found = drive(Load(ground.server.port, method, path, headers, body, concurrency, seconds, WARM_UP_S, ground.sent))
            ground.sent += found["sent"]
            if found["statuses"].keys() != {good}:
                raise SystemExit(f"{name}: {found['statuses']} instead of {good}. One answer: {found['odd']}")
            rows.setdefault((name, concurrency, watched), []).append(found)


@contextmanager
def _watching(ground: Ground, jobs: Sequence[str], streams: int, polls: int) -> Iterator[dict[str, Any]]:
    """So many watchers, spread over the jobs, until the block ends; then what they heard."""
    plan = Plan(
        ground.server.port, ground.me.key, [jobs[n % len(jobs)] for n in range(streams)], [jobs[n % len(jobs)] for n in range(polls)]
    )
    command = [sys.executable, "-m", "bench.watchers"]
    told: dict[str, Any] = {}
    with subprocess.Popen(command, cwd=ROOT, env=inherited(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(plan)) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "watching\n":
            raise SystemExit("The watchers could not begin.")
        time.sleep(SETTLE_S)
        yield told
        process.stdin.close()
        told |= json.loads(process.stdout.readline())
    if told["statuses"].keys() - {"200", "304"}:
        raise SystemExit(f"Watchers were answered {told['statuses']}.")


def _spread(ground: Ground, streams: int) -> None:
    """How soon all who watch one job have what happened to it."""
    job, lease = ground.leases[-1]
    told_at: dict[int, float] = {}
    with _watching(ground, [job], streams, 0) as told:
        for epoch in range(1_000_000, 1_000_000 + EPOCHS):
            told_at[epoch] = time.monotonic()
            lease.progress(job, "fit", epoch=epoch)
            lease.tell(job)
            time.sleep(PAUSE_S)
        time.sleep(1.0)
    heard = {epoch: sorted(at - told_at[epoch] for at in told["epochs"][str(epoch)]) for epoch in told_at}
    missing = {epoch: streams - len(found) for epoch, found in heard.items() if len(found) != streams}
    if missing:
        raise SystemExit(f"Streams that did not hear of an epoch, by epoch: {missing}")
    print(f"\n{EPOCHS} epochs of one job, told to {streams} streams: ms after the worker told of it")
    for name, at in (("the first stream", 0), ("the middle one", streams // 2), ("the last one", -1)):
        found = sorted(1000 * each[at] for each in heard.values())
        print(f"  {name:18} median {statistics.median(found):6.1f}   worst {found[-1]:6.1f}")


def _show(rows: dict[tuple[str, int, bool], list[dict[str, Any]]], share: float, options: argparse.Namespace) -> None:
    print(f"{options.streams} streams and {options.polls} long polls on one process\n")
    print(f"{'':16}{'at':>4}{'median ms':>20}{'99th percentile ms':>24}{'requests/s':>18}")
    print(f"{'':20}" + f"{'alone':>10}{'watched':>10}{'alone':>14}{'watched':>10}{'alone':>9}{'watched':>9}")
    for name, concurrency in sorted({key[:2] for key in rows}):
        cells = [
            [statistics.median(found[at] for found in rows[name, concurrency, watched]) for watched in (False, True)]
            for at in ("p50", "p99", "rate")
        ]
        (a, b), (c, d), (e, f) = cells
        print(f"{name:16}{concurrency:4}{a:10.1f}{b:10.1f}{c:14.1f}{d:10.1f}{e:9.0f}{f:9.0f}")
    print(f"\nthe watchers alone take {100 * share:.0f} % of a core in the web process")


def _prepare(held: ExitStack, options: argparse.Namespace) -> Ground:
    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    held.callback(stack.remove, folder / "servers")
    servers = stack.start(folder / "servers")
    engine = make_engine(servers.database_url)
    held.callback(engine.dispose)
    migrate.upgrade(engine)
    house = make_house(make_runtime(engine, servers.redis_url, rate_limit_per_minute=PLENTY))
    me = house.caller("bench")
    with engine.begin() as connection:
        connection.execute(text("UPDATE tenants SET max_unfinished = :plenty, max_running = :plenty"), {"plenty": PLENTY})
    jobs = _jobs(me, max(options.streams, options.running + 1))
    limits = {name: str(PLENTY) for name in ("MAX_QUEUE", "RATE_LIMIT_PER_MINUTE")}
    room = {name: str(2 * options.streams) for name in ("MAX_STREAMS", "TENANT_MAX_STREAMS")}
    server = held.enter_context(served(house, folder / "log", WEB_CONCURRENCY="1", **limits, **room))
    leases = [_taken_up(house, me, job) for job in jobs[: options.running + 1]]
    stop = threading.Event()
    teller = threading.Thread(target=_tell_on, args=(leases[:-1], stop))
    teller.start()
    held.callback(teller.join)
    held.callback(stop.set)
    return Ground(house, me, server, jobs, leases)


def _jobs(me: Caller, count: int) -> list[str]:
    """Trainings of many entities."""
    for number in range(ENTITIES):
        assert me.post(f"/entities/e{number}/observations", {"observations": days(60)}).status_code == 200
    found = []
    for number in range(count):
        body = {"entity": f"e{number % ENTITIES}", "recipe": "health-daily", "spec": {"seed": PLENTY + number}}
        found.append(me.post("/models/train", body).json["id"])
    return found


def _taken_up(house: House, me: Caller, job: str) -> tuple[str, Lease]:
    """The job in a worker's hands."""
    with house.runtime.sessions.begin() as session:
        claim = ledger.claim(session, job, "bench/1", 86_400.0)
    assert claim is not None
    status.fresh(house.runtime, me.tenant_id, job)
    return job, Lease(house.runtime, [claim])


def _tell_on(leases: Sequence[tuple[str, Lease]], stop: threading.Event) -> None:
    """Each job told of twice a second, one after another."""
    epoch = 0
    while not stop.is_set():
        epoch += 1
        for job, lease in leases:
            lease.progress(job, "fit", epoch=epoch, epochs=100, train_loss=0.5, val_loss=0.6, best_epoch=epoch)
            stop.wait(0.5 / len(leases))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--polls", type=int, default=200)
    parser.add_argument("--running", type=int, default=8, help="watched jobs that workers tell of twice a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run, of which there are eight per round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
