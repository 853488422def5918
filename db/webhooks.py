"""Webhooks: addresses that a tenant wants to have told of what happens."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import audit
from db.audit import OPERATOR, By
from db.errors import Conflict, NotFound
from db.models import PENDING, Delivery, Tenant, Webhook

#: All that a webhook can be told of.
TYPES = ("job.succeeded", "job.failed", "job.cancelled", "model.activated", "model.rolled_back", "model.drifting")
#: How long the secret before a rotation goes on to sign beside the new one, so that a receiver can change it when it likes.
OVERLAP = timedelta(hours=24)


def create(session: Session, tenant_id: str, *, url: str, host: str, types: Sequence[str], most: int, by: By = OPERATOR) -> Webhook:
    """A new webhook, with a secret of its own. Conflict `too_many_webhooks` where the tenant has `most` of them."""
    # The tenant's row in line first, so that two requests at once do not both find the last place.
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    held = session.execute(select(func.count()).where(Webhook.tenant_id == tenant_id)).scalar_one()
    if held >= most:
        raise Conflict("too_many_webhooks", f"The tenant has {held} of {most} webhooks.")
    made = Webhook(tenant_id=tenant_id, url=url, host=host, types=list(dict.fromkeys(types)), secret=_new_secret())
    session.add(made)
    session.flush()
    audit.write(session, tenant_id, audit.WEBHOOK_CREATED, made.id, by, types=made.types)
    return made


def get(session: Session, tenant_id: str, webhook_id: str) -> Webhook:
    return _found(session.scalar(select(Webhook).where(Webhook.tenant_id == tenant_id, Webhook.id == webhook_id)), webhook_id)


def page(session: Session, tenant_id: str, *, limit: int, after: str | None = None) -> list[Webhook]:
    """Oldest first (ids sort by time). `after` is the id of the last webhook of the page before."""
    asked = select(Webhook).where(Webhook.tenant_id == tenant_id)
    if after is not None:
        asked = asked.where(Webhook.id > after)
    return list(session.scalars(asked.order_by(Webhook.id).limit(limit)))


def survey(session: Session, tenant_id: str | None) -> list[tuple[Webhook, str]]:
    """Every webhook, or those of one tenant, oldest first, each with the name of its tenant: for operators."""
    asked = select(Webhook, Tenant.name).join(Tenant, Tenant.id == Webhook.tenant_id).order_by(Webhook.id)
    if tenant_id is not None:
        asked = asked.where(Webhook.tenant_id == tenant_id)
    return [(webhook, name) for webhook, name in session.execute(asked)]


def delete(session: Session, tenant_id: str, webhook_id: str, *, by: By = OPERATOR) -> None:
    """It is told nothing more, and what it was told is forgotten."""
    session.delete(get(session, tenant_id, webhook_id))
    audit.write(session, tenant_id, audit.WEBHOOK_DELETED, webhook_id, by)


def rotate(session: Session, tenant_id: str, webhook_id: str, *, by: By = OPERATOR) -> Webhook:
    """A new secret. The one before signs beside it until OVERLAP is over; one still before that no more."""
    webhook = _held(session, tenant_id, webhook_id)
    webhook.former_secret, webhook.secret = webhook.secret, _new_secret()
    webhook.former_until = session.execute(select(func.clock_timestamp() + OVERLAP)).scalar_one()
    audit.write(session, tenant_id, audit.WEBHOOK_ROTATED, webhook_id, by)
    return webhook


def enable(session: Session, tenant_id: str, webhook_id: str, *, by: By = OPERATOR) -> Webhook:
    """Tell it again; what was on its way when it was disabled is due at once. What happened meanwhile it is not told."""
    webhook = _held(session, tenant_id, webhook_id)
    if webhook.disabled_at is not None:
        webhook.disabled_at = webhook.disabled_reason = None
        waiting = update(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.state == PENDING)
        session.execute(waiting.values(next_at=func.clock_timestamp()), execution_options={"synchronize_session": False})
        audit.write(session, tenant_id, audit.WEBHOOK_ENABLED, webhook_id, by)
    return webhook


def _held(session: Session, tenant_id: str, webhook_id: str) -> Webhook:
    asked = select(Webhook).where(Webhook.tenant_id == tenant_id, Webhook.id == webhook_id)
    return _found(session.scalar(asked.with_for_update(key_share=True), execution_options={"populate_existing": True}), webhook_id)


def _found(webhook: Webhook | None, webhook_id: str) -> Webhook:
    if webhook is None:
        raise NotFound("webhook", webhook_id)
    return webhook


def _new_secret() -> str:
    """As Standard Webhooks writes it: 256 bits that nobody guesses."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
