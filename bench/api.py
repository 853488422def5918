"""How fast does the API take work in, and how fast does it tell how a job stands? Beside the least Flask app that does either.

    python -m bench.api [--seconds 2] [--rounds 5] [--concurrency 1,16,64] [--commit-ms 0] [--json]

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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.client import Plan
from bench.duel import ROOT, WARM_UP_S, Measure, drive, prepare
from ops.processes import usable_port
from tasks.environment import inherited


def main() -> None:
    options = _options()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ceiling = _ceiling(max(options.concurrency), options.seconds)
        ground, measures = prepare(held, folder)
        ground.delay_commits(options.commit_ms)
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for _ in range(options.rounds):
            for concurrency in options.concurrency:
                for measure in measures:
                    found.setdefault((measure.name, concurrency), []).append(ground.run(measure, concurrency, options.seconds))
        rows = _compared(measures, options.concurrency, {key: _median(runs) for key, runs in found.items()})
    print(json.dumps({"client_ceiling": ceiling, "options": vars(options), "rows": rows}, indent=1)) if options.json else _show(
        ceiling, rows
    )


def _ceiling(concurrency: int, seconds: float) -> float:
    """Requests a second that the client reaches when the server does nothing."""
    port = usable_port(0)
    with subprocess.Popen([sys.executable, "-m", "bench.client", str(port)], cwd=ROOT, env=inherited()) as responder:
        try:
            time.sleep(0.5)
            return float(drive(Plan(port, "GET", "/", {}, "", concurrency, seconds, WARM_UP_S, 0))["rate"])
        finally:
            responder.kill()


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
    parser.add_argument("--commit-ms", type=float, default=0.0, help="what each commit takes longer, as on a slower disk")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def _numbers(told: str) -> list[int]:
    return [int(word) for word in told.split(",")]


if __name__ == "__main__":
    main()
