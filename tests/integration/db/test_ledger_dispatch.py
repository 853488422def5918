"""Bells are rung in fair turns, within caps and windows, and again when they were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import psycopg
from sqlalchemy import make_url, text

from db import ledger
from db.ledger import Bell
from db.session import Sessions
from tests.support import ledger as desk
from tests.support.rows import at_once

REDISPATCH_S = 60.0


def due(sessions: Sessions, free: int = 100, queue: str = "train") -> list[Bell]:
    """Look, and leave everything as it is."""
    with sessions.begin() as session:
        return ledger.due(session, queue, free)


def lost(sessions: Sessions, lying: Collection[str] = (), most: int = 100, queue: str = "train") -> list[Bell]:
    """Look for bells to send again, and leave everything as it is."""
    with sessions.begin() as session:
        found = ledger.lost(session, queue, REDISPATCH_S, lying, most)
        assert not found or ledger.unanswered(session, queue, REDISPATCH_S)
        return found


def ring(sessions: Sessions, free: int = 100) -> list[str]:
    """Look, send, stamp."""
    with sessions.begin() as session:
        bells = [bell.job_id for bell in ledger.due(session, "train", free)]
        ledger.dispatched(session, bells)
        return bells


def tenants_of(sessions: Sessions, bells: list[str]) -> Counter[str]:
    return Counter(desk.job(sessions, job_id).tenant_id for job_id in bells)


def test_a_bell_names_its_job_and_its_ring(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    assert due(sessions) == [Bell(job_id, 1, "train", "train")]
    assert due(sessions, queue="interactive") == []
    ring(sessions)
    row = desk.job(sessions, job_id)
    assert (row.state, row.dispatch_no, row.rev) == ("queued", 1, 1)
    assert row.dispatched_at is not None
    assert due(sessions) == [], "a bell is not rung again while it may still be answered"


def test_turns_are_dealt_out_fairly_whatever_the_length_of_the_lines(sessions: Sessions) -> None:
    """200 old jobs, 5, and 2; each tenant may run 4; 12 places: 4, 4 and 2."""
    held = {"old": 200, "new": 5, "small": 2}
    owners = {name: desk.tenant(sessions, name, max_running=4) for name in held}
    for name, n in held.items():
        for _ in range(n):
            desk.queued(sessions, owners[name])
    bells = ring(sessions, free=12)
    assert tenants_of(sessions, bells) == {owners["old"]: 4, owners["new"]: 4, owners["small"]: 2}
    assert tenants_of(sessions, bells[:6]) == dict.fromkeys(owners.values(), 2), "in turns, not one line after the other"
    assert ring(sessions, free=2) == [], "bells that are out count against the cap"


def test_a_noisy_tenant_does_not_keep_ten_others_waiting(sessions: Sessions) -> None:
    noisy = desk.tenant(sessions, "noisy", max_running=64)
    for _ in range(100):
        desk.queued(sessions, noisy)
    quiet = [desk.tenant(sessions, f"quiet-{n}") for n in range(10)]
    for owner in quiet:
        desk.queued(sessions, owner)
    assert tenants_of(sessions, ring(sessions, free=20)) == {noisy: 10} | dict.fromkeys(quiet, 1)


def test_who_runs_much_gets_fewer_turns(sessions: Sessions) -> None:
    busy, idle = desk.tenant(sessions, "busy"), desk.tenant(sessions, "idle")
    for _ in range(3):
        desk.running(sessions, busy)
    desk.running(sessions, busy, queue="interactive")  # another queue is another matter
    for owner in (busy, idle):
        for _ in range(4):
            desk.queued(sessions, owner)
    assert tenants_of(sessions, ring(sessions, free=5)) == {idle: 4, busy: 1}


def test_a_bell_that_brings_many_along_counts_for_as_many(sessions: Sessions) -> None:
    """One tenant's batch of 300, of which 256 may run at once: four bells of 64. Whoever asks for little is not behind them."""
    large, small = desk.tenant(sessions, "large", max_running=256), desk.tenant(sessions, "small", max_running=256)
    predictions = {"kind": "predict", "queue": "batch", "shape_key": "predictions"}
    _, items = desk.batch(sessions, large, 300, **predictions)
    one = desk.queued(sessions, small, queue="batch", kind="predict")
    with sessions.begin() as session:
        bells = [bell.job_id for bell in ledger.due(session, "batch", 100, 64)]
        assert bells == [one, *items[:4]]
        ledger.dispatched(session, bells)
    with sessions.begin() as session:
        assert ledger.due(session, "batch", 100, 64) == [], "what was rung counts for those it will bring along"
        leader = ledger.claim(session, items[0], "w/1", desk.LEASE_S)
        assert leader is not None
        mates = ledger.join_cohort(session, leader, 63, "w/1", desk.LEASE_S)
        assert [mate.job_id for mate in mates] == items[4:67], "none that was rung: it leads a cohort of its own"
        session.execute(text("UPDATE jobs SET crashes = 1 WHERE id = :id"), {"id": items[1]})
    with sessions.begin() as session:
        assert len(ledger.due(session, "batch", 100, 64)) == 1, "one that crashed brings nobody along, so there is room for one more"


def test_parents_take_no_turn(sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_running=2)
    _, children = desk.batch(sessions, acme, 3)
    assert ring(sessions) == children[:2]


def test_within_a_tenant_urgent_goes_before_old(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    first, second = desk.queued(sessions, acme), desk.queued(sessions, acme)
    urgent, lax = desk.queued(sessions, acme, priority=-1), desk.queued(sessions, acme, priority=1)
    desk.pass_by(sessions, second, "available_at", 60)
    assert [bell.job_id for bell in due(sessions)] == [urgent, second, first, lax]
    assert [bell.job_id for bell in due(sessions, free=2)] == [urgent, second]
    assert due(sessions, free=0) == due(sessions, free=-3) == []


def test_what_cannot_be_claimed_is_not_rung(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    changes = (
        "available_at = clock_timestamp() + interval '1 minute'",
        "cancel_requested = true",
        "deadline_at = clock_timestamp() - interval '1 second'",
    )
    for change in changes:
        job_id = desk.queued(sessions, acme)
        with sessions.begin() as session:
            session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job_id})
    desk.running(sessions, acme)
    assert due(sessions) == []


def test_a_bell_that_was_never_answered_is_rung_again(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    ring(sessions)
    assert lost(sessions) == [], "it may still be answered"
    desk.pass_by(sessions, job_id, "dispatched_at", REDISPATCH_S + 1)
    assert [(bell.job_id, bell.dispatch_no) for bell in lost(sessions)] == [(job_id, 2)]
    assert lost(sessions, queue="batch") == []
    with sessions.begin() as session:
        ledger.dispatched(session, [job_id])
    assert desk.job(sessions, job_id).dispatch_no == 2
    assert lost(sessions) == []


def test_only_bells_that_no_longer_lie_on_the_broker_are_rung_again(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    waiting = [desk.queued(sessions, acme) for _ in range(4)]
    ring(sessions)
    for age, job_id in enumerate(waiting):
        desk.pass_by(sessions, job_id, "dispatched_at", REDISPATCH_S + 1 + age)
    assert [bell.job_id for bell in lost(sessions, most=2)] == [waiting[3], waiting[2]], "the oldest first"
    assert [bell.job_id for bell in lost(sessions, lying=waiting[1:])] == [waiting[0]]
    assert lost(sessions, lying=waiting) == [], "a slow worker's queue is not rung again"


def test_a_job_that_goes_back_to_the_queue_is_rung_anew(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    job_id = desk.queued(sessions, acme)
    ring(sessions)
    claim = desk.held(sessions, job_id)
    with sessions.begin() as session:
        ledger.release(session, job_id, claim.fence)
    assert [(bell.job_id, bell.dispatch_no) for bell in due(sessions)] == [(job_id, 2)]


def test_two_dispatchers_never_send_the_same_bell(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    waiting = {desk.queued(sessions, acme) for _ in range(6)}
    with sessions.begin() as one, sessions.begin() as two:
        first = [bell.job_id for bell in ledger.due(one, "train", 3)]
        second = [bell.job_id for bell in ledger.due(two, "train", 3)]
        ledger.dispatched(one, first)
        ledger.dispatched(two, second)
    assert (len(first), len(second)) == (3, 3)
    assert set(first) | set(second) == waiting


def test_many_dispatchers_ring_every_bell_once(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    _, waiting = desk.batch(sessions, acme, 120)

    def dispatch() -> list[str]:
        rung: list[str] = []
        while bells := ring(sessions, free=3):
            rung += bells
        return rung

    rung = [job_id for bells in at_once(*[dispatch] * 6) for job_id in bells]
    assert sorted(rung) == waiting


def test_a_dispatcher_that_dies_before_the_stamp_has_rung_for_nothing(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    assert [bell.job_id for bell in due(sessions)] == [job_id]
    assert ring(sessions) == [job_id], "so it is rung a second time, not lost"


def test_a_claim_that_overtakes_the_stamp_waits_for_it(sessions: Sessions) -> None:
    job_id = desk.queued(sessions, desk.tenant(sessions))
    claim = desk.behind(
        sessions,
        lambda session: ledger.dispatched(session, [bell.job_id for bell in ledger.due(session, "train", 1)]),
        lambda session: ledger.claim(session, job_id, "gpu/1", desk.LEASE_S),
    )
    assert claim is not None
    assert desk.job(sessions, job_id).dispatch_no == 1


def test_a_ring_wakes_who_listens(sessions: Sessions, migrated_url: str) -> None:
    plain = make_url(migrated_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as ear:
        ear.execute("LISTEN job_due")
        for _ in range(7):  # more often than it takes the driver to prepare the statement
            with sessions.begin() as session:
                ledger.ring(session)
        assert len([call.channel for call in ear.notifies(timeout=5, stop_after=7)]) == 7
