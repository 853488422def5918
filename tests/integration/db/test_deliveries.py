"""Every end of a job, and every move of an active flag, is told in the transaction that makes it: once, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from db import deliveries, entities, ledger, registry, webhooks
from db.audit import By
from db.errors import Conflict, NotFound
from db.models import Delivery, Webhook
from db.session import Sessions
from tests.support import ledger as desk
from tests.support import rows

Told = tuple[str, str]


def listen(sessions: Sessions, tenant_id: str, *types: str, host: str = "backend.example") -> Webhook:
    with sessions.begin() as session:
        made = webhooks.create(session, tenant_id, url=f"https://{host}/", host=host, types=types or webhooks.TYPES, most=100)
        session.refresh(made)
        return made


def told(sessions: Sessions, webhook: Webhook) -> list[Told]:
    """(type, id of what it is about), in order."""
    with sessions() as session:
        found = session.scalars(select(Delivery).where(Delivery.webhook_id == webhook.id).order_by(Delivery.created_at, Delivery.id))
        return [(row.type, row.data.get("job") or row.data["model"]) for row in found]


def act(sessions: Sessions, action: Callable[[Session], Any]) -> None:
    with sessions.begin() as session:
        action(session)


def _claimed(sessions: Sessions, tenant_id: str, **fields: Any) -> ledger.Claim:
    return desk.running(sessions, tenant_id, **fields)


def succeeds(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id)
    act(sessions, lambda s: ledger.succeed(s, claim.job_id, claim.fence, {}))
    return claim.job_id


def fails(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id)
    act(sessions, lambda s: ledger.fail(s, claim.job_id, claim.fence, desk.BAD))
    return claim.job_id


def fails_at_its_last_try(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id, max_attempts=1)
    act(sessions, lambda s: ledger.retry_later(s, claim.job_id, claim.fence, desk.BAD, 1.0))
    return claim.job_id


def cancelled_while_it_waits(sessions: Sessions, tenant_id: str) -> str:
    job = desk.queued(sessions, tenant_id)
    act(sessions, lambda s: ledger.cancel(s, tenant_id, job))
    return job


def cancelled_while_it_runs(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id)
    act(sessions, lambda s: ledger.cancel(s, tenant_id, claim.job_id))
    act(sessions, lambda s: ledger.cancelled(s, claim.job_id, claim.fence))
    return claim.job_id


def cancelled_and_forsaken(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id)
    act(sessions, lambda s: ledger.cancel(s, tenant_id, claim.job_id))
    desk.lapse(sessions, claim.job_id)
    act(sessions, ledger.finish_cancels)
    return claim.job_id


def expires(sessions: Sessions, tenant_id: str) -> str:
    job = desk.queued(sessions, tenant_id)
    desk.pass_by(sessions, job, "deadline_at", 1)
    act(sessions, lambda s: ledger.expire(s, error=desk.LATE))
    return job


def reaped(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id, max_attempts=1)
    desk.lapse(sessions, claim.job_id)
    act(sessions, lambda s: ledger.reap(s, lease_s=desk.NO_PAUSE_S, error=desk.LOST))
    return claim.job_id


def crashes(sessions: Sessions, tenant_id: str) -> str:
    claim = _claimed(sessions, tenant_id)
    act(sessions, lambda s: ledger.crashed(s, "gpu/1", max_crashes=1, error=desk.LOST))
    return claim.job_id


def its_items_succeed(sessions: Sessions, tenant_id: str) -> str:
    parent, items = desk.batch(sessions, tenant_id, 2)
    for item in items:
        claim = desk.held(sessions, item)
        act(sessions, lambda s, held=claim: ledger.succeed(s, held.job_id, held.fence, {}))
    return parent


def its_items_are_cancelled(sessions: Sessions, tenant_id: str) -> str:
    parent, _ = desk.batch(sessions, tenant_id, 3)
    act(sessions, lambda s: ledger.cancel(s, tenant_id, parent))
    return parent


ENDS = {
    succeeds: "succeeded",
    fails: "failed",
    fails_at_its_last_try: "failed",
    cancelled_while_it_waits: "cancelled",
    cancelled_while_it_runs: "cancelled",
    cancelled_and_forsaken: "cancelled",
    expires: "failed",
    reaped: "failed",
    crashes: "failed",
    its_items_succeed: "succeeded",
    its_items_are_cancelled: "cancelled",
}


def test_every_end_is_told_once_and_a_batch_as_one(sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    hears, foreign = listen(sessions, acme), listen(sessions, other)
    for end, state in ENDS.items():
        job = end(sessions, acme)
        assert told(sessions, hears)[-1] == (f"job.{state}", job), end.__name__
    assert len(told(sessions, hears)) == len(ENDS)
    assert told(sessions, foreign) == []


def test_what_goes_back_to_the_queue_is_no_end(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    hears = listen(sessions, acme)
    for let_go in (
        lambda s, c: ledger.retry_later(s, c.job_id, c.fence, desk.BAD, 1.0),
        lambda s, c: ledger.release(s, c.job_id, c.fence),
        lambda s, _: ledger.crashed(s, "gpu/1", max_crashes=3, error=desk.LOST),
    ):
        claim = desk.running(sessions, acme)
        act(sessions, lambda s, held=claim, go=let_go: go(s, held))
    assert told(sessions, hears) == []


def test_what_is_undone_was_never_told(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    hears, claim = listen(sessions, acme), desk.running(sessions, acme)
    with sessions() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {})
        session.rollback()
    assert told(sessions, hears) == []


def test_each_hears_what_it_asked_for(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    failures, all_, deaf = listen(sessions, acme, "job.failed"), listen(sessions, acme), listen(sessions, acme)
    act(sessions, lambda s: s.execute(update(Webhook).where(Webhook.id == deaf.id).values(disabled_at=func.now())))
    good, bad = succeeds(sessions, acme), fails(sessions, acme)
    assert told(sessions, failures) == [("job.failed", bad)]
    assert told(sessions, all_) == [("job.succeeded", good), ("job.failed", bad)]
    assert told(sessions, deaf) == []


def test_every_move_of_the_active_flag_is_told(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        acme = model.tenant_id
    hears = listen(sessions, acme)
    with sessions.begin() as session:
        rows.publish(session, model)
        rows.publish(session, model, spec_hash="b")
        rows.publish(session, model, activation="never", spec_hash="c")
        registry.activate(session, acme, model.id, "1.2.0", reason=None, by=By("me"))
        registry.activate(session, acme, model.id, "1.2.0", reason="it is already", by=By("me"))
        registry.rollback(session, acme, model.id, reason=None, by=By("me"))
        deliveries.tell(session, model.id, "model.drifting", {"model": model.id, "version": "1.1.0"})
    with sessions() as session:
        found = session.scalars(select(Delivery).where(Delivery.webhook_id == hears.id).order_by(Delivery.created_at, Delivery.id))
        assert [(row.type, row.data.get("former"), row.data["version"]) for row in found] == [
            ("model.activated", None, "1.0.0"),
            ("model.activated", "1.0.0", "1.1.0"),
            ("model.activated", "1.1.0", "1.2.0"),
            ("model.rolled_back", "1.2.0", "1.1.0"),
            ("model.drifting", None, "1.1.0"),
        ]


def test_a_webhook_deleted_at_the_same_moment_costs_no_job_its_end(sessions: Sessions) -> None:
    """Its row is gone by the time the end would name it: nobody is told, and the job has ended."""
    acme = desk.tenant(sessions)
    hears, claim = listen(sessions, acme), desk.running(sessions, acme)
    ended = desk.behind(
        sessions,
        lambda s: webhooks.delete(s, acme, hears.id),
        lambda s: ledger.succeed(s, claim.job_id, claim.fence, {}),
    )
    assert [job.state for job in ended] == ["succeeded"]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_an_entity_leaves_with_what_was_told_of_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session, entity_name="alice")
        acme, alice = model.tenant_id, model.entity_id
        rows.model(session, tenant_name="other", entity_name="bob")
    hears = listen(sessions, acme)
    with sessions.begin() as session:
        rows.publish(session, model)
    waiting = desk.queued(sessions, acme, entity_id=alice)
    kept = fails(sessions, acme)
    act(sessions, lambda s: entities.delete(s, acme, "alice"))
    assert desk.job(sessions, waiting).state == "cancelled"
    assert told(sessions, hears) == [("job.failed", kept)]


def test_a_tenant_has_so_many_and_no_more(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        for _ in range(2):
            webhooks.create(session, acme, url="https://a.example/", host="a.example", types=["job.failed"], most=2)
        with pytest.raises(Conflict) as refused:
            webhooks.create(session, acme, url="https://a.example/", host="a.example", types=["job.failed"], most=2)
    assert refused.value.code == "too_many_webhooks"


def test_a_rotation_lets_both_secrets_sign_for_a_day(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    hears = listen(sessions, acme)
    room = deliveries.Room(free=9, per_host=9, per_tenant=9, hosts={}, tenants={})

    def signed_by() -> list[str]:
        with sessions.begin() as session:
            deliveries.try_out(session, hears)
        with sessions.begin() as session:
            [due] = deliveries.take(session, room, 60)
            return due.secrets

    assert signed_by() == [hears.secret]
    with sessions.begin() as session:
        fresh = webhooks.rotate(session, acme, hears.id).secret
    assert fresh != hears.secret
    assert signed_by() == [fresh, hears.secret]
    act(sessions, lambda s: s.execute(update(Webhook).values(former_until=func.clock_timestamp() - timedelta(seconds=1))))
    assert signed_by() == [fresh]


def test_a_delivery_of_another_webhook_does_not_exist(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    one, other = listen(sessions, acme), listen(sessions, acme)
    with sessions.begin() as session:
        sent = deliveries.try_out(session, one).id
        with pytest.raises(NotFound):
            deliveries.replay(session, other, sent)


def test_old_ones_are_forgotten_unless_they_are_on_their_way(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    hears, deaf = listen(sessions, acme), listen(sessions, acme)
    with sessions.begin() as session:
        waiting, done = deliveries.try_out(session, hears).id, deliveries.try_out(session, hears).id
        unheard = deliveries.try_out(session, deaf).id
        session.execute(update(Delivery).where(Delivery.id == done).values(state="delivered"))
        session.execute(update(Webhook).where(Webhook.id == deaf.id).values(disabled_at=func.now()))
        session.execute(text("UPDATE deliveries SET created_at = now() - interval '40 days'"))
        young = deliveries.try_out(session, hears).id
        assert deliveries.purge(session, days=50, limit=10) == 0
        assert deliveries.purge(session, days=30, limit=10) == 2
        assert {*session.scalars(select(Delivery.id))} == {waiting, young}
        assert unheard not in {waiting, young}
