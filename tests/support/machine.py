"""The machine: whatever can happen to the ledger, in any order, beside a model in plain Python that says what must come of it.

Rules act on a real Postgres and on the model alike. What goes wrong is noted, not raised, so that the one check after each step can tell
the whole of it: what was answered amiss, and what that did to the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text
from sqlalchemy.orm import Session

from db import ledger, registry
from db.errors import Conflict, FenceLost, KeyReused, OverQuota
from db.ledger import Claim, Moved, NewJob, Placed, Pulse
from db.models import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, TERMINAL, TRAINING_KINDS, UNFINISHED, new_id
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once, new_version

MAX_UNFINISHED, MAX_RUNNING, MAX_ATTEMPTS, MAX_CRASHES, KEEP_VERSIONS = 12, 3, 4, 2, 2
#: Nothing waits, holds or may take shorter: what has to end is moved into the past, so that no pause of this machine's ends it by chance.
HOUR_S = 3600.0
#: The ledger's own invariants cost more than all the rest of a step. What breaks one mostly stays broken.
LOOK_EVERY = 5
ROUTE = "/jobs"
QUEUES = {"train": "train", "pretrain": "train", "predict": "predict"}
#: What consumers see of a version that was trained by each spec.
SIGNATURES = {"a": "one target", "b": "one target", "c": "two targets"}
#: `<worker>/<doorbell>`.
OWNERS = ("a/1", "a/2", "b/1")

#: Which of several. Mostly one with which something can be done; a negative number asks for any of the others.
NTH = st.integers(-6, 12)
#: Which claim. Nearly every other time one that holds no more.
CLAIM = st.integers(-6, 6)
MODEL, KIND, SPEC = st.integers(0, 2), st.sampled_from(sorted(QUEUES)), st.sampled_from(sorted(SIGNATURES))
QUEUE, OWNER, SWEEP = (
    st.sampled_from(sorted({*QUEUES.values()})),
    st.sampled_from(OWNERS),
    st.sampled_from(["reap", "expire", "finish_cancels"]),
)

Chosen = TypeVar("Chosen")
Row = dict[str, Any]

#: A job's row, and what the clock makes of it. Of a finished job the clock makes nothing.
_JOBS = text("""
SELECT to_jsonb(jobs) || jsonb_build_object(
  'code', error ->> 'code',
  'lapsed', coalesce(lease_until < clock_timestamp(), false),
  'rung', state = 'queued' AND dispatched_at IS NOT NULL,
  'waits', state = 'queued' AND available_at > clock_timestamp(),
  'late', state IN ('queued', 'running') AND coalesce(deadline_at <= clock_timestamp(), false)
) FROM jobs WHERE tenant_id = :tenant
""")
_VERSIONS = text("SELECT to_jsonb(versions) FROM versions WHERE tenant_id = :tenant ORDER BY model_id, major, minor, patch")
_ATTEMPTS = text("SELECT to_jsonb(attempts) FROM attempts WHERE tenant_id = :tenant ORDER BY fence")

#: What must be in a row as the model has it, under these names in both.
_COMPARED = (
    *("kind", "model_id", "spec_hash", "parent_id", "pending_children", "retry_of", "state", "rev", "attempt", "crashes", "fence"),
    *("lease_owner", "cancel_requested", "drain_requested", "dispatch_no", "progress", "code", "lapsed", "rung", "waits", "late"),
)


@dataclass(eq=False)
class Known:
    """What the model knows of a job."""

    id: str
    kind: str
    model_id: str | None
    spec_hash: str
    parent: Known | None = None
    children: list[Known] = field(default_factory=list)
    retry_of: str | None = None
    state: str = QUEUED
    rev: int = 1
    attempt: int = 0
    crashes: int = 0
    fence: int | None = None
    lease_owner: str | None = None
    cancel_requested: bool = False
    drain_requested: bool = False
    dispatch_no: int = 0
    progress: Row = field(default_factory=dict)
    #: Of the problem it failed with.
    code: str | None = None
    #: Its lease ran out; a bell was rung for it; it may not be taken up yet; its deadline passed.
    lapsed: bool = False
    rung: bool = False
    waits: bool = False
    late: bool = False
    #: (fence, number, outcome) of each try.
    tries: list[tuple[int, int, str | None]] = field(default_factory=list)

    @property
    def queue(self) -> str:
        return QUEUES[self.kind]

    @property
    def parent_id(self) -> str | None:
        return self.parent.id if self.parent else None

    @property
    def pending_children(self) -> int | None:
        return sum(child.unfinished for child in self.children) if self.children else None

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def at_work(self) -> bool:
        return self.state == RUNNING and not self.children

    @property
    def due(self) -> bool:
        return self.state == QUEUED and not self.waits and not self.late

    @property
    def trains(self) -> bool:
        return self.kind in TRAINING_KINDS and not self.children

    def begin(self, claim: Claim) -> None:
        self.state, self.fence, self.lease_owner = RUNNING, claim.fence, claim.job.lease_owner
        self.rev, self.attempt, self.rung, self.progress = self.rev + 1, self.attempt + 1, False, {}
        self.tries.append((claim.fence, self.attempt, None))

    def leave(self, state: str, *, code: str | None = None, outcome: str | None = None) -> None:
        """Go to another state; a try that was open ends with it."""
        if self.at_work:
            fence, number, _ = self.tries.pop()
            self.tries.append((fence, number, outcome or ("retried" if state == QUEUED else state)))
        self.state, self.rev, self.lease_owner = state, self.rev + 1, None
        self.lapsed = self.rung = self.waits = self.drain_requested = False
        self.code = code if state == FAILED else None
        self.late = self.late and state == QUEUED
        self.progress = {} if state == QUEUED else self.progress

    def stop_trying(self, *, exhausted: bool, code: str | None = None, outcome: str | None = None) -> None:
        self.leave(CANCELLED if self.cancel_requested else FAILED if exhausted else QUEUED, code=code, outcome=outcome)

    def ask_to_stop(self) -> None:
        if self.state == QUEUED:
            self.leave(CANCELLED)
        elif self.state == RUNNING and not self.cancel_requested:
            self.cancel_requested, self.rev = True, self.rev + 1


@dataclass
class Numbered:
    """What the model knows of a version."""

    semver: tuple[int, int, int]
    job_id: str
    fence: int
    spec_hash: str
    active: bool = False


class Machine(RuleBasedStateMachine):
    """One tenant's life. The database holds nobody else's."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions
        self.tenant = desk.tenant(sessions, new_id("tenant"), max_unfinished=MAX_UNFINISHED, max_running=MAX_RUNNING)
        self.models = desk.models(sessions, self.tenant, 3)
        self.known: dict[str, Known] = {}
        #: Every claim ever made. Who made it may be long dead to the ledger, and not know it.
        self.claims: list[Claim] = []
        #: Idempotency-Key to what was asked under it and the job that was answered.
        self.keys: dict[str, tuple[str, str]] = {}
        self.lineages: dict[str, list[Numbered]] = {model: [] for model in self.models}
        self.complaints: list[str] = []
        #: The rows after the last step, and whether this one may change any.
        self.before: tuple[dict[str, Row], list[Row], list[Row]] = ({}, [], [])
        self.refused = False
        self.steps = 0

    def teardown(self) -> None:
        """Looks once more at what is looked at only now and then, unless something is amiss already, and makes room."""
        with self.sessions.begin() as session:
            broken = {} if self.complaints else ledger.violations(session, lease_s=HOUR_S)
            session.execute(text("DELETE FROM tenants WHERE id = :tenant"), {"tenant": self.tenant})
        assert not broken, f"at the end: {broken}"

    @initialize()
    def a_zombie_among_others(self) -> None:
        """Chance alone rarely brings it about: a worker that is thought dead and is not, whose job another one has taken up.

        Beside it are a training that is done, some that wait for the same model, a prediction, and a batch of which one item runs.
        """
        self.submit(0, "train", "a", None)
        self.take(0, OWNERS[0])
        self.publish(0, True, None)
        self.submit(1, "train", "a", None)
        self.take(0, OWNERS[0])
        self.submit_batch("train", [(0, "a"), (1, "a"), (2, "b")])
        self.take(0, OWNERS[1])
        self.let_leases_run_out(0, True)
        self.submit(1, "train", "b", None)
        self.submit(2, "predict", "a", None)

    # -- what clients ask

    @rule(model=MODEL, kind=KIND, spec=SPEC, key=st.none() | st.sampled_from("kl"))
    def submit(self, model: int, kind: str, spec: str, key: str | None) -> None:
        new = self.new(kind, self.models[model], spec)
        if key in self.keys:
            self.ask_again(str(key), repr((model, kind, spec)))
            return
        room, twin, waiting = self.room(), self.twin(new), self.waiting(new.queue)
        placed = self.quietly(lambda session: self.place(session, new, key, repr((model, kind, spec))), OverQuota)
        self.expect((placed is None) == (room < 1), f"with room for {room} the answer was {placed}")
        if placed is None:
            return
        self.expect(placed.waiting == waiting, f"{placed.waiting} waited and not {waiting}")
        self.expect_single_flight(twin, placed)
        if key is not None:
            self.keys[key] = (repr((model, kind, spec)), placed.job.id)

    def place(self, session: Session, new: NewJob, key: str | None = None, body: str = "") -> Placed:
        """As a request does it."""
        if key is not None:
            self.expect(ledger.recall(session, self.tenant, ROUTE, key, body) is None, f"the new key {key} was known")
        placed = ledger.place(session, new, max_queue=1000)
        if key is not None:
            ledger.remember(session, self.tenant, ROUTE, key, body, placed.job.id)
        return placed

    def ask_again(self, key: str, body: str) -> None:
        """Under a key that was used."""
        asked, job_id = self.keys[key]
        found = self.quietly(lambda session: ledger.recall(session, self.tenant, ROUTE, key, body), KeyReused)
        self.expect((found is None) == (asked != body), f"key {key}, used for {asked}, was asked {body} and answered {found}")
        self.expect(found is None or found.job.id == job_id, f"key {key} was answered with another job")

    @precondition(lambda self: self.room() >= 2)
    @rule(model=MODEL, kind=KIND, spec=SPEC)
    def submit_twins_at_once(self, model: int, kind: str, spec: str) -> None:
        new = self.new(kind, self.models[model], spec)
        twin = self.twin(new)
        ask = lambda: self.quietly(lambda session: self.place(session, new))  # noqa: E731
        first, second = sorted((placed for placed in at_once(ask, ask) if placed), key=lambda placed: placed.deduplicated)
        self.expect_single_flight(twin, first)
        self.expect_single_flight(self.known[first.job.id], second)

    def expect_single_flight(self, twin: Known | None, placed: Placed) -> None:
        """That the twin answered, or where there was none a new job."""
        wanted = None if twin is None else twin.id
        self.expect(placed.deduplicated == (twin is not None), f"twin {wanted}, deduplicated {placed.deduplicated}")
        self.expect(wanted in (None, placed.job.id), f"not the twin {wanted} but {placed.job.id} was the answer")
        self.believe(placed.job.id, placed.job.kind, placed.job.model_id, placed.job.spec_hash)

    @rule(kind=KIND, items=st.lists(st.tuples(MODEL, SPEC), min_size=1, max_size=3))
    def submit_batch(self, kind: str, items: list[tuple[int, str]]) -> None:
        children = [self.new(kind, self.models[model], spec) for model, spec in items]
        room = self.room()
        parent = self.quietly(lambda session: self.admitted(session, len(items), lambda: self.batch(session, kind, children)), OverQuota)
        self.expect((parent is None) == (room < len(items)), f"room for {room}, {len(items)} were asked for, answer {parent}")
        if parent is not None:
            self.believe_batch(parent, kind, [(child.model_id, child.spec_hash, None) for child in children])

    def batch(self, session: Session, kind: str, children: Sequence[NewJob]) -> str:
        return ledger.submit_batch(session, self.new(kind, None, "batch"), children).id

    @rule(n=NTH)
    def cancel(self, n: int) -> None:
        job = self.some_job(n, lambda job: job.unfinished)
        answered = self.quietly(lambda session: ledger.cancel(session, self.tenant, job.id))
        for each in (*job.children, job):
            each.ask_to_stop()
        self.end_parents()
        self.expect(answered is not None and answered.state == job.state, f"cancel answered {answered}, not {job.state}")

    @precondition(lambda self: not all(job.unfinished for job in self.known.values()))
    @rule(n=NTH)
    def retry(self, n: int) -> None:
        old = self.some_job(n, lambda job: not job.unfinished)
        wanted = [child for child in old.children if child.state != SUCCEEDED]
        count, room = len(wanted) if old.children else 1, self.room()
        fits = not old.unfinished and (bool(wanted) if old.children else old.state != SUCCEEDED)
        twin = None if old.children else self.twin(old)
        again = self.quietly(lambda session: self.admitted(session, count, lambda: self.again(session, old)), OverQuota, Conflict)
        self.expect((again is not None) == (fits and room >= count), f"retry of a {old.state} job: {again}, room for {room} of {count}")
        if again is None:
            return
        if old.children:
            in_order = sorted(wanted, key=lambda child: child.id)
            self.believe_batch(again, old.kind, [(child.model_id, child.spec_hash, child.id) for child in in_order], old.id)
            return
        self.expect((twin.id if twin else None) in (None, again), f"not the twin {twin} but {again} was the answer")
        self.believe(again, old.kind, old.model_id, old.spec_hash, retry_of=old.id)

    def again(self, session: Session, old: Known) -> str:
        return ledger.retry(session, self.tenant, old.id, deadline_s=HOUR_S).id

    def admitted(self, session: Session, count: int, act: Callable[[], str]) -> str:
        ledger.admit(session, self.tenant, "train", count, max_queue=1000)
        return act()

    # -- what dispatchers do

    @precondition(lambda self: any(job.due for job in self.known.values()))
    @rule(queue=QUEUE, free=st.integers(0, 4), stamped=st.booleans())
    def dispatch(self, queue: str, free: int, stamped: bool) -> None:
        """The dispatcher may die before it stamps what it sent."""
        with self.sessions() as session:
            bells = ledger.due(session, queue, free)
            if stamped:
                ledger.dispatched(session, [bell.job_id for bell in bells])
                session.commit()
        ready = {job.id for job in self.of(queue) if job.due and not job.rung}
        busy = sum(job.at_work or job.rung for job in self.of(queue))
        rung = {bell.job_id for bell in bells}
        self.expect(len(bells) == min(free, max(MAX_RUNNING - busy, 0), len(ready)), f"{len(bells)} bells for {len(ready)}, {busy} busy")
        self.expect(rung <= ready, f"bells for {rung - ready}, which are not due")
        self.ring(bells, stamped=stamped)

    @precondition(lambda self: any(job.rung for job in self.known.values()))
    @rule(queue=QUEUE, lying=st.integers(0, 2))
    def ring_again_for_lost_bells(self, queue: str, lying: int) -> None:
        """Long after they were rung; so many of them still lie on the broker."""
        rung = [job for job in self.of(queue) if job.rung]
        for job in rung:
            desk.pass_by(self.sessions, job.id, "dispatched_at", 2 * HOUR_S)
        with self.sessions.begin() as session:
            unanswered = ledger.unanswered(session, queue, HOUR_S)
            bells = ledger.lost(session, queue, HOUR_S, [job.id for job in rung[:lying]], 100)
            ledger.dispatched(session, [bell.job_id for bell in bells])
        self.expect(unanswered == bool(rung), f"unanswered: {unanswered}")
        self.expect({bell.job_id for bell in bells} == {job.id for job in rung[lying:]}, f"lost bells: {bells}")
        self.ring(bells, stamped=True)

    def ring(self, bells: Sequence[ledger.Bell], *, stamped: bool) -> None:
        for bell in bells:
            job = self.known[bell.job_id]
            self.expect(bell.dispatch_no == job.dispatch_no + 1, f"bell {bell.dispatch_no} after {job.dispatch_no}")
            if stamped:
                job.rung, job.dispatch_no = True, job.dispatch_no + 1

    # -- what workers do

    @rule(ns=st.lists(NTH, min_size=1, max_size=3), owner=OWNER)
    def claim(self, ns: list[int], owner: str) -> None:
        for n in ns:
            self.take(n, owner)

    def take(self, n: int, owner: str) -> None:
        job = self.some_job(n, lambda job: job.due)
        free = job.due and self.places(job.queue) > 0 and self.model_is_free(job)
        claim = self.quietly(lambda session: ledger.claim(session, job.id, owner, HOUR_S))
        self.expect((claim is not None) == free, f"claim of {job}: {claim}")
        if claim is not None:
            self.begin(claim)
        elif job.due:
            job.waits, job.rung = True, False

    @precondition(lambda self: self.claims)
    @rule(n=CLAIM, limit=st.integers(1, 3))
    def join_cohort(self, n: int, limit: int) -> None:
        leader = self.some_claim(n)
        room, fitting = min(limit, self.places(leader.job.queue)), {job.id for job in self.known.values() if self.may_join(leader, job)}
        mates = self.quietly(lambda session: ledger.join_cohort(session, leader, limit, str(leader.job.lease_owner), HOUR_S)) or []
        taken = {mate.job_id for mate in mates}
        self.expect(bool(mates) == bool(fitting and room > 0), f"{mates} of {fitting} joined, room for {room}")
        self.expect(taken <= fitting and len(mates) <= max(room, 0), f"{taken - fitting} do not fit, room for {room}")
        self.expect(len({mate.job.model_id for mate in mates}) == len(mates), "two of a cohort are of one model")
        for mate in mates:
            self.begin(mate)

    def begin(self, claim: Claim) -> None:
        job = self.known[claim.job_id]
        self.expect(all(claim.fence != other.fence for other in self.claims), f"fence {claim.fence} was handed out before")
        self.expect(claim.fence > (job.fence or 0), f"fence {claim.fence} came after {job.fence}")
        job.begin(claim)
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(ns=st.lists(CLAIM, min_size=1, max_size=3), epoch=st.integers(1, 9))
    def beat(self, ns: list[int], epoch: int) -> None:
        held = {claim.job_id: claim for claim in map(self.some_claim, ns)}
        fences, progress = {job: claim.fence for job, claim in held.items()}, {job: {"epoch": epoch} for job in held}
        pulses = self.quietly(lambda session: ledger.beat(session, fences, HOUR_S, progress)) or {}
        jobs = {job: self.known[job] for job, claim in held.items() if self.holds(claim)}
        told = {id_: Pulse(id_, fences[id_], job.cancel_requested, job.drain_requested, job.late) for id_, job in jobs.items()}
        self.expect(pulses == told, f"pulses {pulses}, not {told}")
        self.refused = not jobs
        for job in jobs.values():
            job.lapsed, job.progress = False, {"epoch": epoch}

    @precondition(lambda self: self.claims)
    @rule(n=CLAIM, gate_passed=st.booleans(), meanwhile=st.none() | SWEEP)
    def publish(self, n: int, gate_passed: bool, meanwhile: str | None) -> None:
        """A sweep may come between; what is being published is locked, and left out."""
        self.publish_by(self.some_claim(n), gate_passed, meanwhile)

    @precondition(lambda self: not all(map(self.holds, self.claims)))
    @rule(n=st.integers(0, 6), gate_passed=st.booleans())
    def publish_too_late(self, n: int, gate_passed: bool) -> None:
        """Some that hold no more, and have not heard of it: thought dead, or without the answer to the COMMIT with which they ended."""
        stale = [claim for claim in self.claims if not self.holds(claim)]
        for claim in (stale + stale)[n % len(stale) :][: min(len(stale), 3)]:
            self.publish_by(claim, gate_passed, None)

    def publish_by(self, claim: Claim, gate_passed: bool, meanwhile: str | None) -> None:
        job, held = self.known[claim.job_id], self.holds(claim)
        moved = self.quietly(lambda session: self.commit(session, claim, gate_passed, meanwhile), FenceLost)
        self.expect_fenced("publish", held, moved is not None)
        if not held:
            return
        if job.trains:
            self.number(claim, gate_passed)
        job.leave(SUCCEEDED)
        self.expect_moved("publish", moved or [], [job, *self.end_parents()])

    def commit(self, session: Session, claim: Claim, gate_passed: bool, meanwhile: str | None) -> list[Moved]:
        """The road of every handler: hold, write, succeed."""
        ledger.hold(session, claim.job_id, claim.fence)
        if meanwhile is not None and self.holds(claim):
            self.sweep(meanwhile, besides=self.known[claim.job_id])
        if self.known[claim.job_id].trains:
            spec = claim.job.spec_hash
            new = new_version(
                job_id=claim.job_id, fence=claim.fence, spec_hash=spec, signature=SIGNATURES[spec], gate={"passed": gate_passed}
            )
            registry.publish_and_prune(
                session, self.tenant, str(claim.job.model_id), new, activation="auto", actor=claim.job_id, keep=KEEP_VERSIONS
            )
        return ledger.succeed(session, claim.job_id, claim.fence, {"said": "done"})

    @precondition(lambda self: self.claims)
    @rule(n=CLAIM, way=st.sampled_from(["fail", "stop", "release", "hand back", "retry at once", "retry later"]))
    def let_go(self, n: int, way: str) -> None:
        claim = self.some_claim(n)
        job, held = self.known[claim.job_id], self.holds(claim)
        answered = self.quietly(lambda session: self.go(session, claim, way), FenceLost)
        self.expect_fenced(way, held, answered is not None)
        if not held:
            return
        self.gone(job, way)
        ended = self.end_parents()
        if isinstance(answered, bool):
            self.expect(answered == (job.state == QUEUED), f"{way} answered {answered} of a job that is {job.state}")
        else:
            self.expect_moved(way, answered or [], [job, *ended])

    @staticmethod
    def go(session: Session, claim: Claim, way: str) -> list[Moved] | bool:
        if way == "fail":
            return ledger.fail(session, claim.job_id, claim.fence, desk.BAD)
        if way == "stop":
            return ledger.cancelled(session, claim.job_id, claim.fence)
        if way == "release":
            return ledger.release(session, claim.job_id, claim.fence)
        if way == "hand back":
            return ledger.release(session, claim.job_id, claim.fence, outcome="handed_back", delay_s=HOUR_S)
        return ledger.retry_later(session, claim.job_id, claim.fence, desk.BAD, HOUR_S if way == "retry later" else 0)

    @staticmethod
    def gone(job: Known, way: str) -> None:
        if way == "fail":
            job.leave(FAILED, code=desk.BAD["code"])
        elif way == "stop":
            job.leave(CANCELLED)
        elif way in ("release", "hand back"):
            job.stop_trying(exhausted=False, outcome="drained" if way == "release" else "handed_back")
            job.attempt -= 1
        else:
            job.stop_trying(exhausted=job.attempt >= MAX_ATTEMPTS, code=desk.BAD["code"])
        job.waits = way in ("hand back", "retry later") and job.state == QUEUED

    @precondition(lambda self: any(job.at_work for job in self.known.values()))
    @rule(n=NTH)
    def crash(self, n: int) -> None:
        """A process is said to have died. Its claims are kept: it may be wrong."""
        owner = self.some_owner(n)
        crashed = lambda session: ledger.crashed(session, owner, max_crashes=MAX_CRASHES, error=desk.LOST)  # noqa: E731
        moved = self.quietly(crashed)
        theirs = [job for job in self.known.values() if job.at_work and job.lease_owner == owner]
        for job in theirs:
            job.crashes += 1
            exhausted = job.crashes >= MAX_CRASHES or job.attempt >= MAX_ATTEMPTS
            job.stop_trying(exhausted=exhausted, code=desk.LOST["code"], outcome="crashed")
        self.expect_moved("crash", moved or [], [*theirs, *self.end_parents()])

    @precondition(lambda self: any(job.at_work for job in self.known.values()))
    @rule(n=NTH)
    def drain(self, n: int) -> None:
        worker = self.some_owner(n).split("/")[0]
        heard = self.quietly(lambda session: ledger.drain(session, worker))
        theirs = [job for job in self.known.values() if job.at_work and str(job.lease_owner).startswith(f"{worker}/")]
        asked = [job for job in theirs if not job.drain_requested]
        for job in asked:
            job.drain_requested = True
        self.expect(heard == len(asked), f"{heard} heard of the drain, not {len(asked)}")

    # -- time, and what it brings

    @precondition(lambda self: any(job.at_work for job in self.known.values()))
    @rule(n=NTH, reaped=st.booleans())
    def let_leases_run_out(self, n: int, reaped: bool) -> None:
        """Those of an owner, who hears nothing of it. The reaper comes at once and another takes the jobs up, or not yet."""
        owner = self.some_owner(n)
        for job in self.known.values():
            if job.at_work and job.lease_owner == owner:
                desk.lapse(self.sessions, job.id)
                job.lapsed = True
        if reaped:
            self.sweep("reap")
            self.take(n, OWNERS[-1])

    @precondition(lambda self: any(job.unfinished for job in self.known.values()))
    @rule(n=NTH)
    def let_a_deadline_pass(self, n: int) -> None:
        job = self.some_job(n, lambda job: job.unfinished)
        if job.unfinished:
            desk.pass_by(self.sessions, job.id, "deadline_at", 1)
            job.late = True

    @precondition(lambda self: any(job.waits for job in self.known.values()))
    @rule()
    def let_waits_end(self) -> None:
        with self.sessions.begin() as session:
            session.execute(text("UPDATE jobs SET available_at = created_at WHERE state = 'queued' AND available_at > clock_timestamp()"))
        for job in self.known.values():
            job.waits = False

    @precondition(lambda self: any(job.at_work or job.late for job in self.known.values()))
    @rule(which=SWEEP)
    def sweep(self, which: str, besides: Known | None = None) -> None:
        moved = self.quietly(lambda session: self.swept(session, which)) or []
        found = [job for job in self.known.values() if job is not besides and self.falls_to(which, job)]
        for job in found:
            if which == "reap":
                job.stop_trying(exhausted=job.attempt >= MAX_ATTEMPTS, code=desk.LOST["code"], outcome="lost")
            else:
                job.leave(FAILED if which == "expire" else CANCELLED, code=desk.LATE["code"])
        self.expect_moved(which, moved, [*found, *self.end_parents()])

    @staticmethod
    def swept(session: Session, which: str) -> list[Moved]:
        if which == "reap":
            return ledger.reap(session, lease_s=desk.NO_PAUSE_S, error=desk.LOST)
        return ledger.expire(session, error=desk.LATE) if which == "expire" else ledger.finish_cancels(session)

    @staticmethod
    def falls_to(which: str, job: Known) -> bool:
        if which == "reap":
            return job.lapsed
        return (job.state == QUEUED or job.lapsed) and (job.late if which == "expire" else job.cancel_requested)

    # -- what must hold after every step

    @invariant()
    def all_is_well(self) -> None:
        with self.sessions.begin() as session:
            given = {"tenant": self.tenant}
            rows: dict[str, Row] = {row["id"]: row for row in session.scalars(_JOBS, given)}
            versions, tries = list(session.scalars(_VERSIONS, given)), list(session.scalars(_ATTEMPTS, given))
            broken = {} if self.steps % LOOK_EVERY else ledger.violations(session, lease_s=HOUR_S)
        self.steps += 1
        self.complaints += [f"{name}: {n}" for name, n in broken.items()]
        self.complaints += [*self.history(rows), *self.one_at_a_time(rows), *self.amiss(rows)]
        self.complaints += [*self.one_version_each(rows, versions), *self.lines(versions), *self.attempts(tries)]
        self.expect(not self.refused or (rows, versions, tries) == self.before, "what was refused left a trace")
        self.before, self.refused = (rows, versions, tries), False
        assert not self.complaints, "\n".join(self.complaints)

    def history(self, rows: Mapping[str, Row]) -> Iterator[str]:
        """What was written once must stand."""
        for id_, old in self.before[0].items():
            row = rows.get(id_)
            if row is None:
                yield f"{id_} is gone"
            elif old["state"] in TERMINAL and row != old:
                yield f"{id_} had finished and changed: {_differences(old, row)}"
            elif row["rev"] < old["rev"]:
                yield f"the revision of {id_} went back"

    @staticmethod
    def one_at_a_time(rows: Mapping[str, Row]) -> Iterator[str]:
        at_work = (row for row in rows.values() if row["state"] == RUNNING and row["children"] is None)
        busy = Counter(row["model_id"] for row in at_work if row["kind"] in TRAINING_KINDS)
        return (f"{n} trainings of {model} run at once" for model, n in busy.items() if n > 1)

    def amiss(self, rows: Mapping[str, Row]) -> Iterator[str]:
        """Where the model and the rows disagree."""
        yield from (f"nobody knows of {id_}" for id_ in rows.keys() - self.known.keys())
        for id_, job in self.known.items():
            if id_ not in rows:
                yield f"{id_} is not there"
                continue
            known = {name: getattr(job, name) for name in _COMPARED}
            if any(rows[id_][name] != value for name, value in known.items()):
                yield f"{id_} is not as it should be: {_differences(known, rows[id_])}"

    @staticmethod
    def one_version_each(rows: Mapping[str, Row], versions: Sequence[Row]) -> Iterator[str]:
        """Of each training that succeeded, under its fence; of nothing else."""
        count = Counter(version["job_id"] for version in versions)
        for id_, row in rows.items():
            wanted = row["state"] == SUCCEEDED and row["kind"] in TRAINING_KINDS and row["children"] is None
            if count[id_] != wanted:
                yield f"{row['kind']} {id_}, {row['state']}, has {count[id_]} versions"
        for version in versions:
            if version["fence"] != rows[version["job_id"]]["fence"]:
                yield f"version {version['id']} was written under another fence than its job's"

    def lines(self, versions: Sequence[Row]) -> Iterator[str]:
        """Each model's versions under the numbers that they must have, one of them active."""
        for model, numbered in self.lineages.items():
            ours = [version for version in versions if version["model_id"] == model]
            line = [(*(version[part] for part in ("major", "minor", "patch")), version["job_id"], version["active"]) for version in ours]
            wanted = [(*version.semver, version.job_id, version.active) for version in numbered]
            if line != wanted:
                yield f"the versions of {model} are {line}, not {wanted}"
            if sum(version["active"] for version in ours) != bool(ours):
                yield f"{model} has not one active version"

    def attempts(self, tries: Sequence[Row]) -> Iterator[str]:
        for job in self.known.values():
            noted = [(row["fence"], row["number"], row["outcome"]) for row in tries if row["job_id"] == job.id]
            if noted != job.tries:
                yield f"the tries at {job.id} are {noted}, not {job.tries}"

    # -- the model's own reckoning

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.complaints.append(otherwise)

    def expect_fenced(self, way: str, held: bool, let_in: bool) -> None:
        self.expect(held or not let_in, f"{way} was let in under a stale fence")
        self.expect(let_in or not held, f"{way} was refused under a fence that holds")

    def expect_moved(self, what: str, moved: Sequence[Moved], jobs: Sequence[Known]) -> None:
        """That these jobs and no others were said to have moved, as they did."""
        told = {Moved(job.id, self.tenant, job.rev, job.state, job.parent_id) for job in jobs}
        self.expect(set(moved) == told and len(moved) == len(told), f"{what} moved {moved}, not {told}")

    def quietly(self, act: Callable[[Session], Chosen], *refusals: type[Exception]) -> Chosen | None:
        """What it answers, in a transaction of its own, or None where it refuses in one of these ways, which may leave no trace."""
        try:
            with self.sessions.begin() as session:
                return act(session)
        except refusals:
            self.refused = True
            return None

    def some_job(self, n: int, fits: Callable[[Known], bool]) -> Known:
        """Mostly one that fits; of the others where `n` is negative, or nothing fits."""
        jobs = list(self.known.values())
        return _nth([job for job in jobs if fits(job) == (n >= 0)] or jobs, n)

    def some_owner(self, n: int) -> str:
        return str(self.some_job(abs(n), lambda job: job.at_work).lease_owner)

    def some_claim(self, n: int) -> Claim:
        """One that holds, or where `n` is negative a stale one: but for every third, of a job that runs again under another's fence."""
        found = [claim for claim in self.claims if self.holds(claim) == (n >= 0)] or self.claims
        outrun = [claim for claim in found if self.known[claim.job_id].state == RUNNING]
        return _nth(outrun if outrun and n % 3 else found, n // 2)

    def holds(self, claim: Claim) -> bool:
        job = self.known[claim.job_id]
        return job.state == RUNNING and job.fence == claim.fence

    def of(self, queue: str) -> list[Known]:
        return [job for job in self.known.values() if job.queue == queue and not job.children]

    def room(self) -> int:
        return MAX_UNFINISHED - sum(job.unfinished for job in self.known.values() if not job.children)

    def waiting(self, queue: str) -> int:
        return sum(job.state == QUEUED for job in self.of(queue))

    def places(self, queue: str) -> int:
        return MAX_RUNNING - sum(job.at_work for job in self.of(queue))

    def model_is_free(self, job: Known) -> bool:
        rivals = (other for other in self.known.values() if other.at_work and other.trains and other.model_id == job.model_id)
        return not job.trains or not any(rivals)

    def may_join(self, leader: Claim, job: Known) -> bool:
        """Neither has crashed or was tried often, and they are alike but for the model."""
        healthy = leader.job.crashes == job.crashes == 0 and leader.attempt <= 2 and job.attempt < 2
        alike = job.trains and job.kind == leader.job.kind and job.model_id != leader.job.model_id
        return healthy and alike and job.due and self.model_is_free(job)

    def twin(self, new: NewJob | Known) -> Known | None:
        alike = (job for job in self.known.values() if (job.model_id, job.kind, job.spec_hash) == (new.model_id, new.kind, new.spec_hash))
        return next((job for job in alike if job.unfinished and not job.parent and not job.cancel_requested), None)

    def new(self, kind: str, model_id: str | None, spec: str) -> NewJob:
        shape = "shape" if kind in TRAINING_KINDS else None
        alike = {"kind": kind, "queue": QUEUES[kind], "model_id": model_id, "spec_hash": spec, "shape_key": shape}
        return desk.new(self.tenant, **alike, max_attempts=MAX_ATTEMPTS, deadline_s=HOUR_S)

    def believe(self, id_: str, kind: str, model_id: str | None, spec: str, **more: Any) -> Known:
        return self.known.setdefault(id_, Known(id_, kind, model_id, spec, **more))

    def believe_batch(self, id_: str, kind: str, items: Sequence[tuple[str | None, str, str | None]], retry_of: str | None = None) -> None:
        """Items are (model, spec, the job that each tries again), in their order."""
        with self.sessions.begin() as session:
            ids = [job.id for job in ledger.items(session, self.tenant, id_, limit=len(items) + 1)]
        self.expect(len(ids) == len(items), f"{len(ids)} items of {len(items)}")
        parent = self.believe(id_, kind, None, "batch", state=RUNNING, retry_of=retry_of)
        for child, (model, spec, old) in zip(ids, items, strict=False):
            parent.children.append(self.believe(child, kind, model, spec, parent=parent, retry_of=old))

    def end_parents(self) -> list[Known]:
        """Those whose last child has ended."""
        ended = [job for job in self.known.values() if job.unfinished and job.pending_children == 0]
        for parent in ended:
            succeeded = any(child.state == SUCCEEDED for child in parent.children)
            otherwise = CANCELLED if parent.cancel_requested else FAILED
            parent.leave(SUCCEEDED if succeeded else otherwise, code="batch_failed")
        return ended

    def number(self, claim: Claim, gate_passed: bool) -> None:
        """The version of this training, under the number that its spec gives it; active if it may be."""
        line = self.lineages[str(claim.job.model_id)]
        version = Numbered((1, 0, 0), claim.job_id, claim.fence, claim.job.spec_hash)
        if line:
            version.semver = _next(line[-1], version)
        if gate_passed or not line:
            for other in line:
                other.active = False
            version.active = True
        line.append(version)


def _next(last: Numbered, new: Numbered) -> tuple[int, int, int]:
    major, minor, patch = last.semver
    if SIGNATURES[last.spec_hash] != SIGNATURES[new.spec_hash]:
        return major + 1, 0, 0
    return (major, minor, patch + 1) if last.spec_hash == new.spec_hash else (major, minor + 1, 0)


def _nth(choices: Sequence[Chosen], n: int) -> Chosen:
    return choices[n % len(choices)]


def _differences(wanted: Row, found: Row) -> str:
    return ", ".join(f"{name} {found.get(name)!r}, not {value!r}" for name, value in wanted.items() if found.get(name) != value)
