"""The ledger for tests: jobs in the state a test begins with, and ways to make time pass and transactions meet."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db import ledger, tenants
from db.ledger import Claim, NewJob
from db.models import Attempt, Entity, Job, Model, new_id
from db.session import Sessions

LEASE_S = 60.0
#: Shorter than any server has been up, so that `reap` does not pause.
NO_PAUSE_S = 0.001
LOST = {"code": "worker_lost"}
LATE = {"code": "deadline_exceeded"}
BAD = {"code": "insufficient_data"}

First = TypeVar("First")
Second = TypeVar("Second")


def tenant(sessions: Sessions, name: str = "acme", *, max_unfinished: int = 10_000, max_running: int = 1000) -> str:
    with sessions.begin() as session:
        return tenants.create_tenant(session, name, max_unfinished=max_unfinished, max_running=max_running).id


def models(sessions: Sessions, tenant_id: str, n: int) -> list[str]:
    """So many models, each of an entity of its own."""
    with sessions.begin() as session:
        owners = [Entity(tenant_id=tenant_id, name=new_id("entity")) for _ in range(n)]
        session.add_all(owners)
        session.flush()
        made = [Model(tenant_id=tenant_id, entity_id=owner.id, kind="forecast", name="rhr") for owner in owners]
        session.add_all(made)
        session.flush()
        return [model.id for model in made]


def new(tenant_id: str, **fields: Any) -> NewJob:
    """A training without a model, unlike any other, unless told otherwise."""
    given: dict[str, Any] = {
        "kind": "train",
        "queue": "train",
        "spec": {"window": 30},
        "spec_hash": new_id("spec"),
        "label": "user-42 rhr",
        "max_attempts": 5,
        "deadline_s": 3600.0,
    }
    return NewJob(tenant_id=tenant_id, **(given | fields))


def queued(sessions: Sessions, tenant_id: str, **fields: Any) -> str:
    with sessions.begin() as session:
        return ledger.submit(session, new(tenant_id, **fields))[0].id


def claim(sessions: Sessions, job_id: str, owner: str = "gpu/1", lease_s: float = LEASE_S) -> Claim | None:
    with sessions.begin() as session:
        return ledger.claim(session, job_id, owner, lease_s)


def running(sessions: Sessions, tenant_id: str, *, owner: str = "gpu/1", **fields: Any) -> Claim:
    return held(sessions, queued(sessions, tenant_id, **fields), owner)


def held(sessions: Sessions, job_id: str, owner: str = "gpu/1") -> Claim:
    claimed = claim(sessions, job_id, owner)
    assert claimed is not None
    return claimed


def batch(sessions: Sessions, tenant_id: str, n: int, **fields: Any) -> tuple[str, list[str]]:
    """The ids of a parent and of its `n` children."""
    with sessions.begin() as session:
        parent = ledger.submit_batch(session, new(tenant_id), [new(tenant_id, **fields) for _ in range(n)])
        return parent.id, [item.id for item in ledger.items(session, tenant_id, parent.id, limit=n)]


def job(sessions: Sessions, job_id: str) -> Job:
    """The row as it is now."""
    with sessions.begin() as session:
        return session.scalars(select(Job).where(Job.id == job_id)).one()


def attempts(sessions: Sessions, job_id: str) -> list[tuple[int, str | None]]:
    """(number, outcome) of each try, in order."""
    with sessions.begin() as session:
        rows = session.execute(select(Attempt.number, Attempt.outcome).where(Attempt.job_id == job_id).order_by(Attempt.fence))
        return [(number, outcome) for number, outcome in rows]


def pass_by(sessions: Sessions, job_id: str, column: str, seconds: float) -> None:
    """Make a moment of the job lie so many seconds in the past, as if time had gone by."""
    shift = text(f"UPDATE jobs SET {column} = clock_timestamp() - make_interval(secs => :s) WHERE id = :id")
    with sessions.begin() as session:
        session.execute(shift, {"s": seconds, "id": job_id})


def lapse(sessions: Sessions, *job_ids: str) -> None:
    """Let the leases run out."""
    for job_id in job_ids:
        pass_by(sessions, job_id, "lease_until", 1)


def wake(sessions: Sessions) -> None:
    """Let the time pass for which queued jobs wait."""
    with sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET available_at = clock_timestamp() WHERE state = 'queued' AND available_at > clock_timestamp()")
        )


def behind(sessions: Sessions, first: Callable[[Session], First], second: Callable[[Session], Second], *, commit: bool = True) -> Second:
    """What `second` returns when it runs into the locks of `first`, which ends only after `second` was seen waiting."""
    with ThreadPoolExecutor(1) as pool, sessions() as session:
        first(session)
        pending = pool.submit(_in_own_transaction, sessions, second)
        _until_somebody_waits(sessions)
        if commit:
            session.commit()
        else:
            session.rollback()
        return pending.result(timeout=60)


def _in_own_transaction(sessions: Sessions, action: Callable[[Session], Second]) -> Second:
    with sessions.begin() as session:
        return action(session)


def _until_somebody_waits(sessions: Sessions) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with sessions.begin() as session:
            if session.execute(waiting).scalar_one():
                return
        time.sleep(0.005)
    raise AssertionError("The second transaction did not wait for the first.")
