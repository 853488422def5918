"""Orders for the watch: what a client asks of a detector, and the job it means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import registry
from db.entities import Known
from ml.anomaly.recipes import watch_recipe
from ml.anomaly.spec import LEAST_ROWS
from ml.errors import InsufficientData, SpecInvalid, UnusableData
from ml.requirement import Requirement
from tasks.jobs import Activation, AnomalyDetectJob, AnomalyTrainJob
from tasks.readiness import since
from tasks.runtime import Runtime
from tasks.sources import Place, measurable

#: Kind of the models that are detectors, and their name where none is given.
ANOMALY = "anomaly"
RECIPE = "device-anomaly"
#: Hours judged where neither they nor a beginning are named.
HOURS = 24.0
#: Most rows of a channel that one training learns from, or that one detection judges.
MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """A detector to be trained. `channels`: the recipe's, where none are named."""

    entity: str
    recipe: str = RECIPE
    channels: tuple[str, ...] | None = None
    model: str = ANOMALY
    overrides: Mapping[str, Any] = field(default_factory=dict)
    activation: Activation = "auto"
    look_back_hours: float | None = None
    #: Where the rows are; None is the built-in store.
    source: str | None = None


@dataclass(frozen=True, slots=True)
class DetectOrder:
    """Rows to be judged: from `begin`, or `hours` before `end` or the newest row, up to `end`."""

    entity: str
    model: str = ANOMALY
    version: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    hours: float = HOURS
    #: None is where the version's training read.
    source: str | None = None


def watching(place: Place, order: WatchOrder) -> AnomalyTrainJob:
    """What an order means for the entity. Raises SpecInvalid (with what channels there are), InsufficientData, and as the place does."""
    preset = watch_recipe(order.recipe)
    held = place.coverage()
    spec = preset.resolve(order.channels, held, order.overrides)
    hours = order.look_back_hours if order.look_back_hours is not None else preset.look_back_hours
    begin = since((held[name].last for name in spec.channels), hours)
    seen = held if begin is None else place.coverage(spec.channels, begin)
    _require_rows({name: seen[name].rows for name in spec.channels if name in seen}, hours)
    return AnomalyTrainJob(order.entity, order.recipe, spec, order.model, order.activation, hours, order.source)


def _require_rows(rows: Mapping[str, int], hours: float | None) -> None:
    """By the densest channel: rows on which any channel was observed are no fewer."""
    densest = max(rows, key=lambda name: rows[name])
    if rows[densest] < LEAST_ROWS:
        raise InsufficientData([Requirement(f"{densest}.rows", rows[densest], LEAST_ROWS, "row", False)], hours)


def judging(session: Session, runtime: Runtime, tenant_id: str, order: DetectOrder) -> tuple[AnomalyDetectJob, registry.Answering]:
    """Which rows are judged, and by whom.

    Raises NotFound, NoActiveVersion, Conflict (pruned), SpecInvalid, UnusableData (no rows), SourceUnavailable, SourceUnreadable.
    """
    held = registry.answering(session, tenant_id, order.entity, order.model, order.version, ANOMALY)
    channels: Sequence[str] = held.spec["channels"]
    source = order.source or held.source
    place = measurable(session, runtime, tenant_id, Known(held.entity_id, order.entity, None), source)
    begin = order.begin or _begin(place, channels, order)
    rows = _rows_between(place, channels, begin, order.end)
    if not rows:
        raise _nothing_to_judge(channels, begin, order.end)
    if rows > MOST_ROWS:
        fix = f"{rows} rows of a channel are more than one detection judges ({MOST_ROWS}): name a later one, or an earlier `to`"
        raise SpecInvalid("from" if order.begin else "hours", begin.isoformat(), fix)
    return AnomalyDetectJob(order.entity, order.model, begin, order.end, order.version, source), held


def _begin(place: Place, channels: Collection[str], order: DetectOrder) -> datetime:
    """By the entity's own rows and not by the clock, so that old series are judged too."""
    newest = place.newest(channels)
    if newest is None:
        raise _nothing_to_judge(channels, None, order.end)
    return min(newest, order.end or newest) - timedelta(hours=order.hours)


def _rows_between(place: Place, channels: Collection[str], begin: datetime, end: datetime | None) -> int:
    """Of the densest channel."""
    seen = place.coverage(channels, begin)
    later = {} if end is None else place.coverage(channels, end)
    return max((held.rows - (later[name].rows if name in later else 0) for name, held in seen.items()), default=0)


def _nothing_to_judge(channels: Collection[str], begin: datetime | None, end: datetime | None) -> UnusableData:
    span = "".join(f" {word} {at.isoformat()}" for word, at in (("from", begin), ("to", end)) if at is not None)
    needed = Requirement("rows", 0, 1, "row", False)
    return UnusableData(f"There is no row of {', '.join(channels)}{span} to judge.", requirements=[needed.as_dict()])
