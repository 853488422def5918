"""The newest versions of many models, and how far the data have gone on since: of thousands at once, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.session import ask

# Of the newest version, active or not: a training whose version did not take over was a training all the same, and would come to the same.
# Rows are counted up to as many as make a difference.
_NEWEST = """
SELECT g.place, m.id, coalesce(v.serves, false), extract(epoch FROM clock_timestamp() - v.created_at)::double precision, n.rows,
  EXISTS (SELECT FROM jobs j WHERE j.model_id = m.id AND j.kind = %(job)s AND j.state IN ('queued', 'running'))
FROM unnest(%(entities)s::bigint[], %(names)s::text[], %(channels)s::text[]) WITH ORDINALITY AS g (entity_id, name, channel, place)
LEFT JOIN models m ON m.tenant_id = %(tenant)s AND m.entity_id = g.entity_id AND m.kind = 'forecast' AND m.name = g.name
LEFT JOIN LATERAL (
  SELECT bool_or(active) OVER () AS serves, created_at, data_until FROM versions WHERE model_id = m.id
  ORDER BY major DESC, minor DESC, patch DESC LIMIT 1
) v ON true
LEFT JOIN LATERAL (
  SELECT count(*) AS rows FROM (
    SELECT FROM observations o JOIN channels c ON c.id = o.channel_id
    WHERE c.entity_id = g.entity_id AND c.name = g.channel AND o.at > v.data_until LIMIT %(most)s
  ) AS newer
) n ON %(most)s > 0
ORDER BY g.place
"""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The model that a training would add a version to, and the channel that it forecasts."""

    entity_id: int
    name: str
    channel: str


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest version of one model: its age in seconds, and the rows that came after its data. All None where nothing was trained."""

    model_id: str | None
    #: A version of the model serves, this one or an older one.
    serves: bool
    age_s: float | None
    new_rows: int | None
    #: A training of it waits or runs.
    under_way: bool


def newest(session: Session, tenant_id: str, lineages: Sequence[Lineage], job: str, most_rows: int = 0) -> list[Newest]:
    """In the order of the lineages. `job` is the kind of training; rows are counted up to `most_rows`."""
    columns = {"entities": [each.entity_id for each in lineages], "names": [each.name for each in lineages]}
    given = {"tenant": tenant_id, "job": job, "most": most_rows, **columns, "channels": [each.channel for each in lineages]}
    return [Newest(*told) for _, *told in ask(session, _NEWEST, given)]
