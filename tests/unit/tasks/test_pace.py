"""What the jobs that ended tell of one that has not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db.models import Job
from tasks.pace import Pace

PACE = Pace({"train": 20.0, "predict": 0.5}, {"interactive": 4.0})


@pytest.mark.parametrize(
    ("kind", "queue", "state", "ran", "pending", "ahead", "seconds"),
    [
        ("train", "train", "queued", 0, None, 0, 20),
        ("train", "train", "queued", 0, None, 3, 80),  # one after another, where nothing is known of the queue
        ("predict", "interactive", "queued", 0, None, 8, 2.5),
        ("train", "train", "running", 5, None, None, 15),
        ("train", "train", "running", 25, None, None, None),  # longer than usual: nobody knows
        ("backtest", "batch", "queued", 0, None, 0, None),
        ("train", "train", "succeeded", 0, None, None, None),
        ("predict", "interactive", "running", 0, 40, None, 10),
    ],
)
def test_what_is_left(kind: str, queue: str, state: str, ran: float, pending: int | None, ahead: int | None, seconds: float | None) -> None:
    started = datetime.now(UTC) - timedelta(seconds=ran) if state == "running" else None
    left = PACE.seconds_left(Job(kind=kind, queue=queue, state=state, started_at=started, pending_children=pending), ahead)
    assert left == (None if seconds is None else pytest.approx(seconds, abs=0.1))
