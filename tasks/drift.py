"""Drift: the versions that serve are held against what came after them, in rounds of the dispatcher and for whoever asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from db import deliveries, drifts, realised, registry
from db.drifts import Due, Judged, Turn
from db.models import Version
from db.realised import Past
from ml.drift import Judgement, Met, Reference, judge
from tasks.metrics import MODELS
from tasks.runtime import Runtime

log = structlog.get_logger()

#: Models judged in one statement and told of in one transaction.
AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """How a version stands to the present, and what became of its forecasts."""

    judgement: Judgement
    past: Past


def standings(session: Session, tenant_id: str, version_ids: Collection[str], days: int) -> dict[str, Standing]:
    """Of each version, from forecasts of the last `days` days and the newest rows of what it reads. Nothing is written."""
    kept = registry.references(session, tenant_id, version_ids)
    known = {version: Reference.from_dict(reference) for version, reference in kept.items() if reference is not None}
    bins = {version: {name: len(sample.cuts) + 1 for name, sample in found.inputs.items()} for version, found in known.items()}
    counts = realised.counted(session, tenant_id, list(known), bins)
    pasts = realised.met(session, tenant_id, version_ids, days=days)
    return {version: _standing(known.get(version), counts.get(version, {}), pasts.get(version, Past({}, {}))) for version in kept}


def _standing(reference: Reference | None, counts: dict[str, list[list[int]]], past: Past) -> Standing:
    met = [Met(origin, sums.n, sums.error, sums.usual, sums.inside, sums.level) for origin, sums in past.by_origin.items()]
    return Standing(judge(reference, counts, met), past)


def judge_once(runtime: Runtime) -> int:
    """Judge every model that is due and count them all by verdict. Returns how many were judged."""
    judged = 0
    while found := _judge_some(runtime):
        judged += found
        if found < AT_ONCE:
            break
    with runtime.sessions() as session:
        for verdict, models in drifts.count(session).items():
            runtime.meter.hold(MODELS, models, verdict)
    return judged


def _judge_some(runtime: Runtime) -> int:
    """Read first, then write: the models are held for as long as it takes to write their verdicts down, and no longer."""
    settings = runtime.settings
    with runtime.sessions() as session:
        due = drifts.due(session, every_s=settings.drift_s, limit=AT_ONCE)
        judged = [each for tenant, theirs in _by_tenant(due) for each in _judged(session, tenant, theirs, settings.accuracy_days)]
    with runtime.sessions.begin() as session:
        for turn in drifts.keep(session, judged):
            _tell(session, turn)
    return len(judged)


def _by_tenant(due: Iterable[Due]) -> Iterable[tuple[str, list[Due]]]:
    found: dict[str, list[Due]] = defaultdict(list)
    for each in due:
        found[each.tenant_id].append(each)
    return found.items()


def _judged(session: Session, tenant_id: str, due: Sequence[Due], days: int) -> list[Judged]:
    found = standings(session, tenant_id, [each.version_id for each in due], days)
    return [_verdict(each, found[each.version_id].judgement) for each in due if each.version_id in found]


def _verdict(due: Due, found: Judgement) -> Judged:
    return Judged(**due._asdict(), verdict=found.verdict, error_ratio=found.error_ratio, findings=found.as_dict())


def _tell(session: Session, turn: Turn) -> None:
    """Whose model it is stands in the log; which entity's does not: names are people's data. Webhooks hear of what drifts."""
    log.info("drift_turned", **turn._asdict())
    if turn.after == drifts.DRIFTING:
        about = {"model": turn.model_id, "version": session.get_one(Version, turn.version_id).semver}
        deliveries.tell(session, turn.model_id, "model.drifting", about)
