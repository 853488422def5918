"""Deliveries: what happened, from the transaction that made it so until a webhook was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from sqlalchemy import CTE, ColumnElement, Table, Text, and_, func, insert, select, text, tuple_, update
from sqlalchemy.orm import Session

from db.errors import Conflict, NotFound
from db.models import DELIVERED, FAILED, PENDING, TERMINAL, Delivery, Json, Webhook
from db.session import ask, to_json

#: What asking for a test tells a webhook, whatever it is otherwise told of.
TEST = "webhook.test"

webhooks, deliveries = cast(Table, Webhook.__table__), cast(Table, Delivery.__table__)


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that is ours to try until `lease`."""

    id: str
    tenant_id: str
    webhook_id: str
    type: str
    data: Json
    created_at: datetime
    attempt: int
    lease: datetime
    url: str
    host: str
    secret: str
    #: The one before, for a while after a rotation.
    former_secret: str | None

    @property
    def secrets(self) -> list[str]:
        return [secret for secret in (self.secret, self.former_secret) if secret is not None]


@dataclass(frozen=True, slots=True)
class Room:
    """How many more may be under way: in all, and to one host or of one tenant, of which so many are already."""

    free: int
    per_host: int
    per_tenant: int
    hosts: Mapping[str, int]
    tenants: Mapping[str, int]


class Backlog(NamedTuple):
    """What waits to be told to webhooks that are not disabled."""

    pending: int
    #: Since the oldest of them happened, in seconds; 0 when none waits.
    oldest_s: float


# Whoever deletes a webhook meanwhile is waited for: to name one that is gone would undo the whole transaction, and a job's end with it.
# It only reads the few webhooks of one tenant, so a tenant without any pays for a look at an index.
_TELL = """
INSERT INTO deliveries (id, tenant_id, webhook_id, entity_id, type, data)
SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), models.tenant_id, webhooks.id, models.entity_id, %(type)s, %(data)s::jsonb
FROM models JOIN entities ON entities.id = models.entity_id JOIN webhooks ON webhooks.tenant_id = models.tenant_id
WHERE models.id = %(model)s AND webhooks.disabled_at IS NULL AND %(type)s = ANY(webhooks.types)
FOR KEY SHARE OF entities, webhooks RETURNING id
"""

# Each webhook's line is cut at what its host may be sent, so one index probe per webhook is all that a round costs.
_TAKE = text("""
WITH line AS (
  SELECT next.id, next.place, next.next_at, host, tenant_id FROM webhooks CROSS JOIN LATERAL (
    SELECT id, next_at, row_number() OVER (ORDER BY next_at, id) AS place FROM deliveries
    WHERE webhook_id = webhooks.id AND state = 'pending' AND next_at <= clock_timestamp() ORDER BY next_at, id LIMIT :per_host
  ) AS next WHERE disabled_at IS NULL
), turns AS (
  SELECT id, next_at,
    row_number() OVER (PARTITION BY host ORDER BY place, next_at, id) + coalesce((CAST(:hosts AS jsonb) ->> host)::int, 0) AS of_host,
    row_number() OVER (PARTITION BY tenant_id ORDER BY place, next_at, id)
      + coalesce((CAST(:tenants AS jsonb) ->> tenant_id)::int, 0) AS of_tenant
  FROM line
), chosen AS MATERIALIZED (
  SELECT id FROM deliveries JOIN turns USING (id) WHERE of_host <= :per_host AND of_tenant <= :per_tenant
    AND state = 'pending' AND deliveries.next_at <= clock_timestamp()
  ORDER BY of_tenant, turns.next_at, id LIMIT :free FOR NO KEY UPDATE OF deliveries SKIP LOCKED
)
UPDATE deliveries SET attempt = attempt + 1, tried_at = clock_timestamp(), next_at = clock_timestamp() + make_interval(secs => :lease_s)
FROM chosen, webhooks WHERE deliveries.id = chosen.id AND webhooks.id = deliveries.webhook_id
RETURNING deliveries.id, deliveries.tenant_id, webhook_id, type, data, deliveries.created_at, attempt, next_at, url, host, secret,
  CASE WHEN former_until > clock_timestamp() THEN former_secret END
""")

#: The two numbers of a Backlog.
BACKLOG = text("""
SELECT count(*), CAST(coalesce(extract(epoch FROM now() - min(deliveries.created_at)), 0) AS double precision)
FROM deliveries JOIN webhooks ON webhooks.id = webhook_id WHERE state = 'pending' AND disabled_at IS NULL
""")

# Those of a disabled webhook wait for nobody: they are forgotten, too.
_PURGE = text("""
WITH old AS MATERIALIZED (
  SELECT deliveries.id FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
  WHERE deliveries.created_at < now() - make_interval(days => :days) AND (state <> 'pending' OR disabled_at IS NOT NULL)
  ORDER BY deliveries.created_at LIMIT :limit FOR UPDATE OF deliveries SKIP LOCKED
)
DELETE FROM deliveries USING old WHERE deliveries.id = old.id RETURNING deliveries.id
""")


def of_ends(moved: CTE) -> CTE:
    """For the statement that ends jobs: a delivery to each webhook that wants to hear of an end among `moved`.

    Items of a batch are not told of, the batch is: ten thousand messages would say less than its one.
    """
    kind = func.concat("job.", moved.c.state)
    about = func.jsonb_build_object("job", moved.c.id, "kind", moved.c.kind, "state", moved.c.state)
    listening = and_(webhooks.c.tenant_id == moved.c.tenant_id, webhooks.c.disabled_at.is_(None), kind == func.any(webhooks.c.types))
    told = (
        select(_new_id(), moved.c.tenant_id, webhooks.c.id, moved.c.entity_id, kind, about)
        .join_from(moved, webhooks, listening)
        .where(moved.c.state.in_(TERMINAL), moved.c.parent_id.is_(None))
        .with_for_update(read=True, key_share=True, of=webhooks)
    )
    return insert(deliveries).from_select(["id", "tenant_id", "webhook_id", "entity_id", "type", "data"], told).cte("told")


def tell(session: Session, model_id: str, kind: str, data: Mapping[str, Any]) -> None:
    """Something happened to a model: tell the webhooks that want to hear of it, once this transaction commits.

    `kind` is one of `db.webhooks.TYPES`; `data` holds ids and numbers, and nothing that tells of an entity.
    """
    ask(session, _TELL, {"model": model_id, "type": kind, "data": to_json(dict(data))})


def try_out(session: Session, webhook: Webhook) -> Delivery:
    """A message that tells of nothing, to this one webhook. Conflict `webhook_disabled`."""
    _require_enabled(webhook)
    given = {"id": _new_id(), "tenant_id": webhook.tenant_id, "webhook_id": webhook.id, "type": TEST, "data": {"webhook": webhook.id}}
    return session.scalars(insert(Delivery).values(given).returning(Delivery)).one()


def take(session: Session, room: Room, lease_s: float) -> list[Due]:
    """Take up what is due, tenants in turns. A try counts as begun; what is not recorded by the end of the lease is due again."""
    if room.free <= 0:
        return []
    given = {"free": room.free, "per_host": room.per_host, "per_tenant": room.per_tenant, "lease_s": lease_s}
    shares = {"hosts": to_json(dict(room.hosts)), "tenants": to_json(dict(room.tenants))}
    return [Due(*row) for row in session.execute(_TAKE, given | shares)]


def delivered(session: Session, due: Due, status_code: int) -> bool:
    """The receiver took it. False: the lease was over, and somebody else tries."""
    return _record(session, due, state=DELIVERED, delivered_at=func.clock_timestamp(), status_code=status_code, error=None)


def again(session: Session, due: Due, delay_s: float, *, status_code: int | None, error: str) -> bool:
    """It was not taken: due again in `delay_s`."""
    return _record(session, due, next_at=func.clock_timestamp() + timedelta(seconds=delay_s), status_code=status_code, error=error)


def given_up(session: Session, due: Due, *, status_code: int | None, error: str, gone: bool) -> bool:
    """Its last try failed. The webhook is disabled where it is `gone`, or took nothing since this happened: it does not listen."""
    recorded = _record(session, due, state=FAILED, status_code=status_code, error=error)
    took = select(Delivery.id).where(Delivery.webhook_id == due.webhook_id, Delivery.delivered_at > due.created_at)
    if recorded and (gone or session.scalar(took.limit(1)) is None):
        deaf = update(Webhook).where(Webhook.id == due.webhook_id, Webhook.disabled_at.is_(None))
        session.execute(deaf.values(disabled_at=func.clock_timestamp(), disabled_reason=error))
    return recorded


def _record(session: Session, due: Due, **values: Any) -> bool:
    ours = (deliveries.c.id == due.id, deliveries.c.state == PENDING, deliveries.c.next_at == due.lease)
    return session.execute(update(deliveries).where(*ours).values(**values).returning(deliveries.c.id)).first() is not None


def page(
    session: Session, webhook: Webhook, *, state: str | None = None, limit: int, after: tuple[datetime, str] | None = None
) -> list[Delivery]:
    """Newest first. `after` is (created_at, id) of the last one of the page before."""
    asked = select(Delivery).where(Delivery.webhook_id == webhook.id)
    if state is not None:
        asked = asked.where(Delivery.state == state)
    if after is not None:
        asked = asked.where(tuple_(Delivery.created_at, Delivery.id) < after)
    return list(session.scalars(asked.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit)))


def replay(session: Session, webhook: Webhook, delivery_id: str) -> Delivery:
    """Send it again under the same id, with all its tries before it. Conflict `webhook_disabled`, or `delivery_pending`."""
    asked = select(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.id == delivery_id)
    found = session.scalar(asked.with_for_update(key_share=True))
    if found is None:
        raise NotFound("delivery", delivery_id)
    _require_enabled(webhook)
    if found.state == PENDING:
        raise Conflict("delivery_pending", f"Delivery {delivery_id} is on its way: {found.attempt} tries so far.")
    found.state, found.attempt, found.delivered_at = PENDING, 0, None
    found.next_at = session.execute(select(func.clock_timestamp())).scalar_one()
    session.flush()
    return found


def purge(session: Session, *, days: int, limit: int) -> int:
    """Forget what happened longer ago than that and is not on its way any more. How many."""
    return len(session.execute(_PURGE, {"days": days, "limit": limit}).all())


def _new_id() -> ColumnElement[str]:
    """128 random bits, made by Postgres in the very statement."""
    return func.concat("msg_", func.replace(func.gen_random_uuid().cast(Text), "-", ""))


def _require_enabled(webhook: Webhook) -> None:
    if webhook.disabled_at is not None:
        raise Conflict("webhook_disabled", f"Webhook {webhook.id} is disabled: {webhook.disabled_reason}")
