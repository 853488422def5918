"""Which models are expected to serve, by what schedules say, beside those that do: counted or listed, in one statement over all tenants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from db.models import Json
from db.selectors import means
from db.session import ask

#: How an expected model stands: a version serves, one serves that is older than its schedule lets it become, or none does.
PRESENT, OLD, MISSING = "present", "old", "missing"
STATES = (PRESENT, OLD, MISSING)

# What several schedules expect is one model, as young as the strictest of them wants it.
_STANDING = f"""
WITH promised AS (
  SELECT p.*, s.tenant_id, s.selector FROM jsonb_to_recordset(%(promises)s::jsonb)
    AS p (schedule_id text, kind text, name text, channel text, oldest_s double precision)
  JOIN schedules s ON s.id = p.schedule_id
), meant AS (
  SELECT p.tenant_id, e.id, e.name AS entity, p.kind, p.name, min(p.oldest_s) AS oldest_s, min(p.schedule_id) AS schedule_id
  FROM promised p JOIN entities e ON e.tenant_id = p.tenant_id AND CASE
    WHEN p.selector IS NULL THEN EXISTS (SELECT FROM schedule_entities n WHERE n.schedule_id = p.schedule_id AND n.entity_id = e.id)
    ELSE {means("p.selector")}
    END
  WHERE p.channel IS NULL OR EXISTS (SELECT FROM channels c WHERE c.entity_id = e.id AND c.name = p.channel)
  GROUP BY p.tenant_id, e.id, e.name, p.kind, p.name
), standing AS (
  SELECT x.*, m.id AS model_id, extract(epoch FROM clock_timestamp() - v.created_at)::double precision AS age_s, CASE
    WHEN v.id IS NULL THEN 'missing'
    WHEN v.created_at < clock_timestamp() - make_interval(secs => x.oldest_s) THEN 'old'
    ELSE 'present' END AS state
  FROM meant x
  LEFT JOIN models m ON m.tenant_id = x.tenant_id AND m.entity_id = x.id AND m.kind = x.kind AND m.name = x.name
  LEFT JOIN versions v ON v.model_id = m.id AND v.active
)
"""  # noqa: S608  # of our own words alone
_COUNT = f"{_STANDING} SELECT state, count(*) FROM standing GROUP BY state"  # noqa: S608
_LIST = f"""{_STANDING}
SELECT t.name, s.entity, s.kind, s.name, s.state, s.age_s, s.oldest_s, s.model_id, s.schedule_id
FROM standing s JOIN tenants t ON t.id = s.tenant_id
WHERE s.state = ANY(%(states)s) AND (%(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s)
ORDER BY s.state, t.name, s.entity, s.kind, s.name LIMIT %(limit)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Promise:
    """What a schedule lets expect of each entity that it means."""

    schedule_id: str
    #: Kind and name of the model.
    kind: str
    name: str
    #: A channel without which an entity is not meant; None: whatever it has.
    channel: str | None
    #: The age in seconds that the version that serves may reach; None: any.
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Expected:
    """One model that is expected, and how it stands."""

    tenant: str
    entity: str
    kind: str
    name: str
    state: str
    #: Of the version that serves; None where none does.
    age_s: float | None
    oldest_s: float | None
    #: None: nothing was ever trained.
    model_id: str | None
    #: One of the schedules that expect it.
    schedule_id: str


def count(session: Session, promises: Sequence[Promise]) -> Mapping[str, int]:
    """How many of the expected models stand how, by STATES."""
    return dict.fromkeys(STATES, 0) | dict(ask(session, _COUNT, {"promises": _written(promises)}))


def survey(
    session: Session, promises: Sequence[Promise], *, states: Sequence[str], tenant_id: str | None = None, limit: int
) -> list[Expected]:
    """Those that stand so, of one tenant or of all; the missing ones come before the old ones."""
    asked = {"promises": _written(promises), "states": list(states), "tenant": tenant_id, "limit": limit}
    return [Expected(*row) for row in ask(session, _LIST, asked)]


def _written(promises: Sequence[Promise]) -> str:
    told: list[Json] = [asdict(each) for each in promises]
    return json.dumps(told)
