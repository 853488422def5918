"""Standing: an entity as its training begins, in one statement: what is held of each channel, and the models named after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.errors import NotFound
from db.observations import Coverage
from db.session import ask

# As in `observations`: days first, then sums of days.
_STANDING = """
SELECT e.id, e.kind, held.name, held.rows, held.days, held.first, held.last, m.id
FROM entities e
LEFT JOIN LATERAL (
  SELECT name, sum(rows) AS rows, count(*) AS days, min(first) AS first, max(last) AS last
  FROM (
    SELECT c.name, date_bin('1 day', o.at, '1970-01-01Z') AS day, count(*) AS rows, min(o.at) AS first, max(o.at) AS last
    FROM channels c JOIN observations o ON o.channel_id = c.id
    WHERE c.entity_id = e.id
    GROUP BY c.name, day) per_day
  GROUP BY name) held ON true
LEFT JOIN models m ON m.entity_id = e.id AND m.kind = 'forecast' AND m.name = held.name
WHERE e.tenant_id = %(tenant)s AND e.name = %(name)s
"""


@dataclass(frozen=True, slots=True)
class Standing:
    id: int
    name: str
    kind: str | None
    #: Of each channel that has a row.
    held: Mapping[str, Coverage]
    #: Ids of the models that forecast one of these channels under its own name.
    models: Mapping[str, str]


def look(session: Session, tenant_id: str, name: str) -> Standing:
    """How the entity stands. Raises NotFound."""
    rows = ask(session, _STANDING, {"tenant": tenant_id, "name": name})
    if not rows:
        raise NotFound("entity", name)
    held = {channel: Coverage(int(count), days, first, last) for _, _, channel, count, days, first, last, _ in rows if channel is not None}
    models = {channel: model_id for _, _, channel, *_, model_id in rows if model_id is not None}
    return Standing(rows[0][0], name, rows[0][1], held, models)
