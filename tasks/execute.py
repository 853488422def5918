"""The execution loop: a doorbell becomes a claim, a handler's work, and exactly one recorded outcome."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from db import ledger
from db.errors import FenceLost, NotFound, SinkUnavailable, SourceUnavailable, StoreError
from db.models import TERMINAL, Job, Json, Version
from db.registry import Mode, NewVersion, publish_and_prune
from ml.errors import ModelError, NewerRelease, StorageFull
from tasks import metrics, problems, status
from tasks.lease import CancelRequested, DeadlinePassed, DrainRequested, Lease
from tasks.workshop import Workshop, no_memory_left

log = structlog.get_logger()

#: Pauses before a publication is tried again.
PUBLISH_PAUSES_S = (0.5, 2.0)
#: What passes by itself, or once an operator has seen to it: a full disk, a source or a sink that is away, Postgres while the job ran.
PASSING = (StorageFull, SourceUnavailable, SinkUnavailable, OperationalError, InterfaceError, PoolExhausted)

#: Writes a job's effects in the transaction that ends it, and returns its result and warnings.
Publish = Callable[[Session], tuple[Json, Sequence[Json]]]


@dataclass
class Work:
    """One claimed job in a handler's hands."""

    shop: Workshop
    lease: Lease
    claim: ledger.Claim
    settled: bool = False
    #: Code of what went wrong with this try, for the log.
    met: str | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def job(self) -> Job:
        return self.claim.job

    @property
    def named(self) -> dict[str, str]:
        """Which job this is and whose, for the log."""
        return {"job": self.job.id, "tenant": self.job.tenant_id}

    def progress(self, phase: str, **figures: Any) -> None:
        """Tell watchers, and stop here if the job must stop."""
        self.lease.progress(self.job.id, phase, **figures)
        self.lease.check(self.job.id)

    def alive(self) -> None:
        """Say that the work moves, and stop here if the job must stop; cheap, between two batches."""
        self.lease.alive()
        self.lease.check(self.job.id)

    def publish_version(self, session: Session, new: NewVersion, activation: Mode, model_id: str | None = None) -> Version:
        """A version of the model that the job is for, or of another of its entity's. Raises NotFound: the entity was erased meanwhile."""
        if self.job.model_id is None:
            raise NotFound("entity", str(self.job.spec.get("entity")))
        keep, model = self.shop.settings.keep_versions, model_id or self.job.model_id
        return publish_and_prune(session, self.job.tenant_id, model, new, activation=activation, actor=self.job.id, keep=keep)

    def publish(self, write: Publish) -> None:
        """Commit the job's effects and its success together, under its fence, or nothing at all. Raises FenceLost.

        A lock that did not come in time or a Postgres that restarts must not cost the training: the transaction is run again, and
        where the first one did commit, its fence is gone.
        """
        self.lease.tell(self.job.id)
        for pause in PUBLISH_PAUSES_S:
            try:
                moved = self._commit(write)
                break
            except OperationalError as error:
                log.warning("publication_repeated", **self.named, error=str(error.orig))
                self.shop.runtime.meter.count(metrics.PUBLICATIONS_REPEATED)
                time.sleep(pause)
        else:
            moved = self._commit(write)
        self._settle("succeeded", moved)

    def _commit(self, write: Publish) -> list[ledger.Moved]:
        with self.shop.sessions.begin() as session:
            ledger.hold(session, self.job.id, self.claim.fence)
            result, warnings = write(session)
            return ledger.succeed(session, self.job.id, self.claim.fence, result, warnings)

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Whatever the work inside raises becomes the job's recorded outcome; its mates of a cohort go on."""
        try:
            yield
        except FenceLost:
            self._settle("fenced")
        except CancelRequested:
            self._end("cancelled", lambda s: ledger.cancelled(s, self.job.id, self.claim.fence))
        except DrainRequested:
            self._end("drained", lambda s: ledger.release(s, self.job.id, self.claim.fence))
        except DeadlinePassed as passed:
            self._fail(problems.problem("deadline_exceeded", str(passed)))
        except NewerRelease as found:
            self._hand_back(found)
        except PASSING as error:
            self._retry(_passing(error))
        except (ModelError, StoreError) as error:
            self._fail(problems.of(error))
        except Exception as error:
            if no_memory_left(error):
                self._retry(problems.problem("out_of_memory", (str(error) or "The worker ran out of memory.").splitlines()[0]))
                return
            log.exception("attempt_failed", **self.named, kind=self.job.kind)
            self._retry(problems.problem("internal", f"{type(error).__name__} in the worker; its log has the details."))

    def _hand_back(self, found: NewerRelease) -> None:
        """It needs a worker of a newer release, which this one makes way for: not at once, or it would ring here again and again."""
        log.warning("job_of_newer_release", **self.named, kind=self.job.kind, reason=str(found))
        delay = self.shop.settings.retry_base_s
        self._end("handed_back", lambda s: ledger.release(s, self.job.id, self.claim.fence, outcome="handed_back", delay_s=delay))

    def _fail(self, error: Json) -> None:
        self._note(error)
        self._end("failed", lambda s: ledger.fail(s, self.job.id, self.claim.fence, error))

    def _note(self, error: Json) -> None:
        """A job that is tried again shows its problem nowhere else."""
        self.met = error["code"]
        self.shop.runtime.meter.count(metrics.ATTEMPTS_FAILED, self.job.kind, error["code"])

    def _retry(self, error: Json) -> None:
        self._note(error)
        delay = backoff(self.claim.attempt, self.shop.settings.retry_base_s, self.shop.settings.retry_cap_s)
        self._end("retried", lambda s: ledger.retry_later(s, self.job.id, self.claim.fence, error, delay))

    def _end(self, outcome: str, write: Callable[[Session], list[ledger.Moved] | bool]) -> None:
        """Record the outcome. Where Postgres cannot be reached, or the fence is gone, the reaper has the last word."""
        self.lease.tell(self.job.id)
        moved: list[ledger.Moved] | bool = []
        try:
            with self.shop.sessions.begin() as session:
                moved = write(session)
        except (SQLAlchemyError, FenceLost) as error:
            log.warning("outcome_not_recorded", **self.named, outcome=outcome, error=str(error).splitlines()[0])
            outcome = "fenced" if isinstance(error, FenceLost) else "unrecorded"
        if moved is False:  # it had its last try, or was to be cancelled
            outcome = "exhausted"
        self._settle(outcome, moved if isinstance(moved, list) else [])

    def _settle(self, outcome: str, moved: Sequence[ledger.Moved] = ()) -> None:
        """Let go, count, and mirror what moved: the job, and a batch that ended with it."""
        ended = outcome == "exhausted" or any(each.job_id == self.job.id and each.state in TERMINAL for each in moved)
        self.let_go(outcome, ended=ended)
        try:
            # The job first: its batch is told of the item, and then of its end.
            for job_id in dict.fromkeys((self.job.id, *(each.job_id for each in moved))):
                found = status.fresh(self.shop.runtime, self.job.tenant_id, job_id)
                if ended:
                    metrics.count_end(self.shop.runtime.meter, found)
        except (SQLAlchemyError, NotFound):
            log.warning("status_not_mirrored", **self.named)

    def let_go(self, outcome: str, *, ended: bool) -> None:
        """The try is over and its outcome recorded: renew it no longer, and count it."""
        self.settled = True
        self.lease.let_go(self.job.id)
        log.info("attempt_ended", **self.named, kind=self.job.kind, attempt=self.claim.attempt, outcome=outcome, problem=self.met)
        meter = self.shop.runtime.meter
        meter.count(metrics.ATTEMPTS_ENDED, self.job.kind, outcome)
        if ended:
            meter.observe(metrics.JOB_RUN, time.monotonic() - self.began, self.job.kind)


Handler = Callable[[Workshop, Sequence[Work]], None]


class Forgotten(Exception):
    """A mistake of ours: the job would seem to run until its lease ran out."""


def run(shop: Workshop, handlers: Mapping[str, Handler], job_id: str, doorbell: str) -> None:
    """Answer one doorbell. A stale one (the job is taken, ended, or not yet due) finds nothing to claim."""
    owner = f"{shop.settings.host}/{doorbell}"
    claims = _claim(shop, job_id, owner)
    if not claims:
        log.debug("stale_doorbell", job=job_id)
        return
    _count_claims(shop, claims)
    with Lease(shop.runtime, claims) as lease:
        works = [Work(shop, lease, claim) for claim in claims]
        lease.claimed()
        try:
            handlers[claims[0].job.kind](shop, works)
            if not all(work.settled for work in works):
                raise Forgotten("the handler left a job without an outcome")
        except Exception as error:  # what no single job's care caught: nothing but a signal may reach Celery
            log.warning("handler_failed", jobs=[work.job.id for work in works], error=type(error).__name__)
            for work in works:
                if not work.settled:
                    with work.outcome():
                        raise error


def _claim(shop: Workshop, job_id: str, owner: str) -> list[ledger.Claim]:
    """The job, and its cohort where it is one of many alike."""
    lease_s = shop.settings.lease_s
    with shop.sessions.begin() as session:
        leader = ledger.claim(session, job_id, owner, lease_s)
    if leader is None:
        return []
    most = shop.cohort_of(leader.job)
    if most == 1:
        return [leader]
    with shop.sessions.begin() as session:
        return [leader, *ledger.join_cohort(session, leader, most - 1, owner, lease_s)]


def _count_claims(shop: Workshop, claims: Sequence[ledger.Claim]) -> None:
    """How long each was due before it was taken up, by Postgres' clock, and how many were taken up together."""
    for job in (claim.job for claim in claims):
        assert job.started_at is not None
        shop.runtime.meter.observe(metrics.JOB_WAIT, (job.started_at - job.available_at).total_seconds(), job.kind)
    if claims[0].job.shape_key is not None:
        shop.runtime.meter.observe(metrics.COHORT_SIZE, len(claims))


def _passing(error: Exception) -> Json:
    if isinstance(error, ModelError | StoreError):
        return problems.of(error)
    return problems.problem("source_unavailable", f"Postgres did not answer: {type(error).__name__}.")


def backoff(attempt: int, base_s: float, cap_s: float) -> float:
    """Full jitter: anywhere between nothing and the doubled base (Brooker, 'Exponential Backoff And Jitter', AWS 2015)."""
    return random.uniform(0, min(cap_s, base_s * 2 ** max(0, attempt - 1)))
