"""The right to run some jobs for a while: renewed by a thread for as long as the work reports progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db import ledger
from db.errors import FenceLost
from db.events import Told
from tasks import documents, metrics, status
from tasks.runtime import Runtime

log = structlog.get_logger()

#: Progress is shown to watchers at most this often.
SHOW_EVERY_S = 0.5
#: What watchers are told of each epoch. They get every one, a few at a time where epochs are shorter than SHOW_EVERY_S.
METRIC = ("fold", "epoch", "epochs", "train_loss", "val_loss", "best_epoch")
#: Epochs that wait for Redis while it is away.
METRICS_HELD = 500


#: A heartbeat that hangs on a dead connection must not hold the worker: it is a daemon and writes nothing once its jobs are let go.
JOIN_S = 15.0


class Stop(Exception):
    """The work is to end at the next batch."""


class CancelRequested(Stop):
    """Somebody asked for the job's end."""


class DrainRequested(Stop):
    """This worker is shutting down; another will run the job."""


class DeadlinePassed(Stop):
    """The job's deadline, or the longest one try may run, has passed."""


@dataclass
class Held:
    """One job under this lease, and what the last heartbeat brought."""

    claim: ledger.Claim
    progress: dict[str, Any] = field(default_factory=dict)
    #: Epochs that watchers have not been told of.
    metrics: deque[Told] = field(default_factory=lambda: deque(maxlen=METRICS_HELD))
    shown_at: float = 0.0
    cancel: bool = False
    drain: bool = False
    overdue: bool = False
    lost: bool = False


class Lease:
    """A context around the work on some claims. `check` raises when a job must stop; `progress` tells watchers where it is."""

    def __init__(self, runtime: Runtime, claims: Iterable[ledger.Claim]) -> None:
        self._runtime = runtime
        self._held = {claim.job.id: Held(claim) for claim in claims}
        self._seq = max((held.claim.job.progress.get("seq", 0) for held in self._held.values()), default=0)
        self._alive_at = self._began_at = time.monotonic()
        # The members of a cohort on a CPU train one after another, so each may take its time.
        self._allowed_s = runtime.settings.training_timeout_s * max(1, runtime.settings.cohort_size)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def alive(self) -> None:
        """Say that the work moves. Without this for `stall_timeout_s` the lease is left to run out: hung is dead."""
        self._alive_at = time.monotonic()

    def claimed(self) -> None:
        """Note that all are in hand; watchers see it at once."""
        for held in self._held.values():
            self._note(held, "claimed")
            held.shown_at = time.monotonic()
        status.show_all(self._runtime, [(held.claim.tenant_id, self._document(held), ()) for held in self._held.values()])

    def progress(self, job_id: str, phase: str, **figures: Any) -> None:
        """Note where a job is; the next heartbeat writes it down, watchers see it at once."""
        self.alive()
        held = self._held[job_id]
        self._note(held, phase, **figures)
        if "epoch" in figures:
            about = {"attempt": held.claim.attempt, **{name: figures[name] for name in METRIC if name in figures}}
            held.metrics.append(Told("metric", about, late=True))
        if time.monotonic() - held.shown_at >= SHOW_EVERY_S:
            held.shown_at = time.monotonic()
            self._show(held)

    def _note(self, held: Held, phase: str, **figures: Any) -> None:
        with self._lock:
            self._seq += 1
            held.progress = {"seq": self._seq, "phase": phase, **figures}

    def tell(self, job_id: str) -> None:
        """Tell watchers of the epochs they have not heard of: the job is about to end, and after its end nothing is told."""
        held = self._held.get(job_id)
        if held is not None and held.metrics:
            self._show(held, itself=False)

    def check(self, job_id: str) -> None:
        """Raises FenceLost, CancelRequested, DrainRequested or DeadlinePassed when the job must stop."""
        held = self._held[job_id]
        if held.lost:
            raise FenceLost(job_id, held.claim.fence)
        if held.cancel:
            raise CancelRequested(job_id)
        if held.overdue:
            raise DeadlinePassed("The job's deadline passed while it ran.")
        if time.monotonic() - self._began_at > self._allowed_s:
            raise DeadlinePassed(f"The try ran longer than TRAINING_TIMEOUT allows ({self._allowed_s:g} s).")
        if held.drain:
            raise DrainRequested(job_id)

    def stopping(self, job_id: str) -> bool:
        """Whether `check` would raise."""
        try:
            self.check(job_id)
        except (FenceLost, Stop):
            return True
        return False

    def let_go(self, job_id: str) -> None:
        """The job has ended or was handed back: renew it no longer."""
        with self._lock:
            self._held.pop(job_id, None)

    def _show(self, held: Held, *, itself: bool = True) -> None:
        """What Redis did not take waits for the next time."""
        if status.show(self._runtime, held.claim.tenant_id, self._document(held), tuple(held.metrics), itself=itself) is not None:
            held.metrics.clear()

    def _document(self, held: Held) -> dict[str, Any]:
        found = documents.document(self._runtime.settings, held.claim.job)
        figures = {k: v for k, v in held.progress.items() if k not in ("seq", "finish_at")}
        return found | {"seq": held.progress["seq"], "progress": figures, "estimated_finish_at": held.progress.get("finish_at")}

    def _renew(self) -> None:
        pause = self._runtime.settings.lease_s / 3
        while not self._stop.wait(pause):
            stalled = time.monotonic() - self._alive_at
            if stalled > self._runtime.settings.stall_timeout_s:
                log.error("stalled", **self._named(), seconds=round(stalled))
                continue
            try:
                self._beat()
            except SQLAlchemyError as error:
                # Postgres is away, or read-only while it fails over: a lease that nobody has reaped can still be renewed, so keep trying.
                log.warning("heartbeat_missed", **self._named(), error=str(error).splitlines()[0])
                self._runtime.meter.count(metrics.HEARTBEATS_MISSED)

    def _named(self) -> dict[str, list[str]]:
        """Which jobs are held and whose, for the log."""
        with self._lock:
            claims = [held.claim for held in self._held.values()]
        return {"jobs": [claim.job.id for claim in claims], "tenants": sorted({claim.tenant_id for claim in claims})}

    def _beat(self) -> None:
        with self._lock:
            fences = {job_id: held.claim.fence for job_id, held in self._held.items()}
            progress = {job_id: held.progress for job_id, held in self._held.items() if held.progress}
        if not fences:
            return
        with self._runtime.sessions.begin() as session:
            pulses = ledger.beat(session, fences, self._runtime.settings.lease_s, progress)
        for job_id in fences:
            held, pulse = self._held.get(job_id), pulses.get(job_id)
            if held is None:
                continue
            if pulse is None:
                held.lost = True
            else:
                held.cancel, held.drain, held.overdue = pulse.cancel, pulse.drain, pulse.deadline_passed
