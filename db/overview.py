"""The overview: a page of a tenant's entities with what is known of each, in one statement, and how much work is under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from db.session import ask

_PAGE = """
SELECT e.id, e.name, e.kind,
  (SELECT count(*) FROM channels c WHERE c.entity_id = e.id),
  (SELECT max(o.at) FROM channels c CROSS JOIN LATERAL (
     SELECT at FROM observations WHERE channel_id = c.id ORDER BY at DESC LIMIT 1) o WHERE c.entity_id = e.id),
  coalesce((
    SELECT jsonb_agg(jsonb_build_object(
      'name', m.name, 'kind', m.kind, 'version', v.major || '.' || v.minor || '.' || v.patch, 'verdict', d.verdict) ORDER BY m.id)
    FROM models m
    LEFT JOIN versions v ON v.model_id = m.id AND v.active
    LEFT JOIN drifts d ON d.model_id = m.id AND d.version_id = v.id
    WHERE m.entity_id = e.id), '[]')
FROM (
  SELECT id, name, kind FROM entities
  WHERE tenant_id = %(tenant)s AND id > %(after)s AND name ILIKE %(like)s ORDER BY id LIMIT %(limit)s) e
ORDER BY e.id
"""

_UNDER_WAY = """
SELECT queue, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running')
FROM jobs WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running') AND pending_children IS NULL GROUP BY queue
"""


@dataclass(frozen=True, slots=True)
class Glance:
    """An entity as a list shows it."""

    id: int
    name: str
    kind: str | None
    channels: int
    #: Of any channel.
    newest: datetime | None
    #: Name, kind, number of the version that serves, and its last verdict about drift, of each model.
    models: list[dict[str, Any]]


def entities(session: Session, tenant_id: str, *, containing: str = "", limit: int, after: int = 0) -> list[Glance]:
    """Oldest first, those whose name contains the letters, in any case. `after` is the id of the last one of the page before."""
    plain = containing.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    asked = {"tenant": tenant_id, "like": f"%{plain}%", "after": after, "limit": limit}
    return [Glance(*row) for row in ask(session, _PAGE, asked)]


def under_way(session: Session, tenant_id: str) -> Mapping[str, tuple[int, int]]:
    """How many jobs of the tenant are queued and running, by queue. Batches are their items."""
    return {queue: (queued, running) for queue, queued, running in ask(session, _UNDER_WAY, {"tenant": tenant_id})}
