"""Whatever happens to the ledger, in whatever order, its promises hold; and with one protection gone, that is found out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import and_, func, make_url, select, text, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import ledger, migrate
from db.errors import FenceLost
from db.ledger import Claim, Moved, claims, intake, leases, sweeps
from db.ledger.moves import attempts, jobs
from db.models import QUEUED, RUNNING, SUCCEEDED, Job, Version, new_id
from db.registry import NewVersion, publication
from db.session import Sessions, make_engine, make_sessions
from tests.support.machine import HOUR_S, Machine
from tests.support.servers import Servers, database


@pytest.fixture(autouse=True)
def no_wait_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BUSY_S", HOUR_S)


@pytest.fixture(scope="module")
def untouched(live: Servers) -> Iterator[str]:
    """The name of a database at the head of the migrations, to be copied."""
    with database(live.database_url) as url:
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        yield str(make_url(url).database)


@pytest.fixture
def expendable(live: Servers, untouched: str) -> Iterator[Sessions]:
    """A database of this test's own, whose schema it may break."""
    with database(live.database_url, template=untouched) as url:
        engine = make_engine(url)
        yield make_sessions(engine)
        engine.dispose()


def run(sessions: Sessions, **how: Any) -> None:
    run_state_machine_as_test(
        lambda: Machine(sessions),  # type: ignore[arg-type]  # any callable that makes a machine will do
        settings=settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), **how),
    )


def run_until_it_fails(sessions: Sessions) -> None:
    run(sessions, max_examples=30, stateful_step_count=25, phases=[Phase.generate])


def test_the_ledger_keeps_its_promises(sessions: Sessions) -> None:
    run(sessions, max_examples=12, stateful_step_count=30)


@pytest.mark.slow
def test_the_ledger_keeps_its_promises_for_long(sessions: Sessions) -> None:
    run(sessions, max_examples=200, stateful_step_count=100)


# -- one protection gone: the machine must notice


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leases, "_under", lambda job_id, _: and_(jobs.c.id == job_id, jobs.c.state == RUNNING))


def publication_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever publishes does so in the name of the one who may."""
    hold, succeed = ledger.hold, ledger.succeed
    patch.setattr(ledger, "hold", lambda session, job_id, _: hold(session, job_id, fence_now(session, job_id)))
    patch.setattr(ledger, "succeed", lambda session, job_id, _, *result: succeed(session, job_id, fence_now(session, job_id), *result))


def fence_now(session: Session, job_id: str) -> Any:
    return session.scalar(select(jobs.c.fence).where(jobs.c.id == job_id))


def publications_repeated(patch: pytest.MonkeyPatch) -> None:
    """A job that has succeeded may be published again, under any fence, and nobody looks whether it has a version."""
    publish, succeed = publication.publish, ledger.succeed

    def hold(session: Session, job_id: str, fence: int) -> Job:
        job = session.scalars(select(Job).where(Job.id == job_id, Job.state.in_([RUNNING, SUCCEEDED]))).one_or_none()
        if job is None:
            raise FenceLost(job_id, fence)
        return job

    def publish_anew(session: Session, tenant_id: str, model_id: str, new: NewVersion, **how: Any) -> Version:
        published = publish(session, tenant_id, model_id, replace(new, job_id=new_id("job")), **how)
        published.job_id = new.job_id
        session.flush()
        return published

    def succeed_once(session: Session, job_id: str, fence: int, result: Any) -> list[Moved]:
        running = session.scalar(select(jobs.c.state).where(jobs.c.id == job_id)) == RUNNING
        return succeed(session, job_id, fence, result) if running else []

    patch.setattr(ledger, "hold", hold)
    patch.setattr(publication, "publish", publish_anew)
    patch.setattr(ledger, "succeed", succeed_once)


def no_look_for_twins(patch: pytest.MonkeyPatch) -> None:
    for statement in ("_SUBMIT", "_PLACE"):
        patch.setattr(intake, statement, re.sub("ON CONFLICT .* DO NOTHING", "", getattr(intake, statement)))


def finished_jobs_are_moved(patch: pytest.MonkeyPatch) -> None:
    """Whoever held a job last may still move it."""
    patch.setattr(leases, "_under", lambda job_id, fence: and_(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state != QUEUED))


def models_always_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "_model_is_free", true)


def reaper_takes_all_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sweeps, "_lapsed", lambda: and_(jobs.c.state == RUNNING, jobs.c.lease_until.is_not(None)))


def fences_kept(patch: pytest.MonkeyPatch) -> None:
    """Who takes up what was reaped gets the fence of the one before, so that both hold it."""
    take = claims._take

    def keep(session: Session, claim: Claim) -> Claim:
        first = session.execute(select(func.min(attempts.c.fence)).where(attempts.c.job_id == claim.job_id)).scalar_one()
        session.execute(update(attempts).where(attempts.c.fence == claim.fence).values(fence=first))
        session.execute(update(jobs).where(jobs.c.id == claim.job_id).values(fence=first))
        return replace(claim, fence=first)

    patch.setattr(claims, "_take", lambda session, *picked: [keep(session, claim) for claim in take(session, *picked)])


ONLY_COUNTING = """
CREATE OR REPLACE FUNCTION job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.rev := OLD.rev + (OLD.state <> NEW.state OR OLD.cancel_requested <> NEW.cancel_requested)::int;
  RETURN NEW;
END $$
"""


@dataclass(frozen=True)
class Gone:
    """A protection that is gone, and what the machine says of it."""

    err: Callable[[pytest.MonkeyPatch], None]
    found: str
    #: What held it up in the database, and how that is taken away too.
    refusal: str = ""
    schema: str = "SELECT"


GONE = [
    Gone(no_fence, "was let in under a stale fence"),
    Gone(publication_without_a_fence, "publish was let in under a stale fence"),
    Gone(
        publications_repeated,
        "succeeded, has 2 versions",
        refusal="versions_one_per_job",
        schema="ALTER TABLE versions DROP CONSTRAINT versions_one_per_job",
    ),
    Gone(no_look_for_twins, "not the twin .* was the answer", refusal="single_flight", schema="DROP INDEX single_flight"),
    Gone(finished_jobs_are_moved, "had finished and changed", refusal="is finished", schema=ONLY_COUNTING),
    Gone(models_always_free, "2 trainings of .* run at once", refusal="one_running_train", schema="DROP INDEX one_running_train"),
    Gone(reaper_takes_all_leases, "(reap|expire|finish_cancels) moved"),
    Gone(fences_kept, "fence .* was handed out before", refusal="pk_attempts", schema="ALTER TABLE attempts DROP CONSTRAINT pk_attempts"),
]


#: What is found within seconds; the default run looks for these.
FOUND_SOON = {no_look_for_twins}
EACH = [pytest.param(gone, id=gone.err.__name__, marks=[] if gone.err in FOUND_SOON else [pytest.mark.slow]) for gone in GONE]


@pytest.mark.parametrize("gone", EACH)
def test_a_protection_that_is_gone_is_missed(expendable: Sessions, monkeypatch: pytest.MonkeyPatch, gone: Gone) -> None:
    with expendable.begin() as session:
        session.execute(text(gone.schema))
    gone.err(monkeypatch)
    with pytest.raises(AssertionError, match=gone.found):
        run_until_it_fails(expendable)


@pytest.mark.parametrize("gone", [gone for gone in GONE if gone.refusal], ids=lambda gone: gone.err.__name__)
def test_where_the_code_errs_the_database_still_refuses(expendable: Sessions, monkeypatch: pytest.MonkeyPatch, gone: Gone) -> None:
    gone.err(monkeypatch)
    with pytest.raises(IntegrityError, match=gone.refusal):
        run_until_it_fails(expendable)
