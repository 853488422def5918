"""Series as they are drawn: a channel thinned out to what a screen can show, and what had been forecast for each moment of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from db.session import ask

#: Steps of past forecasts that are looked at: of a long horizon fewer forecasts are, though never fewer than FEWEST.
MOST_STEPS, FEWEST = 5_000, 20
#: Rows of which a picture shows how they come and go.
SOME = 150

_BOUNDS = """
SELECT c.id, c.unit,
  (SELECT at FROM observations WHERE channel_id = c.id ORDER BY at LIMIT 1),
  (SELECT at FROM observations WHERE channel_id = c.id ORDER BY at DESC LIMIT 1),
  (SELECT at FROM observations WHERE channel_id = c.id ORDER BY at DESC OFFSET %(some)s LIMIT 1)
FROM channels c WHERE c.entity_id = %(entity)s AND c.name = %(channel)s
"""

_ROWS = """
SELECT extract(epoch FROM at)::double precision, value, value, value, 1 FROM observations
WHERE channel_id = %(channel)s AND at >= %(since)s AND at <= %(until)s ORDER BY at LIMIT %(most)s
"""

# The mean stands at the middle of its bucket, where the rows are whose mean it is.
_BUCKETS = """
SELECT extract(epoch FROM bucket)::double precision + %(seconds)s / 2, mean, low, high, rows
FROM (
  SELECT date_bin(make_interval(secs => %(seconds)s), at, %(since)s) AS bucket,
    avg(value) AS mean, min(value) AS low, max(value) AS high, count(*) AS rows
  FROM observations WHERE channel_id = %(channel)s AND at >= %(since)s AND at <= %(until)s GROUP BY bucket) thinned
ORDER BY bucket
"""

# For each moment the last forecast made before it. What-ifs and forecasts with a future of their own were never stored.
_PAST = f"""
SELECT DISTINCT ON (step.at) extract(epoch FROM step.at)::double precision, step.value, step.lower, step.upper
FROM (
  SELECT data_until, made_at, body FROM forecasts
  WHERE tenant_id = %(tenant)s AND entity_id = %(entity)s AND target = %(target)s AND data_until >= %(since)s AND data_until < %(until)s
  ORDER BY made_at DESC LIMIT greatest({FEWEST}, {MOST_STEPS} / coalesce((
    SELECT horizon FROM forecasts WHERE entity_id = %(entity)s AND target = %(target)s ORDER BY made_at DESC LIMIT 1), 1))) made
CROSS JOIN LATERAL jsonb_to_recordset(made.body->'points')
  AS step (at timestamptz, value double precision, lower double precision, upper double precision)
WHERE step.at <= %(until)s
ORDER BY step.at, made.data_until DESC, made.made_at DESC
"""  # noqa: S608  # numbers of ours


class Bounds(NamedTuple):
    """A channel, and its first and last moment; None where it has no row."""

    channel_id: int
    unit: str | None
    first: datetime | None
    last: datetime | None
    #: So many rows before the last (SOME); None where there are fewer.
    some: datetime | None


@dataclass(frozen=True, slots=True)
class Thinned:
    """Points in the order of time, each (seconds since 1970, mean, least, greatest)."""

    points: Sequence[tuple[float, float, float, float]]
    #: Observations that they stand for.
    rows: int
    #: Length of a bucket in seconds; None where each point is one observation.
    bucket_s: float | None


def bounds(session: Session, entity_id: int, channel: str) -> Bounds | None:
    """None where the entity has no such channel."""
    found = ask(session, _BOUNDS, {"entity": entity_id, "channel": channel, "some": SOME})
    return Bounds(*found[0]) if found else None


def thinned(session: Session, channel_id: int, since: datetime, until: datetime, most: int) -> Thinned:
    """The rows from `since` to `until` if there are at most so many, else about as many buckets of equal length.

    Least and greatest go with each mean, so that thinning hides no peak.
    """
    asked = {"channel": channel_id, "since": since, "until": until}
    rows = ask(session, _ROWS, asked | {"most": most + 1})
    bucket_s = None
    if len(rows) > most:
        bucket_s = max(1.0, (until - since) / timedelta(seconds=1) / most)
        rows = ask(session, _BUCKETS, asked | {"seconds": bucket_s})
    return Thinned([(at, mean, low, high) for at, mean, low, high, _ in rows], sum(row[4] for row in rows), bucket_s)


def forecast_before(
    session: Session, tenant_id: str, entity_id: int, target: str, since: datetime, until: datetime
) -> list[tuple[float, float, float | None, float | None]]:
    """What had been forecast for the moments from `since` to `until`: (seconds since 1970, value, lower, upper), in the order of time.

    Of several forecasts of a moment the one from the latest data; of very many forecasts, the newest.
    """
    asked = {"tenant": tenant_id, "entity": entity_id, "target": target, "since": since, "until": until}
    return [(at, value, lower, upper) for at, value, lower, upper in ask(session, _PAST, asked)]
