"""How long a dead worker's job waits until another one runs it, with the time constants of production.

    python -m tests.chaos.recovery --kills 24

Four workers train at once, all are killed with their children, and started again as any supervisor would. It is measured by Postgres'
clock from the kill to the moment at which each job is taken up again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ops.processes import wait_until
from tests.chaos.book import opened
from tests.chaos.campaign import PRODUCTION, ready
from tests.chaos.clients import CHANNEL, SMALL, Client, Order, rows
from tests.chaos.stage import Part, Stage
from tests.chaos.verdict import spread

WORKERS = 4
#: Some ten seconds of training on a core of its own; it is killed long before its end.
LONG = SMALL | {"hidden_size": 256, "epochs": 1000, "patience": 200, "covariates": ["load"]}
PATIENCE_S = 180.0


def crew() -> list[Part]:
    trainers = [Part(f"train-{n}", ("worker", "train")) for n in range(WORKERS)]
    return [Part("web-1", ("web",)), Part("dispatcher-1", ("dispatcher",)), *trainers]


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="recovery-"))
    with opened(folder / "clients.jsonl") as book, Stage(folder / "stage", PRODUCTION, crew=crew()) as stage:
        stage.start_all()
        assert wait_until(lambda: ready(stage), PATIENCE_S, pause=0.2)
        client = Client(stage.url, stage.key, book, iter(()), most=0, every_s=1, told=threading.Event())
        for n in range(WORKERS):
            client.ask("POST", f"/entities/device-{n}/observations", {"observations": rows(n)})
        taken = [seconds for _ in range(0, options.kills, WORKERS) for seconds in _round(stage, client)]
    print(f"{len(taken)} workers killed at their work, lease {PRODUCTION['LEASE_S']} s: seconds until each job ran again: {spread(taken)}")
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _round(stage: Stage, client: Client) -> Iterator[float]:
    """Everybody at work, everybody killed; the seconds that each job waited."""
    jobs = [_train(client, n) for n in range(WORKERS)]
    assert wait_until(lambda: _fitting(stage, jobs) == WORKERS, PATIENCE_S, pause=0.2), "not everybody came to work"
    # Anywhere between two heartbeats.
    time.sleep(random.uniform(0, 10))
    held = [row[0] for row in stage.rows("SELECT id FROM jobs WHERE id = ANY(%(jobs)s) AND state = 'running'", jobs=jobs)]
    killed = time.time()
    for part in stage.of("worker"):
        stage.kill(part)
    started = "SELECT extract(epoch FROM started_at) FROM attempts WHERE job_id = ANY(%(held)s) AND number = 2"
    assert wait_until(lambda: len(stage.rows(started, held=held)) == len(held), PATIENCE_S, pause=0.2), "not all were taken up again"
    yield from (float(at) - killed for (at,) in stage.rows(started, held=held))
    for job in jobs:
        client.ask("POST", f"/jobs/{job}/cancel", {})
    ended = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
    assert wait_until(lambda: stage.rows(ended) == [(0,)], PATIENCE_S, pause=0.2)


def _train(client: Client, n: int) -> str:
    spec = LONG | {"seed": random.randrange(2**31)}
    body = {"entity": f"device-{n}", "recipe": "device-metric", "target": CHANNEL, "spec": spec}
    found = client.order(Order("train", f"device-{n}", "/models/train", body))
    assert found is not None, "a training was refused"
    return str(found["id"])


def _fitting(stage: Stage, jobs: list[str]) -> int:
    query = "SELECT count(*) FROM jobs WHERE id = ANY(%(jobs)s) AND state = 'running'"
    return int(stage.rows(query, jobs=jobs)[0][0])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=24)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
