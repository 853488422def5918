"""The audit has what was done, in the transaction that did it, and lets go of nothing before its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import audit, entities, registry, tenants, webhooks
from db.audit import By
from db.errors import Conflict
from db.session import Sessions
from tests.support import rows

ME = By("key:abc", "req_1")
HOOK = {"url": "https://a.example/", "host": "a.example", "types": ["job.failed"], "most": 1}


def told(session: Session, tenant_id: str) -> list[tuple[str, str, str]]:
    """Oldest first: what, by whom, to what."""
    return [(entry.action, entry.actor, entry.subject) for entry in reversed(audit.page(session, tenant_id, limit=100))]


def test_keys(sessions: Sessions) -> None:
    with sessions.begin() as session:
        acme = rows.tenant(session).id
        old, whole = tenants.issue_key(session, acme, "phone", ["read"], by=ME)
        rotated = tenants.rotate_key(session, acme, old.id, timedelta(hours=1))
        for _ in range(2):  # ended again, nothing was done
            tenants.revoke_key(session, acme, rotated.new.id)
        assert told(session, acme) == [
            ("key.created", "key:abc", old.id),
            ("key.rotated", "operator", old.id),
            ("key.revoked", "operator", rotated.new.id),
        ]
        [_, rotation, creation] = audit.page(session, acme, limit=3)
        assert creation.about == {"scopes": ["read"], "expires_at": None}
        assert rotation.about["new_key"] == rotated.new.id
        held = str(session.execute(text("SELECT string_agg(audit::text, ' ') FROM audit")).scalar_one())
        assert all(key.rsplit("_", 1)[1] not in held for key in (whole, rotated.whole))


def test_versions_moved_by_hand_and_the_erasure_that_takes_their_own_log(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session, entity_name="alice")
        for _ in range(3):
            rows.publish(session, model)
        assert told(session, model.tenant_id) == [], "what trainings do stands in the model's own log"
        registry.activate(session, model.tenant_id, model.id, "1.0.1", reason="alice asked", by=ME)
        registry.activate(session, model.tenant_id, model.id, "1.0.1", reason="it is already", by=ME)
        registry.rollback(session, model.tenant_id, model.id, reason="alice again", by=ME)
        for _ in range(2):
            registry.delete_version(session, model.tenant_id, model.id, "1.0.0", by=ME)
        receipt = entities.delete(session, model.tenant_id, "alice", by=ME).receipt
        done = [
            ("model.activated", model.id),
            ("model.rolled_back", model.id),
            ("version.deleted", model.id),
            ("entity.erased", receipt.id),
        ]
        assert told(session, model.tenant_id) == [(action, "key:abc", subject) for action, subject in done]
        last = audit.page(session, model.tenant_id, action="model.rolled_back", limit=1)[0]
        assert (last.about, last.request_id) == ({"version": "1.0.2", "former": "1.0.1"}, "req_1")
        assert "alice" not in str(session.execute(text("SELECT string_agg(audit::text, ' ') FROM audit")).scalar_one())


def test_webhooks(sessions: Sessions) -> None:
    with sessions.begin() as session:
        acme = rows.tenant(session).id
        hook = webhooks.create(session, acme, by=ME, **HOOK)  # type: ignore[arg-type]
        webhooks.enable(session, acme, hook.id, by=ME)  # it was not disabled
        webhooks.rotate(session, acme, hook.id, by=ME)
        secret = hook.secret
        webhooks.delete(session, acme, hook.id, by=ME)
        assert [action for action, *_ in told(session, acme)] == ["webhook.created", "webhook.rotated", "webhook.deleted"]
        held = str(session.execute(text("SELECT string_agg(audit::text, ' ') FROM audit")).scalar_one())
        assert secret not in held
        assert "a.example" not in held


def test_what_did_not_happen_is_not_there(sessions: Sessions) -> None:
    with sessions.begin() as session:
        acme = rows.tenant(session).id
        webhooks.create(session, acme, **HOOK)  # type: ignore[arg-type]
    with sessions() as session:
        webhooks.rotate(session, acme, webhooks.page(session, acme, limit=1)[0].id)
        session.rollback()
    with sessions() as session, pytest.raises(Conflict):
        webhooks.create(session, acme, **HOOK)  # type: ignore[arg-type]
    with sessions() as session:
        assert [action for action, *_ in told(session, acme)] == ["webhook.created"]


SPOIL: dict[str, Callable[[Session], object]] = {
    "changed": lambda session: session.execute(text("UPDATE audit SET actor = 'nobody'")),
    "deleted": lambda session: session.execute(text("DELETE FROM audit")),
    "deleted before its time": lambda session: session.execute(
        text("SELECT set_config('fleetcast.audit_kept_days', '30', true); DELETE FROM audit")
    ),
}


@pytest.mark.parametrize("how", SPOIL)
def test_an_entry_stands(sessions: Sessions, how: str) -> None:
    with sessions.begin() as session:
        acme = rows.tenant(session).id
        tenants.issue_key(session, acme, "phone")
    with sessions() as session, pytest.raises(IntegrityError, match="of the audit stands"):
        SPOIL[how](session)
    with sessions() as session:
        assert len(told(session, acme)) == 1


def test_it_goes_when_its_time_has_come_or_with_its_tenant(sessions: Sessions) -> None:
    with sessions.begin() as session:
        acme, other = rows.tenant(session).id, rows.tenant(session, "other").id
        for owner in (acme, acme, other):
            tenants.issue_key(session, owner, "phone")
        first = audit.page(session, acme, limit=2)[-1].id
        # As nobody but the owner of the table can.
        session.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_stands"))
        session.execute(text("UPDATE audit SET at = at - interval '800 days' WHERE id = :id"), {"id": first})
        session.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_stands"))
    with sessions.begin() as session:
        assert audit.purge(session, days=801, limit=100) == 0
        assert audit.purge(session, days=730, limit=100) == 1
        assert len(told(session, acme)) == 1
    with sessions.begin() as session:
        session.execute(text("DELETE FROM tenants WHERE id = :id"), {"id": acme})
        assert (told(session, acme), len(told(session, other))) == ([], 1)


def test_pages_and_what_operators_see(sessions: Sessions) -> None:
    with sessions.begin() as session:
        acme, other = rows.tenant(session).id, rows.tenant(session, "other").id
        keys = [tenants.issue_key(session, acme, "phone", by=by)[0].id for by in (ME, audit.OPERATOR, ME)]
        tenants.issue_key(session, other, "phone")
        first = audit.page(session, acme, limit=2)
        assert [entry.subject for entry in first] == keys[:0:-1]
        assert [entry.subject for entry in audit.page(session, acme, limit=2, before=first[-1].id)] == keys[:1]
        assert [entry.subject for entry in audit.page(session, acme, actor="operator", limit=9)] == keys[1:2]
        assert [name for _, name in audit.survey(session, None, since=timedelta(hours=1), limit=9)] == ["other", *["acme"] * 3]
        assert audit.survey(session, other, action="key.revoked", limit=9) == []
