"""How fast do observations come in, and how much memory does that take? By HTTP in every form, and by `fleetcast import`.

    python -m bench.ingest [--rows 1000000] [--entities 10] [--only csv,zstd,parquet]

The same rows each time, one value in each, into an entity (or, imported, so many) that has none of them yet. By HTTP each delivery is one
request to one gunicorn worker and one transaction; `import` takes them in chunks. Seconds are of the whole, until it is committed; CPU
seconds those of the web worker or the command alone, without Postgres; memory is the most that it held, beyond what it held before.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import zstandard
from sqlalchemy import text

from bench.house import Ground, children, cpu_seconds, forget_most, ground, most_held
from bench.tables import figure, markdown
from tasks.environment import inherited
from tests.support.served import ROOT, served

LINES, CSV = "application/x-ndjson", "text/csv"
START = np.datetime64("2020-01-01T00:00:00", "ms")
#: `fleetcast` in a process that says at its end what it took.
_MEASURED = """
import resource, sys
from ops.cli import main
main(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
#: Bytes of a request's body that are handed over at a time.
PIECE = 2**20


@dataclass(frozen=True)
class Run:
    name: str
    rows: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    #: Of memory.
    grew: float


def main() -> None:
    options = _options()
    frame = _frame(options.rows, options.entities)
    with ground() as here:
        runs = [
            run for name, way in WAYS.items() if not options.only or name in options.only.split(",") for run in [way(here, name, frame)]
        ]
    heads = ["form", "MB", "rows/s", "seconds", "CPU s", "memory grew by, MB"]
    print(markdown(heads, [_row(run) for run in runs]))


def _row(run: Run) -> list[str]:
    figures = ((run.megabytes, 0), (run.rows / run.seconds, 0), (run.seconds, 1), (run.cpu_seconds, 1), (run.grew, 0))
    return [run.name, *(figure(number, digits) for number, digits in figures)]


def _frame(rows: int, entities: int) -> pd.DataFrame:
    """A reading a minute of two channels, entity after entity."""
    number = np.arange(rows) // 2
    values = np.round(20 + 5 * np.sin(number / 230) + np.random.default_rng(0).standard_normal(rows), 3)
    names = np.array([f"plant-{n:03}" for n in range(entities)])[number * entities // (rows // 2 + 1)]
    at = pd.Series(START + number * np.timedelta64(60_000, "ms")).dt.tz_localize("UTC")
    return pd.DataFrame({"entity": names, "at": at, "channel": np.where(np.arange(rows) % 2, "power", "temperature"), "value": values})


def _by_http(mimetype: str, packing: str | None) -> Callable[[Ground, str, pd.DataFrame], Run]:
    def run(here: Ground, name: str, frame: pd.DataFrame) -> Run:
        body = _packed(_written(frame, mimetype), packing)
        headers = {"Authorization": f"Bearer {here.me.key}", "Content-Type": mimetype}
        if packing:
            headers["Content-Encoding"] = packing
        _forget(here)
        with served(here.house, here.folder / "log") as place, httpx.Client(base_url=place.url, headers=headers, timeout=3600) as client:
            [worker] = children(place.process.pid)
            client.post("/api/v1/entities/warm/observations", content=_packed(_written(frame[:100], mimetype), packing)).raise_for_status()
            held, spent, began = forget_most(worker), cpu_seconds(worker), time.perf_counter()
            answer = client.post(
                "/api/v1/entities/plant/observations", content=(body[at : at + PIECE] for at in range(0, len(body), PIECE))
            )
            seconds = time.perf_counter() - began
            assert answer.json()["accepted"] == len(frame), answer.text
            return Run(name, len(frame), seconds, cpu_seconds(worker) - spent, len(body) / 2**20, most_held(worker) - held)

    return run


def _written(frame: pd.DataFrame, mimetype: str) -> bytes:
    told = frame[["at", "channel", "value"]].assign(at=frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return (told.to_csv(index=False) if mimetype == CSV else told.to_json(orient="records", lines=True)).encode()


def _packed(body: bytes, packing: str | None) -> bytes:
    return gzip.compress(body, 6) if packing == "gzip" else zstandard.compress(body) if packing == "zstd" else body


def _by_import(suffix: str) -> Callable[[Ground, str, pd.DataFrame], Run]:
    def run(here: Ground, name: str, frame: pd.DataFrame) -> Run:
        file = here.folder / f"fleet.{suffix}"
        frame.to_parquet(file, index=False) if suffix == "parquet" else frame.to_csv(file, index=False)
        small = file.with_name(f"small.{suffix}")
        frame[:100].to_parquet(small, index=False) if suffix == "parquet" else frame[:100].to_csv(small, index=False)
        _forget(here)
        _, _, held = _imported(here, small)
        seconds, spent, most = _imported(here, file)
        return Run(name, len(frame), seconds, spent, file.stat().st_size / 2**20, most - held)

    return run


def _imported(here: Ground, file: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and megabytes of a process of its own."""
    environment = inherited() | {"DATABASE_URL": here.database_url, "REDIS_URL": here.redis_url}
    command = [sys.executable, "-c", _MEASURED, "import", str(file), "--tenant", "bench"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    spent, most = map(float, done.stdout.split()[-2:])
    return time.perf_counter() - began, spent, most


def _forget(here: Ground) -> None:
    with here.house.runtime.engine.begin() as connection:
        connection.execute(text("DELETE FROM entities"))
        connection.execute(text("TRUNCATE observations CASCADE"))


WAYS: dict[str, Callable[[Ground, str, pd.DataFrame], Run]] = {
    "ndjson": _by_http(LINES, None),
    "csv": _by_http(CSV, None),
    "gzip": _by_http(CSV, "gzip"),
    "zstd": _by_http(CSV, "zstd"),
    "import csv": _by_import("csv"),
    "import parquet": _by_import("parquet"),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=10, help="among which the imported rows are")
    parser.add_argument("--only", default="", help=f"some of {', '.join(WAYS)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
