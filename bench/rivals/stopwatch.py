"""The guests' clock: wall and CPU seconds of what runs inside `with`."""

from __future__ import annotations

import time
from typing import Self


class Stopwatch:
    seconds = cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self.seconds -= time.perf_counter()
        self.cpu_seconds -= time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()
