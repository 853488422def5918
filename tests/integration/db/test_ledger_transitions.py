"""The trigger: a job changes its state only as the table says, and a finished one not at all."""

from __future__ import annotations

from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db import ledger
from db.models import QUEUED, RUNNING, TERMINAL, TRANSITIONS, UNFINISHED
from db.session import Sessions
from tests.support import ledger as desk

STATES = (*UNFINISHED, *TERMINAL)
#: What a row in a state must hold, so that only the trigger can refuse the change.
_FITTING = dict.fromkeys(TERMINAL, "lease_until = NULL, finished_at = now()") | {
    QUEUED: "lease_until = NULL, finished_at = NULL",
    RUNNING: "lease_until = now(), finished_at = NULL",
}


def in_state(sessions: Sessions, state: str) -> str:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(f"UPDATE jobs SET state = :state, {_FITTING[state]} WHERE id = :id"), {"state": state, "id": job_id})
    return job_id


def change(sessions: Sessions, job_id: str, state: str) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET state = :state, {_FITTING[state]} WHERE id = :id"), {"state": state, "id": job_id})


@pytest.mark.parametrize(("before", "after"), sorted(TRANSITIONS))
def test_these_changes_are_allowed_and_counted(sessions: Sessions, before: str, after: str) -> None:
    job_id = in_state(sessions, before)
    rev = desk.job(sessions, job_id).rev
    change(sessions, job_id, after)
    row = desk.job(sessions, job_id)
    assert (row.state, row.rev) == (after, rev + (before != after))


@pytest.mark.parametrize(("before", "after"), sorted(set(product(STATES, STATES)) - TRANSITIONS))
def test_all_others_are_refused(sessions: Sessions, before: str, after: str) -> None:
    job_id = in_state(sessions, before)
    with pytest.raises(IntegrityError, match="cannot change" if before in TERMINAL else "cannot go from"):
        change(sessions, job_id, after)
    assert desk.job(sessions, job_id).state == before


@pytest.mark.parametrize("column", ["progress = '{\"epoch\": 1}'", "result = '{}'", "rev = rev + 1", "fence = 0", "label = 'other'"])
@pytest.mark.parametrize("state", TERMINAL)
def test_nothing_about_a_finished_job_changes(sessions: Sessions, state: str, column: str) -> None:
    job_id = in_state(sessions, state)
    with pytest.raises(IntegrityError, match=f"is finished \\({state}\\)"), sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {column} WHERE id = :id"), {"id": job_id})


def test_erasing_an_entity_is_the_one_thing_a_finished_job_still_sees(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    claim = desk.running(sessions, acme, model_id=model)
    with sessions.begin() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {})
        session.execute(text("DELETE FROM entities"))
    row = desk.job(sessions, claim.job_id)
    assert (row.state, row.model_id, row.tenant_id) == ("succeeded", None, acme)


def test_the_revision_is_the_databases_own(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET rev = 99 WHERE id = :id"), {"id": job_id})
    assert desk.job(sessions, job_id).rev == 1
