"""Forecasts as they were made: one per question, newest last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from db.models import Forecast, Json, Version
from db.session import ask


@dataclass(frozen=True, slots=True)
class Question:
    """What a forecast answers. The same version asked the same of the same data has nothing new to say."""

    version_id: str
    target: str
    #: The entity's, when it was asked.
    data_rev: int
    horizon: int
    #: Of the interval: 0.9 means nine in ten.
    level: float


class Answer(NamedTuple):
    """A forecast that was made before, and by which job."""

    job_id: str
    made_at: datetime
    body: Json


_FIND = """
SELECT job_id, made_at, body FROM forecasts
WHERE tenant_id = %(tenant)s AND version_id = %(version)s AND target = %(target)s
  AND data_rev = %(rev)s AND horizon = %(horizon)s AND level = %(level)s
"""


# Accuracy counts its days back from the newest row of the target, which of a series that rests lies far behind the clock.
_PURGE = text("""
    DELETE FROM forecasts WHERE id IN (
        SELECT f.id FROM forecasts f
        WHERE f.made_at < clock_timestamp() - make_interval(days => :days)
          AND EXISTS (
            SELECT FROM forecasts later
            WHERE later.entity_id = f.entity_id AND later.target = f.target AND (later.made_at, later.id) > (f.made_at, f.id))
          AND NOT EXISTS (
            SELECT FROM channels c CROSS JOIN LATERAL (SELECT at FROM observations WHERE channel_id = c.id ORDER BY at DESC LIMIT 1) newest
            WHERE c.entity_id = f.entity_id AND c.name = f.target
              AND f.data_until >= newest.at - make_interval(days => :accuracy_days))
        ORDER BY f.made_at LIMIT :limit)
    RETURNING id
""")


@dataclass(frozen=True, slots=True)
class Made:
    """A forecast on its way to be kept."""

    question: Question
    entity_id: int
    job_id: str
    data_until: datetime
    body: Json


def store(
    session: Session, tenant_id: str, question: Question, *, entity_id: int, job_id: str, data_until: datetime, body: Json
) -> Forecast:
    """Keep the answer. Given again it replaces the earlier one and counts as the newest: a rollback asks an older version again."""
    row = _row(tenant_id, Made(question, entity_id, job_id, data_until, body))
    return session.scalars(_KEEP.values(row).returning(Forecast), execution_options={"populate_existing": True}).one()


def store_all(session: Session, tenant_id: str, made: Collection[Made]) -> None:
    """The same of many answers, if any. Of two to one question the last stands."""
    distinct = {one.question: one for one in made}
    if distinct:
        session.connection().execute(_KEEP, [_row(tenant_id, one) for one in distinct.values()])


def _row(tenant_id: str, made: Made) -> dict[str, Any]:
    answered = {name: getattr(made, name) for name in _OF_ANSWER}
    return {"tenant_id": tenant_id, "entity_id": made.entity_id, **asdict(made.question), **answered}


def _keep() -> Insert:
    statement = insert(Forecast).values(made_at=func.clock_timestamp())
    anew = {name: statement.excluded[name] for name in (*_OF_ANSWER, "made_at")}
    return statement.on_conflict_do_update(constraint="forecasts_one_per_question", set_=anew)


_OF_ANSWER = ("job_id", "data_until", "body")
#: The same for one and for many, so that it is compiled once. A statement that holds the rows of a batch is compiled anew for each.
_KEEP = _keep()


def find(session: Session, tenant_id: str, question: Question) -> Answer | None:
    q = question
    asked = {"version": q.version_id, "target": q.target, "rev": q.data_rev, "horizon": q.horizon, "level": q.level}
    found = ask(session, _FIND, {"tenant": tenant_id, **asked})
    return Answer(*found[0]) if found else None


def newest(session: Session, tenant_id: str, entity_id: int, target: str) -> Forecast | None:
    asked = select(Forecast).where(Forecast.tenant_id == tenant_id, Forecast.entity_id == entity_id, Forecast.target == target)
    return session.scalar(asked.order_by(Forecast.made_at.desc(), Forecast.id.desc()).limit(1))


def stands(session: Session, forecast: Forecast, data_rev: int, kept_s: float) -> bool:
    """Whether the same would be answered now: by the version that serves, from all the data there are, made within `kept_s`."""
    fresh = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, kept_s) < forecast.made_at
    serving = select(fresh).where(Version.id == forecast.version_id, Version.active)
    return forecast.data_rev == data_rev and bool(session.scalar(serving))


def questions(session: Session, tenant_id: str, entity_id: int) -> list[Question]:
    """All that was ever asked about an entity: what the cache must forget when the entity is erased."""
    columns = (Forecast.version_id, Forecast.target, Forecast.data_rev, Forecast.horizon, Forecast.level)
    rows = session.execute(select(*columns).where(Forecast.tenant_id == tenant_id, Forecast.entity_id == entity_id))
    return [Question(*row) for row in rows]


def purge(session: Session, *, days: int, accuracy_days: int, limit: int) -> int:
    """Forget what was made longer ago than `days`, and no more of it than `limit`. How many.

    Each target's newest stays, and what was forecast from the last `accuracy_days` before its newest observation.
    """
    return len(session.execute(_PURGE, {"days": days, "accuracy_days": accuracy_days, "limit": limit}).all())
