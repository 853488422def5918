"""What a real Celery worker and its children write, however the children are started and however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import metrics
from tasks.environment import environment, inherited
from tasks.workshop import Workshop

WORDS = ("--app", "tasks", "worker", "--include", "tasks.worker", "--queues", "train", "--concurrency", "1", "--loglevel", "DEBUG")
ALONE = ("--without-gossip", "--without-mingle")


def until(met: Callable[[], object], log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Of its pool: the helper of a pool that starts them afresh is none."""
    found = "".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [int(each) for each in found if b"tracker import" not in Path(f"/proc/{each}/cmdline").read_bytes()]


def at_work(shop: Workshop) -> bool:
    """Whether a child is up: it has opened its workshop, and all that it says on the way is said."""
    reading = shop.runtime.meter.read()
    return reading is not None and (metrics.WORKER,) in reading.held.get(metrics.PROCESSES, {})


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_from_its_first_line_to_its_last_a_worker_writes_json(shop: Workshop, tmp_path: Path, start: str) -> None:
    """One of its children is killed on the way."""
    log = tmp_path / "worker.log"
    told = inherited() | environment(shop.settings) | {"LOG_LEVEL": "DEBUG"}
    words = [sys.executable, "-m", "celery", *WORDS, *ALONE, "--pool-start-method", start]
    with log.open("wb") as output, subprocess.Popen(words, env=told, stdout=output, stderr=output) as process:
        try:
            until(lambda: at_work(shop), log)
            os.kill(children(process.pid)[0], signal.SIGKILL)
            until(lambda: "SIGKILL" in log.read_text(), log)
        finally:
            process.terminate()
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    events = [line["event"] for line in lines]
    assert "draining" in events
    assert any("exited with 'signal 9 (SIGKILL)'" in event for event in events), events
    assert shop.settings.redis_url.partition("@")[0] not in log.read_text()
