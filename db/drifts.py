"""Drifts: how each version that serves stands to the present, as it was last judged. A verdict is about that version alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Drift, Json, Model
from db.session import ask

STEADY, WARNING, DRIFTING, UNKNOWN = "steady", "warning", "drifting", "unknown"
VERDICTS = (STEADY, WARNING, DRIFTING, UNKNOWN)

# A version that has just become active is judged at once: what was said of the one before says nothing of it.
_DUE = """
SELECT m.tenant_id, m.id, v.id, e.data_rev
FROM versions v JOIN models m ON m.id = v.model_id JOIN entities e ON e.id = m.entity_id
LEFT JOIN drifts d ON d.model_id = m.id
WHERE v.active AND m.kind = 'forecast' AND (
  d.model_id IS NULL OR d.version_id <> v.id
  OR d.data_rev <> e.data_rev AND d.judged_at < clock_timestamp() - make_interval(secs => %(every_s)s))
ORDER BY d.judged_at NULLS FIRST, m.id LIMIT %(limit)s
"""

_VERDICTS = """
SELECT d.model_id, d.verdict, d.error_ratio, d.since, d.judged_at
FROM drifts d JOIN versions v ON v.id = d.version_id AND v.active
WHERE d.tenant_id = %(tenant)s AND d.model_id = ANY(%(models)s::text[])
"""

_COUNT = "SELECT d.verdict, count(*) FROM drifts d JOIN versions v ON v.id = d.version_id AND v.active GROUP BY d.verdict"


class Due(NamedTuple):
    """A model that is to be judged: its version that serves, and how far its entity's data have come."""

    tenant_id: str
    model_id: str
    version_id: str
    data_rev: int


class Known(NamedTuple):
    """The last verdict about the version that serves."""

    verdict: str
    #: Recent errors over the version's usual ones; None where too few forecasts met what happened.
    error_ratio: float | None
    since: datetime
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on its way into the table; the fields are those of `db.models.Drift`."""

    tenant_id: str
    model_id: str
    version_id: str
    data_rev: int
    verdict: str
    error_ratio: float | None
    findings: Json


class Turn(NamedTuple):
    """A verdict that is another one than before; `before` is None where nothing was known of this version."""

    tenant_id: str
    model_id: str
    version_id: str
    before: str | None
    after: str


def due(session: Session, *, every_s: float, limit: int) -> list[Due]:
    """Models of any tenant whose data changed since they were judged, each at most once in `every_s`; longest waiting first."""
    return [Due(*row) for row in ask(session, _DUE, {"every_s": every_s, "limit": limit})]


def keep(session: Session, judged: Sequence[Judged]) -> list[Turn]:
    """Write verdicts down. Returns those that turned, each to one caller only, whoever judged the same model at the same time.

    Models that somebody else holds just now are left for the next round.
    """
    held = _held(session, [each.model_id for each in judged])
    ours = [each for each in judged if each.model_id in held]
    if not ours:
        return []
    before = {d.model_id: (d.version_id, d.verdict) for d in session.scalars(sa.select(Drift).where(Drift.model_id.in_(held)))}
    session.execute(_upsert(ours))
    told = [(each, _verdict_of(before.get(each.model_id), each.version_id)) for each in ours]
    return [Turn(j.tenant_id, j.model_id, j.version_id, was, j.verdict) for j, was in told if was != j.verdict]


def _held(session: Session, model_ids: Collection[str]) -> set[str]:
    """Those of the models that are locked for this transaction now, in the order in which others lock them."""
    asked = sa.select(Model.id).where(Model.id.in_(model_ids)).order_by(Model.id)
    return set(session.scalars(asked.with_for_update(key_share=True, skip_locked=True)))


def _upsert(judged: Sequence[Judged]) -> sa.Insert:
    moment = {"since": sa.func.statement_timestamp(), "judged_at": sa.func.statement_timestamp()}
    given = insert(Drift).values([asdict(each) | moment for each in judged])
    new = given.excluded
    same = sa.and_(Drift.verdict == new.verdict, Drift.version_id == new.version_id)
    told = {name: new[name] for name in ("version_id", "data_rev", "verdict", "error_ratio", "findings", "judged_at")}
    return given.on_conflict_do_update(
        index_elements=[Drift.model_id], set_=told | {"since": sa.case((same, Drift.since), else_=new.judged_at)}
    )


def _verdict_of(before: tuple[str, str] | None, version_id: str) -> str | None:
    return before[1] if before is not None and before[0] == version_id else None


def verdicts(session: Session, tenant_id: str, model_ids: Collection[str]) -> dict[str, Known]:
    """By model id, in one statement for ten thousand of them. A model that is missing was not judged since its version serves."""
    found = ask(session, _VERDICTS, {"tenant": tenant_id, "models": list(model_ids)})
    return {model_id: Known(*told) for model_id, *told in found}


def count(session: Session) -> dict[str, int]:
    """How many models of all tenants have each verdict. Reads the whole table: for every few minutes."""
    counted: dict[str, int] = dict(ask(session, _COUNT, {}))
    return dict.fromkeys(VERDICTS, 0) | counted
