"""When to train again: of the entities that a schedule means, those of which one of its conditions holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from db import drifts
from db.drifts import DRIFTING, WARNING
from db.entities import Known
from db.models import Json
from db.newest import Lineage, Newest, newest
from tasks.jobs import TrainJob
from tasks.meaning import trainings
from tasks.orders import TrainOrder
from tasks.runtime import Runtime


class Facts(NamedTuple):
    """What is known of one model."""

    newest: Newest
    #: Of the version that serves; None where it was not judged yet.
    judged: drifts.Known | None


#: Verdicts that are as bad as the one named, or worse.
AS_BAD: Mapping[str, tuple[str, ...]] = {WARNING: (WARNING, DRIFTING), DRIFTING: (DRIFTING,)}


def _old(facts: Facts, hours: float) -> bool:
    return facts.newest.age_s is not None and facts.newest.age_s >= hours * 3600


def _grown(facts: Facts, rows: int) -> bool:
    return facts.newest.new_rows is not None and facts.newest.new_rows >= rows


def _drifted(facts: Facts, least: str) -> bool:
    return facts.judged is not None and facts.judged.verdict in AS_BAD[least]


def _worse(facts: Facts, asked: Mapping[str, float]) -> bool:
    ratio = None if facts.judged is None else facts.judged.error_ratio
    return ratio is not None and ratio > asked["worse_than"]


#: By the name of the condition, whether it holds of a model. The first one that does is told as the reason.
CONDITIONS: Mapping[str, Callable[[Facts, Any], bool]] = {"age_hours": _old, "new_rows": _grown, "drift": _drifted, "accuracy": _worse}
#: Those that ask for the last verdict.
OF_VERDICTS = ("drift", "accuracy")
#: Nothing serves: due whatever else is asked.
NOTHING_SERVES = "no_active_version"
#: A training of the model waits or runs already: not due, whatever else holds.
UNDER_WAY = "under_way"


class Chosen(NamedTuple):
    """Who is to be trained, and of how many for which reason; `under_way` counts those that are being trained already."""

    due: tuple[str, ...]
    why: Json


def choose(
    session: Session, runtime: Runtime, tenant_id: str, found: Sequence[Known], order: TrainOrder, conditions: Mapping[str, Any]
) -> Chosen:
    """Those of the entities that are due, in a few statements however many they are. Raises SpecInvalid, NotFound, NoActiveVersion."""
    asked = trainings(session, runtime, tenant_id, found, order)
    lineages = [Lineage(entity.id, job.model, job.spec.targets[0]) for entity, job in asked if isinstance(job, TrainJob)]
    reasons = [_reason(facts, conditions) for facts in _facts(session, tenant_id, lineages, conditions)]
    due = tuple(entity.name for entity, reason in zip(found, reasons, strict=True) if reason not in (None, UNDER_WAY))
    return Chosen(due, dict(Counter(reason for reason in reasons if reason is not None)))


def _facts(session: Session, tenant_id: str, lineages: Sequence[Lineage], conditions: Mapping[str, Any]) -> list[Facts]:
    there = newest(session, tenant_id, lineages, TrainJob.kind, int(conditions.get("new_rows") or 0))
    models = [each.model_id for each in there if each.model_id is not None]
    judged = drifts.verdicts(session, tenant_id, models) if conditions.keys() & set(OF_VERDICTS) else {}
    return [Facts(each, judged.get(each.model_id or "")) for each in there]


def _reason(facts: Facts, conditions: Mapping[str, Any]) -> str | None:
    if facts.newest.under_way:
        return UNDER_WAY
    if not facts.newest.serves:
        return NOTHING_SERVES
    return next((name for name, holds in CONDITIONS.items() if name in conditions and holds(facts, conditions[name])), None)
