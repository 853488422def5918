"""How fast is work taken in while Redis is away? The same submissions with Redis there, silent, and gone.

    python -m bench.away [--seconds 5] [--rounds 5] [--concurrency 1,16]

POST /predict as in bench.api, over the same house. *Silent* is a Valkey that is stopped in the middle (SIGSTOP), so that it takes
connections and answers nothing; in turns with one that answers. *Gone* is one that was killed, at the end. Latencies are medians over
the rounds; the first second of each is not counted, for it has the time-outs by which a process learns that Redis is silent.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.duel import Ground, Measure, prepare
from bench.tables import markdown

#: Seconds of each run that are not counted.
WARM_UP_S = 1.0


def main() -> None:
    options = _options()
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ground, measures = prepare(held, folder)
        valkey = int(ground.memory.info("server")["process_id"])  # type: ignore[index]  # redis-py's types are those of both its clients
        for _ in range(options.rounds):
            for lines in options.concurrency:
                found.setdefault(("there", lines), []).append(_run(ground, measures[0], lines, options.seconds))
                with _silent(valkey):
                    found.setdefault(("silent", lines), []).append(_run(ground, measures[0], lines, options.seconds))
        os.kill(valkey, signal.SIGKILL)
        for _ in range(options.rounds):
            for lines in options.concurrency:
                found.setdefault(("gone", lines), []).append(_run(ground, measures[0], lines, options.seconds))
    heads = ["Redis is", "at once", "submissions/s", "p50, ms", "p99, ms"]
    print(markdown(heads, [_row(*key, runs) for key, runs in sorted(found.items(), key=lambda one: one[0][1])]))


@contextmanager
def _silent(valkey: int) -> Iterator[None]:
    os.kill(valkey, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey, signal.SIGCONT)


def _run(ground: Ground, measure: Measure, lines: int, seconds: float) -> dict[str, Any]:
    with ground.engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE state = 'queued'"))
    return ground.send(measure, lines, seconds, WARM_UP_S)


def _row(redis: str, lines: int, runs: list[dict[str, Any]]) -> list[str]:
    rate, p50, p99 = (statistics.median(run[name] for run in runs) for name in ("rate", "p50", "p99"))
    return [redis, str(lines), f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=lambda given: [int(n) for n in given.split(",")], default=[1, 16])
    return parser.parse_args()


if __name__ == "__main__":
    main()
