"""Watching a job without holding a database connection: look, sleep, look again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tasks import status
from tasks.runtime import Runtime

#: First and longest pause between two looks.
FIRST_S, LONGEST_S = 0.05, 0.25

Document = dict[str, Any]


def ended(runtime: Runtime, tenant_id: str, job_id: str, patience_s: float) -> Document:
    """The job once it is terminal, or as it stands when patience ends."""
    return until(runtime, tenant_id, job_id, patience_s, lambda found: bool(found["terminal"]))


def until(runtime: Runtime, tenant_id: str, job_id: str, patience_s: float, good: Callable[[Document], bool]) -> Document:
    """The first document that is good, or the last one seen. Raises NotFound when there is no such job, or no longer.

    Each look opens and closes its own session, if it needs one at all; under gevent the sleeps are other requests' turns.
    """
    deadline = time.monotonic() + patience_s
    pause = FIRST_S
    while True:
        found = status.read(runtime, tenant_id, job_id)
        left = deadline - time.monotonic()
        if left <= 0 or good(found):
            return found
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_S)
