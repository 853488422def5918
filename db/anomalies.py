"""Anomalies as they were found: one for each moment and model, newest first, forgotten after a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Anomaly, Entity, Json, Version

_PURGE = sa.text("""
    DELETE FROM anomalies WHERE id IN (
        SELECT id FROM anomalies WHERE found_at < clock_timestamp() - make_interval(days => :days) ORDER BY found_at LIMIT :limit)
    RETURNING id
""")

# A detector names every channel that it watches. One made a moment odd where its share is at least an equal one; the greatest always is.
_MADE_ODD = sa.text("""
    (contributions = '[]' OR EXISTS (
        SELECT FROM jsonb_array_elements(contributions) part
        WHERE part->>'channel' = :channel AND coalesce((part->>'share')::float8, 1) * jsonb_array_length(contributions) > 0.999))
""")


@dataclass(frozen=True, slots=True)
class Judge:
    """Who found something: which version of which model of whom, in which job."""

    tenant_id: str
    entity_id: int
    model_id: str
    version_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """One moment that was called."""

    at: datetime
    score: float
    severity: str
    contributions: list[Json]


class Told(NamedTuple):
    """An anomaly, and the number of the version that found it."""

    row: Anomaly
    version: str


def store(session: Session, judge: Judge, found: Sequence[Found], judged: tuple[datetime, datetime] | None = None) -> None:
    """Keep what was found. What was found before at the same moment by the same model gives way to it.

    `judged`: the first and last moment looked at. What was called there before and is not now is withdrawn: a value was put right since,
    or a better version has judged.
    """
    if judged is not None:
        within = (Anomaly.tenant_id == judge.tenant_id, Anomaly.model_id == judge.model_id, Anomaly.at.between(*judged))
        session.execute(sa.delete(Anomaly).where(*within, Anomaly.at.not_in([each.at for each in found])))
    if not found:
        return
    statement = insert(Anomaly).values([asdict(judge) | asdict(each) for each in sorted(found, key=lambda each: each.at)])
    given = {name: statement.excluded[name] for name in ("version_id", "job_id", "score", "severity", "contributions")}
    statement = statement.on_conflict_do_update(constraint="anomalies_one_per_moment", set_=given | {"found_at": sa.func.clock_timestamp()})
    session.execute(statement)


def page(
    session: Session,
    entity: Entity,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    severity: str | None = None,
    channel: str | None = None,
    limit: int,
    after: tuple[datetime, int] | None = None,
) -> list[Told]:
    """Newest first; from `since` on and before `until`. `after` is (at, id) of the last one of the page before.

    `channel`: those that it made odd, and those that name no channel.
    """
    asked = sa.select(Anomaly, Version).join(Version, Version.id == Anomaly.version_id)
    asked = asked.where(Anomaly.tenant_id == entity.tenant_id, Anomaly.entity_id == entity.id)
    if since is not None:
        asked = asked.where(Anomaly.at >= since)
    if until is not None:
        asked = asked.where(Anomaly.at < until)
    if severity is not None:
        asked = asked.where(Anomaly.severity == severity)
    if channel is not None:
        asked = asked.where(_MADE_ODD.bindparams(channel=channel))
    if after is not None:
        asked = asked.where(sa.tuple_(Anomaly.at, Anomaly.id) < after)
    rows = session.execute(asked.order_by(Anomaly.at.desc(), Anomaly.id.desc()).limit(limit))
    return [Told(row, version.semver) for row, version in rows]


def purge(session: Session, *, days: int, limit: int) -> int:
    """Forget what was found longer ago than that. How many."""
    return len(session.execute(_PURGE, {"days": days, "limit": limit}).all())
