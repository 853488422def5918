"""What came after: stored forecasts beside the observations of the moments they spoke of, and the newest rows counted in bins.

Read from `forecasts` and `observations` each time, within bounds: docs/decisions/0035.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from db.session import ask

#: Origins of one version that are looked at, the latest ones.
MOST_ORIGINS = 500
#: Steps of them: of a long horizon fewer origins are looked at, though never fewer than FEWEST_ORIGINS.
MOST_STEPS, FEWEST_ORIGINS = 10_000, 60
#: Above this magnitude a value is a fault and no measurement, as for whoever learns from it.
_IMPLAUSIBLE = 1e30

# The values of a channel that count: those that a version of this spec would have learned from.
_COUNTS = f"""
abs(o.value) <= {_IMPLAUSIBLE}
    AND (NOT j.positive OR o.channel_id <> j.channel_id OR o.value > 0)
    AND (j.available_id IS NULL OR o.channel_id <> j.channel_id OR coalesce((
      SELECT a.value FROM observations a
      WHERE a.channel_id = j.available_id AND a.at BETWEEN o.at - j.step / 2 AND o.at + j.step / 2
      ORDER BY abs(extract(epoch FROM a.at - o.at)) LIMIT 1), 1) <> 0)
"""  # noqa: S608  # no part of it comes from outside

# A forecast of a version made by a release that kept no reference tells its step by its first point, and has no season.
_VERSIONS = """
WITH j AS MATERIALIZED (
  SELECT v.id AS version_id, v.data_until, v.reference, m.entity_id, c.id AS channel_id, a.id AS available_id,
    coalesce((v.spec->>'positive')::boolean, false) AS positive,
    make_interval(secs => coalesce((v.reference->>'step_s')::double precision, 0)) AS step,
    (v.reference->>'season_steps')::integer AS season, (v.spec->>'horizon')::integer AS horizon, newest.at AS newest
  FROM versions v JOIN models m ON m.id = v.model_id
  JOIN channels c ON c.entity_id = m.entity_id AND c.name = v.target
  LEFT JOIN channels a ON a.entity_id = m.entity_id AND a.name = v.spec->>'available'
  CROSS JOIN LATERAL (SELECT at FROM observations WHERE channel_id = c.id ORDER BY at DESC LIMIT 1) newest
  WHERE v.tenant_id = %(tenant)s AND v.id = ANY(%(versions)s::text[]))
"""

# Of several forecasts of one version from one origin the first counts. Each step belongs to the row of the grid it speaks of: half a step
# to either side, the last of several rows, as `ml.series` lays them.
_MET = f"""{_VERSIONS},
made AS MATERIALIZED (
  SELECT j.version_id, f.data_until AS origin, f.level, f.points, (f.points->0->>'at')::timestamptz - f.data_until AS grid
  FROM j CROSS JOIN LATERAL (
    SELECT DISTINCT ON (data_until) data_until, level, body->'points' AS points FROM forecasts
    WHERE version_id = j.version_id AND data_until < j.newest AND data_until >= j.newest - make_interval(days => %(days)s)
    ORDER BY data_until DESC, id LIMIT least(%(most)s, greatest({FEWEST_ORIGINS}, {MOST_STEPS} / j.horizon))) f
  WHERE jsonb_array_length(f.points) > 0),
steps AS MATERIALIZED (
  SELECT m.version_id, m.origin, m.level, m.grid, p.step, (p.point->>'at')::timestamptz AS at,
    (p.point->>'value')::double precision AS value,
    (p.point->>'lower')::double precision AS lower, (p.point->>'upper')::double precision AS upper
  FROM made m CROSS JOIN LATERAL jsonb_array_elements(m.points) WITH ORDINALITY AS p(point, step)),
met AS (
  SELECT s.*, truth.value AS truth, last.value AS last, coalesce(before.value, last.value) AS season,
    (j.reference->'by_step'->>(s.step - 1)::integer)::double precision AS usual, j.season IS NOT NULL AS seasonal
  FROM steps s JOIN j USING (version_id)
  JOIN LATERAL (SELECT o.value FROM observations o
    WHERE o.channel_id = j.channel_id AND o.at >= s.at - s.grid / 2 AND o.at < s.at + s.grid / 2 AND {_COUNTS}
    ORDER BY o.at DESC LIMIT 1) truth ON true
  JOIN LATERAL (SELECT o.value FROM observations o
    WHERE o.channel_id = j.channel_id AND o.at < s.origin + s.grid / 2 AND {_COUNTS} ORDER BY o.at DESC LIMIT 1) last ON true
  LEFT JOIN LATERAL (SELECT o.value FROM observations o
    WHERE o.channel_id = j.channel_id AND j.season IS NOT NULL
      AND o.at >= s.at - s.grid * (j.season * ((s.step + j.season - 1) / j.season)) - s.grid / 2
      AND o.at < s.at - s.grid * (j.season * ((s.step + j.season - 1) / j.season)) + s.grid / 2 AND {_COUNTS}
    ORDER BY o.at DESC LIMIT 1) before ON true)
SELECT version_id, origin, step, count(*), sum(abs(truth - value)), sum(abs(truth - last)),
  CASE WHEN bool_and(seasonal) THEN sum(abs(truth - season)) END,
  count(*) FILTER (WHERE truth BETWEEN lower AND upper), sum(level), coalesce(sum(usual), 0), min(at), max(at)
FROM met GROUP BY GROUPING SETS ((version_id, step), (version_id, origin)) ORDER BY version_id, step, origin
"""  # noqa: S608  # see above

# Whole stretches after the version's last row, as many as there are, up to its window, and back from the newest row of its target.
_COUNTED = f"""{_VERSIONS},
spans AS (
  SELECT j.*, ch.name AS channel, ARRAY(SELECT cut::double precision FROM jsonb_array_elements_text(ch.about->'cuts') cut) AS cuts,
    make_interval(secs => (j.reference->>'block_s')::double precision * least(
      round((j.reference->>'window_s')::numeric / (j.reference->>'block_s')::numeric),
      floor(extract(epoch FROM j.newest - j.data_until) / (j.reference->>'block_s')::numeric))::double precision) AS span
  FROM j CROSS JOIN LATERAL jsonb_each(j.reference->'inputs') AS ch(name, about) WHERE j.reference IS NOT NULL)
SELECT j.version_id, j.channel, floor(extract(epoch FROM j.newest - o.at) / (j.reference->>'block_s')::numeric)::integer AS ago,
  width_bucket(o.value, j.cuts) AS bin, count(*)
FROM spans j JOIN channels c ON c.entity_id = j.entity_id AND c.name = j.channel
JOIN observations o ON o.channel_id = c.id AND o.at > j.newest - j.span AND o.at <= j.newest
WHERE {_COUNTS} GROUP BY j.version_id, j.channel, ago, bin
"""  # noqa: S608  # see above


#: By version and channel: stretch by stretch, the rows in each bin.
Counts = dict[str, dict[str, list[list[int]]]]


class Sums(NamedTuple):
    """Of the pairs of forecast and truth of one version: of one step over all origins, or of one origin over all its steps."""

    #: Pairs.
    n: int
    #: Absolute errors of the forecast, of the last value known at its origin, and of the season before; None: the season is not known.
    error: float
    last_value: float
    season: float | None
    #: Truths inside the interval, and the levels of the interval.
    inside: int
    level: float
    #: What the version's reference has for these steps; 0 without one.
    usual: float
    #: The first and the last moment that was forecast.
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """What became of one version's forecasts."""

    #: Step, counted from 1.
    by_step: dict[int, Sums]
    by_origin: dict[datetime, Sums]


def met(session: Session, tenant_id: str, version_ids: Collection[str], *, days: int, most: int = MOST_ORIGINS) -> dict[str, Past]:
    """Forecasts from origins of the last `days` days before the newest observation of the target, the latest `most` of each version.

    One forecast for each origin: the first that this version made from it. What-ifs and forecasts with a future of their own were never
    stored, and one that the cache answered again is the same row. A version without a pair is missing.
    """
    found: dict[str, Past] = {}
    for version_id, origin, step, *sums in ask(session, _MET, _asked(tenant_id, version_ids) | {"days": days, "most": most}):
        past = found.setdefault(version_id, Past({}, {}))
        if origin is None:
            past.by_step[step] = Sums(*sums)
        else:
            past.by_origin[origin] = Sums(*sums)
    return found


def counted(session: Session, tenant_id: str, version_ids: Collection[str], bins: Mapping[str, Mapping[str, int]]) -> Counts:
    """How many of the newest rows lie in each of a channel's `bins`, by version, channel and stretch, the newest stretch last.

    Rows that came after the version was made, in whole stretches back from the newest row of its target. A channel without one is missing.
    """
    found: Counts = {}
    for version_id, channel, ago, number, rows in ask(session, _COUNTED, _asked(tenant_id, version_ids)):
        stretches = found.setdefault(version_id, {}).setdefault(channel, [])
        while len(stretches) <= ago:
            stretches.insert(0, [0] * bins[version_id][channel])
        stretches[-1 - ago][number] += rows
    return found


def _asked(tenant_id: str, version_ids: Collection[str]) -> dict[str, Any]:
    return {"tenant": tenant_id, "versions": list(version_ids)}
