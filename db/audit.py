"""The audit: who did what a tenant must be able to trace, written in the transaction that did it. Rows are added, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import AUDIT_KEPT, AuditEntry, Tenant

KEY_CREATED, KEY_ROTATED, KEY_REVOKED = "key.created", "key.rotated", "key.revoked"
MODEL_ACTIVATED, MODEL_ROLLED_BACK, VERSION_DELETED = "model.activated", "model.rolled_back", "version.deleted"
ENTITY_ERASED = "entity.erased"
WEBHOOK_CREATED, WEBHOOK_DELETED = "webhook.created", "webhook.deleted"
WEBHOOK_ENABLED, WEBHOOK_ROTATED = "webhook.enabled", "webhook.rotated"
SCHEDULE_CREATED, SCHEDULE_DELETED = "schedule.created", "schedule.deleted"
SCHEDULE_PAUSED, SCHEDULE_RESUMED = "schedule.paused", "schedule.resumed"
#: All that is written down. A training that moves the active flag is not: it would bury the rest, and has the model's activation log.
ACTIONS = (
    *(KEY_CREATED, KEY_ROTATED, KEY_REVOKED),
    *(MODEL_ACTIVATED, MODEL_ROLLED_BACK, VERSION_DELETED),
    ENTITY_ERASED,
    *(WEBHOOK_CREATED, WEBHOOK_DELETED, WEBHOOK_ENABLED, WEBHOOK_ROTATED),
    *(SCHEDULE_CREATED, SCHEDULE_DELETED, SCHEDULE_PAUSED, SCHEDULE_RESUMED),
)

_PURGE = sa.text("""
    DELETE FROM audit WHERE id IN (
        SELECT id FROM audit WHERE at < clock_timestamp() - make_interval(days => :days) ORDER BY at LIMIT :limit)
    RETURNING id
""")


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and in which request."""

    #: The key by its public part, as `key:3c3fbe28727a`; or `operator`, who sits at the servers.
    actor: str
    request_id: str | None = None


OPERATOR = By("operator")


def write(session: Session, tenant_id: str, action: str, subject: str, by: By, **about: Any) -> None:
    """Write it down beside the change itself. `subject` is an id; `about` holds ids, numbers and scopes, never a name or a secret."""
    assert action in ACTIONS, action
    session.add(AuditEntry(tenant_id=tenant_id, action=action, subject=subject, actor=by.actor, request_id=by.request_id, about=about))
    session.flush()


def page(
    session: Session, tenant_id: str, *, action: str | None = None, actor: str | None = None, limit: int, before: int | None = None
) -> list[AuditEntry]:
    """Newest first. `before` is the id of the last one of the page before."""
    asked = sa.select(AuditEntry).where(AuditEntry.tenant_id == tenant_id, *_narrowed(action, actor))
    if before is not None:
        asked = asked.where(AuditEntry.id < before)
    return list(session.scalars(asked.order_by(AuditEntry.id.desc()).limit(limit)))


def survey(
    session: Session, tenant_id: str | None, *, action: str | None = None, since: timedelta | None = None, limit: int
) -> list[tuple[AuditEntry, str]]:
    """Those of one tenant or of all, newest first, each with the name of its tenant: for operators."""
    asked = sa.select(AuditEntry, Tenant.name).join(Tenant, Tenant.id == AuditEntry.tenant_id).where(*_narrowed(action, None))
    if tenant_id is not None:
        asked = asked.where(AuditEntry.tenant_id == tenant_id)
    if since is not None:
        asked = asked.where(AuditEntry.at > sa.func.clock_timestamp() - since)
    return [(entry, name) for entry, name in session.execute(asked.order_by(AuditEntry.id.desc()).limit(limit))]


def purge(session: Session, *, days: int, limit: int) -> int:
    """Forget what was done longer ago than that: the one deletion that the trigger lets through. How many."""
    session.execute(sa.select(sa.func.set_config(AUDIT_KEPT, str(days), True)))
    return len(session.execute(_PURGE, {"days": days, "limit": limit}).all())


def _narrowed(action: str | None, actor: str | None) -> list[sa.ColumnElement[bool]]:
    wanted = ((AuditEntry.action, action), (AuditEntry.actor, actor))
    return [column == value for column, value in wanted if value is not None]
