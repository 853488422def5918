"""Whatever is done to the ledger, in whatever order: it says what a model of forty lines says, and breaks no invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import ledger
from db.errors import Conflict, FenceLost
from db.models import Job, Tenant
from db.session import Sessions
from tests.support import ledger as desk

MAX_RUNNING, MAX_ATTEMPTS, MAX_CRASHES = 3, 4, 2
NTH = st.integers(0, 20)
FENCE = st.integers(-4, 15)
_numbers = count()
Chosen = TypeVar("Chosen")


#: How a worker lets go of a job, and where that brings it for certain.
WAYS: dict[str, Callable[[Session, str, int], Any]] = {
    "succeed": lambda session, job, fence: ledger.succeed(session, job, fence, {}),
    "fail": lambda session, job, fence: ledger.fail(session, job, fence, desk.BAD),
    "stop": ledger.cancelled,
    "retry_later": lambda session, job, fence: ledger.retry_later(session, job, fence, desk.BAD, 0),
    "release": ledger.release,
}
ENDS = {"succeed": "succeeded", "fail": "failed", "stop": "cancelled"}


def nth(choices: list[Chosen], n: int) -> Chosen:
    return choices[n % len(choices)]


@dataclass
class Believed:
    """What the model believes of a job."""

    model: str | None = None
    spec: str = ""
    parent: str | None = None
    state: str = "queued"
    attempt: int = 0
    crashes: int = 0
    fence: int | None = None
    owner: str | None = None
    lapsed: bool = False
    cancel: bool = False
    children: list[str] = field(default_factory=list)

    @property
    def unfinished(self) -> bool:
        return self.state in ("queued", "running")


class Life(RuleBasedStateMachine):
    """Rules act on the database and on the model alike and compare the answers; the invariant compares the rows."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions
        self.tenant = desk.tenant(sessions, f"tenant-{next(_numbers)}", max_running=MAX_RUNNING)
        self.models = desk.models(sessions, self.tenant, 3)
        self.believed: dict[str, Believed] = {}
        #: Every (job, fence) ever handed out.
        self.fences: list[tuple[str, int]] = []

    def teardown(self) -> None:
        with self.sessions.begin() as session:
            assert set(ledger.violations(session)) <= {"succeeded_training_without_version"}, "nothing publishes here"
            session.execute(delete(Tenant).where(Tenant.id == self.tenant))

    def new(self, model: int, spec: str) -> Any:
        return desk.new(self.tenant, model_id=self.models[model], spec_hash=spec, max_attempts=MAX_ATTEMPTS, shape_key="s")

    # -- what clients ask

    @rule(model=st.integers(0, 2), spec=st.sampled_from("ab"))
    def submit(self, model: int, spec: str) -> None:
        twin = self.twin(self.models[model], spec)
        with self.sessions.begin() as session:
            job, deduplicated = ledger.submit(session, self.new(model, spec))
        assert (job.id if deduplicated else None) == twin
        self.believed.setdefault(job.id, Believed(self.models[model], spec))

    @rule(models=st.lists(st.integers(0, 2), min_size=1, max_size=3))
    def submit_batch(self, models: list[int]) -> None:
        with self.sessions.begin() as session:
            parent = ledger.submit_batch(session, desk.new(self.tenant), [self.new(model, "c") for model in models])
        self.believe_batch(parent.id)

    @precondition(lambda self: len(self.at_work()) > 1)
    @rule(any_=NTH)
    def cancel(self, any_: int) -> None:
        job = nth(sorted(self.believed), any_)
        with self.sessions.begin() as session:
            answered = ledger.cancel(session, self.tenant, job)
        for child in self.believed[job].children:
            self.ask_to_stop(self.believed[child])
        self.ask_to_stop(self.believed[job])
        self.end_parents()
        assert answered.state == self.believed[job].state

    @precondition(lambda self: any(not known.unfinished for known in self.believed.values()))
    @rule(any_=NTH)
    def retry(self, any_: int) -> None:
        job = nth([job for job, known in self.believed.items() if not known.unfinished or any_ % 5 == 0], any_)
        old = self.believed[job]
        wanted = [child for child in old.children if self.believed[child].state != "succeeded"]
        if old.unfinished or (not wanted if old.children else old.state == "succeeded"):
            with self.sessions.begin() as session, pytest.raises(Conflict):
                ledger.retry(session, self.tenant, job, deadline_s=None)
            return
        twin = None if old.children else self.twin(old.model, old.spec)
        with self.sessions.begin() as session:
            again = ledger.retry(session, self.tenant, job, deadline_s=None)
        if old.children:
            self.believe_batch(again.id)
        else:
            assert (again.id == twin) == (twin is not None)
            self.believed.setdefault(again.id, Believed(old.model, old.spec))

    # -- what workers do

    @precondition(lambda self: any(known.state == "queued" for known in self.believed.values()))
    @rule(any_=NTH, worker=st.sampled_from("ab"), cohort=st.integers(0, 3))
    def work(self, any_: int, worker: str, cohort: int) -> None:
        """Claim what waits, and join a cohort."""
        waiting = [job for job, known in self.believed.items() if known.state == "queued"]
        job = nth([job for job in waiting if self.may_run(job)] or waiting, any_) if any_ % 4 else nth(waiting, any_)
        expected, owner = self.may_run(job), f"{self.tenant}-{worker}/1"
        with self.sessions.begin() as session:
            claim = ledger.claim(session, job, owner, desk.LEASE_S)
        desk.wake(self.sessions)
        assert (claim is not None) == expected
        if claim is None:
            return
        self.begin(claim)
        with self.sessions.begin() as session:
            mates = ledger.join_cohort(session, claim, cohort, owner, desk.LEASE_S)
        assert len(mates) <= cohort
        assert not mates or (claim.job.crashes == 0 and claim.attempt <= 2)
        for mate in mates:
            known = self.believed[mate.job_id]
            assert self.may_run(mate.job_id)
            assert (known.crashes, known.attempt < 2) == (0, True)
            self.begin(mate)

    @precondition(lambda self: any(known.state != "queued" for known in self.believed.values()))
    @rule(any_=NTH)
    def work_on_what_is_not_queued(self, any_: int) -> None:
        job = nth([job for job, known in self.believed.items() if known.state != "queued"], any_)
        assert desk.claim(self.sessions, job) is None

    @precondition(lambda self: self.fences)
    @rule(fence=FENCE)
    def beat(self, fence: int) -> None:
        job, held = self.some_fence(fence)
        with self.sessions.begin() as session:
            pulses = ledger.beat(session, {job: held}, desk.LEASE_S, {job: {"epoch": 1}})
        known = self.held((job, held))
        assert set(pulses) == ({job} if known else set())
        if known:
            assert pulses[job].cancel == known.cancel
            known.lapsed = False

    @precondition(lambda self: self.fences)
    @rule(fence=FENCE, way=st.sampled_from(sorted(WAYS)))
    def let_go(self, fence: int, way: str) -> None:
        job, held = self.some_fence(fence)
        known = self.held((job, held))
        if known is None:
            with pytest.raises(FenceLost), self.sessions.begin() as session:
                WAYS[way](session, job, held)
            return
        with self.sessions.begin() as session:
            answered = WAYS[way](session, job, held)
        known.state = self.after(known, way)
        known.attempt -= way == "release"
        went_back, ended = known.state == "queued", self.end_parents()
        assert answered == went_back if way == "retry_later" else [moved.job_id for moved in answered] == [job, *ended]

    @precondition(lambda self: self.at_work())
    @rule(any_=NTH)
    def crash(self, any_: int) -> None:
        """The process of some running job dies."""
        owner = self.believed[nth(self.at_work(), any_)].owner
        with self.sessions.begin() as session:
            moved = ledger.crashed(session, str(owner), max_crashes=MAX_CRASHES, error=desk.LOST)
        theirs = [job for job in self.at_work() if self.believed[job].owner == owner]
        for job in theirs:
            known = self.believed[job]
            known.crashes += 1
            known.state = self.back(known, exhausted=known.crashes >= MAX_CRASHES or known.attempt >= MAX_ATTEMPTS)
        assert {job.job_id for job in moved} == {*theirs, *self.end_parents()}

    # -- time, and what it brings

    @precondition(lambda self: self.at_work())
    @rule(any_=NTH, reaped=st.booleans())
    def lapse(self, any_: int, reaped: bool) -> None:
        job = nth(self.at_work(), any_)
        self.believed[job].lapsed = True
        desk.lapse(self.sessions, job)
        if reaped:
            self.reap()

    def reap(self) -> None:
        with self.sessions.begin() as session:
            moved = ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)
        lost = [job for job in self.at_work() if self.believed[job].lapsed]
        for job in lost:
            known = self.believed[job]
            known.state = self.back(known, exhausted=known.attempt >= MAX_ATTEMPTS)
        assert {job.job_id for job in moved} == {*lost, *self.end_parents()}

    # -- what must hold after every step (and at the end: `teardown`)

    @invariant()
    def the_rows_are_as_believed(self) -> None:
        with self.sessions.begin() as session:
            rows = {job.id: job for job in session.scalars(select(Job).where(Job.tenant_id == self.tenant))}
        assert set(rows) == set(self.believed)
        for job, known in self.believed.items():
            row = rows[job]
            assert (row.state, row.attempt, row.crashes, row.cancel_requested) == (known.state, known.attempt, known.crashes, known.cancel)
            assert row.pending_children == (sum(self.believed[c].unfinished for c in known.children) if known.children else None)

    # -- the model's own reckoning

    def twin(self, model: str | None, spec: str) -> str | None:
        alike = (
            job
            for job, known in self.believed.items()
            if (known.model, known.spec, known.parent) == (model, spec, None) and known.unfinished and not known.cancel
        )
        return next(alike, None)

    def at_work(self) -> list[str]:
        return [job for job, known in self.believed.items() if known.state == "running" and not known.children]

    def may_run(self, job: str) -> bool:
        known, busy = self.believed[job], [self.believed[other].model for other in self.at_work()]
        return known.state == "queued" and len(busy) < MAX_RUNNING and known.model not in busy

    def some_fence(self, n: int) -> tuple[str, int]:
        """Mostly one that is valid; a negative number asks for any that ever was."""
        valid = [fence for fence in self.fences if self.held(fence)]
        return nth(valid if valid and n >= 0 else self.fences, n)

    def held(self, fence: tuple[str, int]) -> Believed | None:
        known = self.believed[fence[0]]
        return known if known.state == "running" and known.fence == fence[1] else None

    def after(self, known: Believed, way: str) -> str:
        if way in ENDS:
            return ENDS[way]
        return self.back(known, exhausted=way == "retry_later" and known.attempt >= MAX_ATTEMPTS)

    @staticmethod
    def back(known: Believed, *, exhausted: bool) -> str:
        return "cancelled" if known.cancel else "failed" if exhausted else "queued"

    def begin(self, claim: ledger.Claim) -> None:
        known = self.believed[claim.job_id]
        known.state, known.fence, known.owner, known.lapsed = "running", claim.fence, claim.job.lease_owner, False
        known.attempt += 1
        self.fences.append((claim.job_id, claim.fence))

    def ask_to_stop(self, known: Believed) -> None:
        if known.state == "running":
            known.cancel = True
        elif known.state == "queued":
            known.state = "cancelled"

    def end_parents(self) -> list[str]:
        ended = [job for job, known in self.believed.items() if known.children and known.unfinished and self.nobody_left(known)]
        for job in ended:
            known = self.believed[job]
            states = {self.believed[child].state for child in known.children}
            known.state = "succeeded" if "succeeded" in states else "cancelled" if known.cancel else "failed"
        return ended

    def nobody_left(self, parent: Believed) -> bool:
        return not any(self.believed[child].unfinished for child in parent.children)

    def believe_batch(self, parent: str) -> None:
        with self.sessions.begin() as session:
            rows = ledger.items(session, self.tenant, parent, limit=10)
        for row in rows:
            self.believed[row.id] = Believed(row.model_id, row.spec_hash, parent)
        self.believed[parent] = Believed(state="running", children=[row.id for row in rows])


def test_the_ledger_agrees_with_a_model_of_it(sessions: Sessions) -> None:
    run_state_machine_as_test(
        lambda: Life(sessions),  # type: ignore[arg-type]  # any callable that makes a machine will do
        settings=settings(
            max_examples=25, stateful_step_count=35, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
        ),
    )
