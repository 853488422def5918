"""What plain Celery on Redis loses: the textbook set-up, its workers killed again and again.

    python -m bench.celery_loss [--messages 12000] [--kills 60] [--seed 1] [--legs safest defaults] [--json]

One leg after another, each on the same emptied Valkey, with a prefork worker of two:

safest      acks_late, reject_on_worker_lost, a visibility timeout of five seconds and a sweep each second
defaults    Celery as it comes (acknowledged before it runs); only the timeout and the sweep are those above, else the end is hours away

All messages are queued before the first worker starts, and the broker is seen to hold each of them. The tasks take 5 to 10 ms and write
down that they started and that they finished. Meanwhile the worker's whole process group is killed (SIGKILL) after random pauses and
started again at once. When nothing is queued or unacknowledged, and nothing has happened for three visibility timeouts, the record is read:

lost        never finished; `untouched` are those of them that never started either
doubled     finished twice or more
restarted   started twice or more
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from bench.celery_loss.plain import LEGS, VISIBILITY_S
from bench.celery_loss.record import count
from bench.tables import markdown
from ops import stack
from tasks.environment import inherited

QUEUE, UNACKED, INDEX = "celery", "unacked", "unacked_index"
CONCURRENCY = 2
QUIET_S = 3 * VISIBILITY_S
#: A worker killed while it sweeps leaves kombu's lock on sweeping behind, for 300 s.
PATIENCE_S = 400.0
START_PATIENCE_S = 60.0


@dataclass
class Ground:
    """One leg's app, broker and record, and the worker of the moment."""

    app: Celery
    url: str
    broker: Redis
    record: Path
    process: subprocess.Popen[bytes] | None = None
    written: int = 0

    @property
    def log(self) -> Path:
        return self.record.with_suffix(".log")

    def start(self) -> None:
        self.written = self.size()
        words = ("--app", f"bench.celery_loss.plain:{self.app.main}", "worker", "--concurrency", str(CONCURRENCY), "--loglevel", "ERROR")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                # Gossip and mingling would only make each start a second longer.
                [sys.executable, "-m", "celery", *words, "--without-gossip", "--without-mingle"],
                env=inherited() | {"CELERY_BROKER_URL": self.url},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """The worker and its children, with no word of warning."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def size(self) -> int:
        return self.record.stat().st_size if self.record.exists() else 0

    def held(self) -> tuple[int, int, int]:
        """Messages queued, unacknowledged, and in the index of these."""
        return self.broker.llen(QUEUE), self.broker.hlen(UNACKED), self.broker.zcard(INDEX)


def main() -> None:
    options = _options()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        held.callback(stack.remove, folder / "servers")
        url = stack.start(folder / "servers").redis_url
        broker = held.enter_context(Redis.from_url(url))
        rows = [_run(Ground(app, url, broker, folder / f"{app.main}.record"), options) for app in LEGS if app.main in options.legs]
        info: Any = broker.info("server")
    versions = {name: version(name) for name in ("celery", "kombu", "redis")} | {"valkey": info["valkey_version"]}
    found = {"options": vars(options), "versions": versions, "legs": rows}
    print(json.dumps(found, indent=1) if options.json else _table(found))


def _run(ground: Ground, options: argparse.Namespace) -> dict[str, Any]:
    """One leg from the first message to the count."""
    began = time.monotonic()
    ground.broker.flushdb()
    _submit(ground, options.messages)
    longest = 1.6 * options.messages * 0.0075 / CONCURRENCY / max(1, options.kills)  # so that there is work left at the last kill
    dice = random.Random(options.seed)
    try:
        kills = _storm(ground, [dice.uniform(0, longest) for _ in range(options.kills)])
        left = ground.broker.llen(QUEUE)
        _calm(ground)
    finally:
        ground.kill()
    losses = asdict(count(ground.record.read_text(), options.messages))
    return {"leg": ground.app.main, "kills": kills, "left": left} | losses | {"seconds": round(time.monotonic() - began)}


def _submit(ground: Ground, messages: int) -> None:
    with ground.app.connection_for_write(ground.url) as connection, ground.app.amqp.Producer(connection) as producer:
        for number in range(messages):
            ground.app.tasks["work"].apply_async((str(ground.record), number), producer=producer)
    if ground.held() != (messages, 0, 0):
        raise SystemExit(f"The broker holds {ground.held()} instead of {messages} messages.")


def _storm(ground: Ground, pauses: Sequence[float]) -> int:
    """Kill and start again until the pauses are spent or the queue is empty; how many kills it were. A worker is left running."""
    ground.start()
    for done, pause in enumerate(pauses):
        _await_work(ground)
        time.sleep(pause)
        if not ground.broker.llen(QUEUE):
            return done
        ground.kill()
        ground.start()
    return len(pauses)


def _await_work(ground: Ground) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while ground.size() == ground.written and ground.broker.llen(QUEUE):
        if time.monotonic() > deadline:
            raise SystemExit(f"The worker took nothing up in {START_PATIENCE_S:.0f} s; it said:\n{ground.log.read_text()[-2000:]}")
        time.sleep(0.01)


def _calm(ground: Ground) -> None:
    """Wait until the broker holds nothing and nothing has happened for three visibility timeouts."""
    seen, since = (ground.held(), ground.size()), time.monotonic()
    while any(seen[0]) or time.monotonic() - since < QUIET_S:
        time.sleep(0.2)
        now = (ground.held(), ground.size())
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            raise SystemExit(f"For {PATIENCE_S:.0f} s nothing has moved, but the broker still holds {seen[0]}.")


def _table(found: dict[str, Any]) -> str:
    heads = list(found["legs"][0])
    said = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    asked = f"{found['options']['messages']:,} messages, {found['options']['kills']} kills asked for, seed {found['options']['seed']}"
    return f"{asked}; {said}\n\n" + markdown(heads, ([str(leg[head]) for head in heads] for leg in found["legs"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=12_000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of the pauses; another each time unless given")
    names = [str(app.main) for app in LEGS]
    parser.add_argument("--legs", nargs="+", choices=names, default=names)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
