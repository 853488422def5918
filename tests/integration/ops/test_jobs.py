"""Jobs on the command line: found among all tenants', looked into, cancelled and asked for again, with the mirror in step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Engine

from db import ledger
from db.session import Sessions
from tasks import status
from tasks.problems import problem
from tasks.runtime import Runtime
from tests.integration.ops.conftest import Command
from tests.support import ledger as desk
from tests.support import rows
from tests.support.web import make_runtime

LOST = problem("worker_lost", "Every try's worker fell silent.")
BAD = problem("insufficient_data", "Too few rows.")


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Iterator[Runtime]:
    made = make_runtime(engine, redis_url)
    yield made
    made.memory.close()


def lines(told: Result) -> list[dict[str, Any]]:
    assert told.exit_code == 0, told.output
    return [json.loads(line) for line in told.stdout.splitlines()]


def ids(told: Result) -> list[str]:
    return [line["id"] for line in lines(told)]


def failed(sessions: Sessions, tenant_id: str, error: dict[str, Any] = LOST, **fields: Any) -> str:
    claim = desk.running(sessions, tenant_id, **fields)
    with sessions.begin() as session:
        ledger.fail(session, claim.job_id, claim.fence, error)
    return claim.job_id


# Listing


def test_the_list_has_every_tenants_jobs_newest_first(fleetcast: Command, sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    first, second = desk.queued(sessions, acme), desk.queued(sessions, other, label="sensor-9 humidity")
    third = failed(sessions, acme)
    found = lines(fleetcast("jobs", "ls", "--json"))
    assert [(job["id"], job["tenant_name"], job["state"]) for job in found] == [
        (third, "acme", "failed"),
        (second, "other", "queued"),
        (first, "acme", "queued"),
    ]
    assert ids(fleetcast("jobs", "ls", "--json", "--tenant", "other")) == [second]
    table = fleetcast("jobs", "ls").stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == [third, second, first]
    assert "worker_lost" in table
    assert "sensor-9 humidity" in table


def test_the_list_can_be_narrowed(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        whose = rows.entity(session, acme, "user-42").id
    old, quick = desk.queued(sessions, acme), desk.queued(sessions, acme, kind="predict", queue="interactive")
    bad, lost = failed(sessions, acme, BAD), failed(sessions, acme, LOST)
    parent, [item] = desk.batch(sessions, acme, 1, entity_id=whose)
    desk.pass_by(sessions, old, "created_at", 3 * 86_400)
    for words, expected in (
        (["--state", "failed"], [lost, bad]),
        (["--state", "running"], [parent]),
        (["--kind", "predict"], [quick]),
        (["--queue", "interactive"], [quick]),
        (["--code", "worker_lost"], [lost]),
        (["--entity", "user-42"], [item]),
        (["--entity", "nobody"], []),
        (["--since", "2h"], [parent, lost, bad, quick]),
        (["--since", "4d", "--items", "--limit", "2"], [item, parent]),
        (["--since", "4d"], [parent, lost, bad, quick, old]),
    ):
        assert sorted(ids(fleetcast("jobs", "ls", "--json", *words))) == sorted(expected), words


def test_what_ended_lately_counts_as_recent_though_it_was_asked_for_long_ago(fleetcast: Command, sessions: Sessions) -> None:
    claim = desk.running(sessions, desk.tenant(sessions))
    desk.pass_by(sessions, claim.job_id, "created_at", 86_400)
    assert ids(fleetcast("jobs", "ls", "--json", "--since", "1h")) == []
    with sessions.begin() as session:
        ledger.fail(session, claim.job_id, claim.fence, LOST)
    assert ids(fleetcast("jobs", "ls", "--json", "--since", "1h")) == [claim.job_id]


@pytest.mark.parametrize("columns", ["60", "80", "120", "300"])
def test_the_table_fits_the_terminal_and_keeps_the_ids_whole(fleetcast: Command, sessions: Sessions, columns: str) -> None:
    acme = desk.tenant(sessions, "a-tenant-with-a-rather-long-name-indeed")
    job_id = failed(sessions, acme, label="an-entity-named-at-length-by-its-owner temperature of the third floor")
    told = fleetcast("jobs", "ls", COLUMNS=columns).stdout
    assert all(len(line) <= int(columns) for line in told.splitlines())
    assert job_id in told
    if columns == "120":
        assert re.search(r"failed +1 +\d\.\ds +\d\.\ds  worker_lost$", told), "numbers and states are whole; names give way"


def test_names_are_shown_as_they_are_and_never_read_as_markup(fleetcast: Command, sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions, "[red]acme"), label=":smile: [bold]x[/bold]")
    for words in (["ls"], ["show", job_id]):
        told = fleetcast("jobs", *words).stdout
        assert "[red]acme" in told
        assert ":smile: [bold]x[/bold]" in told


def test_nothing_found_is_said_and_is_no_fault(fleetcast: Command, sessions: Sessions) -> None:
    told = fleetcast("jobs", "ls")
    assert (told.exit_code, told.output) == (0, "No such jobs.\n")
    desk.tenant(sessions, "acme")
    told = fleetcast("jobs", "ls", "--tenant", "akme")
    assert told.exit_code == 1
    assert "No tenant 'akme'. Those there are: acme." in told.output


# Showing


def test_a_job_is_shown_with_every_try_and_why_it_failed(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme, owner="gpu/1")
    with sessions.begin() as session:
        ledger.retry_later(session, claim.job_id, claim.fence, BAD, 0.0)
    desk.wake(sessions)
    second = desk.held(sessions, claim.job_id, "gpu-b/2")
    with sessions.begin() as session:
        ledger.fail(session, claim.job_id, second.fence, LOST)
    told = fleetcast("jobs", "show", claim.job_id).stdout
    for part in ("train of acme: user-42 rhr", "failed, try 2 of 5", "gpu/1", "gpu-b/2", "retried", "insufficient_data", '"window": 30'):
        assert part in told
    assert LOST["detail"] in told
    found = json.loads(fleetcast("jobs", "show", claim.job_id, "--json").stdout)
    assert [(each["number"], each["worker"], each["outcome"], each["code"]) for each in found["attempts"]] == [
        (1, "gpu/1", "retried", "insufficient_data"),
        (2, "gpu-b/2", "failed", "worker_lost"),
    ]
    assert (found["tenant_name"], found["error"]["code"], found["spec"], found["lease_owner"]) == (
        "acme",
        "worker_lost",
        {"window": 30},
        None,
    )


def test_a_running_job_is_shown_with_its_lease_and_a_waiting_one_with_its_place(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    claim = desk.running(sessions, acme)
    told = fleetcast("jobs", "show", claim.job_id).stdout
    assert "held by    gpu/1 until " in told
    assert f"fence {claim.fence}" in told
    assert "under way" in told
    desk.queued(sessions, acme)
    with sessions.begin() as session:
        ledger.dispatched(session, [waiting := desk.queued(sessions, acme)])
    told = fleetcast("jobs", "show", waiting).stdout
    assert "1 before it" in told
    assert "bells      1 rung, the last " in told
    assert "No try was made yet." in told


def test_a_batch_is_shown_with_its_items_by_state(fleetcast: Command, sessions: Sessions) -> None:
    parent, children = desk.batch(sessions, desk.tenant(sessions), 3)
    desk.held(sessions, children[0])
    assert "items: 3 total, 2 queued, 1 running" in fleetcast("jobs", "show", parent).stdout
    assert json.loads(fleetcast("jobs", "show", parent, "--json").stdout)["progress"]["items"] == {"total": 3, "queued": 2, "running": 1}
    assert f"batch      {parent}" in fleetcast("jobs", "show", children[0]).stdout


def test_a_job_that_is_not_there_names_the_list(fleetcast: Command) -> None:
    told = fleetcast("jobs", "show", "job_none")
    assert told.exit_code == 1
    assert "No job 'job_none'. `fleetcast jobs ls` shows those there are" in told.output


# Cancelling


def test_each_cancelled_job_gets_its_own_words(fleetcast: Command, sessions: Sessions, runtime: Runtime) -> None:
    acme = desk.tenant(sessions)
    waiting, claim = desk.queued(sessions, acme), desk.running(sessions, desk.tenant(sessions, "other"))
    for job_id in (waiting, claim.job_id):
        status.fresh(runtime, desk.job(sessions, job_id).tenant_id, job_id)
    told = fleetcast("jobs", "cancel", waiting, claim.job_id, waiting)
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines() == [f"{waiting}  cancelled at once", f"{claim.job_id}  asked to stop"]
    assert status.read(runtime, acme, waiting)["state"] == "cancelled"
    assert status.read(runtime, claim.tenant_id, claim.job_id)["state"] == "cancelling", "pollers see it at once, not after 15 s"
    again = fleetcast("jobs", "cancel", waiting, claim.job_id)
    assert (again.exit_code, again.stdout.splitlines()) == (
        0,
        [f"{waiting}  was cancelled already", f"{claim.job_id}  was asked to stop already"],
    )


def test_what_cannot_be_cancelled_is_said_and_the_others_are(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    ended, waiting = failed(sessions, acme), desk.queued(sessions, acme)
    told = fleetcast("jobs", "cancel", ended, "job_none", waiting)
    assert told.exit_code == 1
    assert told.stderr.splitlines() == [
        f"{ended}  not done: had ended already: failed",
        "job_none  not done: No job 'job_none'. `fleetcast jobs ls` shows those there are; what ended long ago is purged.",
    ]
    assert told.stdout == f"{waiting}  cancelled at once\n"
    assert desk.job(sessions, waiting).state == "cancelled"
    assert fleetcast("jobs", "cancel").exit_code == 2


def test_a_batch_hands_its_cancel_on(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, children = desk.batch(sessions, acme, 3)
    desk.held(sessions, children[0])
    told = fleetcast("jobs", "cancel", parent)
    assert told.stdout == f"{parent}  asked to stop; items: 3 total, 2 cancelled, 1 running\n"
    assert desk.job(sessions, children[0]).cancel_requested


# Retrying


def test_a_failed_job_is_asked_for_again(fleetcast: Command, sessions: Sessions, runtime: Runtime) -> None:
    acme = desk.tenant(sessions)
    old = failed(sessions, acme)
    told = fleetcast("jobs", "retry", old)
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith(f"{old}  again as job_")
    new = desk.job(sessions, told.stdout.split()[-1])
    assert (new.state, new.retry_of, new.tenant_id, new.spec) == ("queued", old, acme, desk.job(sessions, old).spec)
    mirrored = runtime.board.read(acme, new.id)
    assert mirrored is not None
    assert mirrored["state"] == "queued"


def test_a_twin_under_way_is_named_and_none_is_made(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    [model] = desk.models(sessions, acme, 1)
    old = failed(sessions, acme, model_id=model, spec_hash="same")
    twin = desk.queued(sessions, acme, model_id=model, spec_hash="same")
    assert fleetcast("jobs", "retry", old).stdout == f"{old}  the same is under way already as {twin}\n"


def test_of_a_batch_the_items_that_failed_are_asked_for_again(fleetcast: Command, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    parent, children = desk.batch(sessions, acme, 2)
    for child, ok in zip(children, (True, False), strict=True):
        claim = desk.held(sessions, child)
        with sessions.begin() as session:
            if ok:
                ledger.succeed(session, child, claim.fence, {})
            else:
                ledger.fail(session, child, claim.fence, LOST)
    told = fleetcast("jobs", "retry", parent)
    assert desk.job(sessions, told.stdout.split()[-1]).children == 1


def test_what_cannot_be_retried_says_why(fleetcast: Command, sessions: Sessions) -> None:
    tight = desk.tenant(sessions, "tight", max_unfinished=1)
    lost = failed(sessions, tight)
    desk.queued(sessions, tight)
    waiting = desk.queued(sessions, desk.tenant(sessions))
    told = fleetcast("jobs", "retry", waiting, lost, "job_none")
    assert told.exit_code == 1
    assert told.stderr.splitlines() == [
        f"{waiting}  not done: Job {waiting} is queued; only a finished job can be tried again.",
        f"{lost}  not done: 1 of 1 unfinished jobs.",
        "job_none  not done: No job 'job_none'. `fleetcast jobs ls` shows those there are; what ended long ago is purged.",
    ]


def test_many_failed_jobs_are_retried_at_once_but_only_once(fleetcast: Command, sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    first, second = failed(sessions, acme), failed(sessions, other)
    failed(sessions, acme, BAD)
    parent, [item] = desk.batch(sessions, acme, 1)
    claim = desk.held(sessions, item)
    with sessions.begin() as session:
        ledger.fail(session, item, claim.fence, LOST)
    told = fleetcast("jobs", "retry", "--failed", "--code", "worker_lost", "--since", "1h", "--yes")
    assert told.exit_code == 0, told.output
    assert [line.split()[0] for line in told.stdout.splitlines()] == [first, second, item], "oldest first; the batch by its item"
    assert "     2  acme: train failed with worker_lost" in told.stderr
    assert "     1  other: train failed with worker_lost" in told.stderr
    again = fleetcast("jobs", "retry", "--failed", "--code", "worker_lost", "--yes")
    assert (again.exit_code, again.stdout) == (0, "No such failed jobs.\n")
    assert desk.job(sessions, parent).state == "failed"


def test_many_are_not_retried_without_a_yes(fleetcast: Command, sessions: Sessions) -> None:
    job_id = failed(sessions, desk.tenant(sessions))
    told = fleetcast("jobs", "retry", "--failed")
    assert told.exit_code == 1
    assert "Retry 1 job?" in told.stderr
    assert lines(fleetcast("jobs", "ls", "--json"))[0]["id"] == job_id, "no new job"


@pytest.mark.parametrize("narrow", [("--tenant", "other"), ("--kind", "predict"), ("--queue", "batch"), ("--entity", "x")])
def test_what_is_retried_can_be_narrowed(fleetcast: Command, sessions: Sessions, narrow: tuple[str, str]) -> None:
    desk.tenant(sessions, "other")
    failed(sessions, desk.tenant(sessions))
    assert fleetcast("jobs", "retry", "--failed", *narrow, "--yes").stdout == "No such failed jobs.\n"
    assert "again as" in fleetcast("jobs", "retry", "--failed", "--tenant", "acme", "--kind", "train", "--since", "1h", "--yes").stdout


@pytest.mark.parametrize("words", [[], ["job_x", "--failed"], ["job_x", "--since", "1h"], ["--code", "worker_lost"], ["--tenant", "acme"]])
def test_jobs_are_either_named_or_described(fleetcast: Command, words: list[str]) -> None:
    told = fleetcast("jobs", "retry", *words)
    assert told.exit_code == 2
    assert "Either name the jobs, or say --failed" in told.output


@pytest.mark.parametrize(
    "words", [["ls", "--since", "yesterday"], ["ls", "--code", "bad_luck"], ["ls", "--limit", "0"], ["ls", "--state", "done"]]
)
def test_a_filter_that_cannot_be_is_refused(fleetcast: Command, words: list[str]) -> None:
    assert fleetcast("jobs", *words).exit_code == 2


def test_without_redis_looking_works_and_changing_names_the_variable(fleetcast: Command, sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    assert ids(fleetcast("jobs", "ls", "--json", REDIS_URL="")) == [job_id]
    told = fleetcast("jobs", "cancel", job_id, REDIS_URL="")
    assert told.exit_code == 1
    assert "REDIS_URL='': name the server" in told.output
    assert desk.job(sessions, job_id).state == "queued"


def test_a_redis_that_is_away_hinders_nothing(fleetcast: Command, sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    told = fleetcast("jobs", "cancel", job_id, REDIS_URL="redis://127.0.0.1:1/0")
    assert told.stdout == f"{job_id}  cancelled at once\n"
    assert desk.job(sessions, job_id).state == "cancelled"
