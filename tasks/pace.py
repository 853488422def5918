"""How fast jobs go through: what those that ended lately tell of one that has not."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from db import ledger
from db.models import QUEUED, Job

#: Seconds for which what was learnt is good enough: an estimate must not cost a question per request.
LEARNT_S = 15.0


@dataclass
class Pace:
    """Seconds that a job of each kind runs, and jobs a second that each queue gets through."""

    typical_s: Mapping[str, float] = field(default_factory=dict)
    per_s: Mapping[str, float] = field(default_factory=dict)
    _learnt_at: float = -math.inf

    def learn(self, session: Session) -> None:
        """Ask the ledger, unless that was done a moment ago."""
        if time.monotonic() - self._learnt_at < LEARNT_S:
            return
        self._learnt_at = time.monotonic()
        self.typical_s = ledger.typical_seconds(session)
        self.per_s = ledger.throughput(session)

    def seconds_left(self, job: Job, ahead: int | None = None) -> float | None:
        """Until the job ends, by Little's law for the part of it that is spent in the queue (waiting = length / throughput).

        `ahead` is how many wait before it. None where nothing like it ended lately, or where it has run longer than they did.
        """
        run_s = self.typical_s.get(job.kind)
        if job.terminal or run_s is None:
            return None
        each_s = 1 / self.per_s[job.queue] if job.queue in self.per_s else run_s
        if job.pending_children is not None:
            return job.pending_children * each_s
        if job.state == QUEUED:
            return (ahead or 0) * each_s + run_s
        left = run_s - _ran(job)
        return left if left > 0 else None


def _ran(job: Job) -> float:
    return 0.0 if job.started_at is None else (datetime.now(UTC) - job.started_at).total_seconds()
