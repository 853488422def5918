"""Orders for the watch: what a client asks of a detector, and the job it means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import registry
from db.entities import Known
from db.sources.configs import Config
from ml.anomaly.recipes import WatchRecipe, watch_recipe
from ml.anomaly.spec import LEAST_ROWS, DetectorSpec
from ml.errors import InsufficientData, SpecInvalid, UnusableData
from ml.requirement import Requirement
from tasks.jobs import AnomalyDetectJob, AnomalyTrainJob
from tasks.readiness import since
from tasks.runtime import Runtime
from tasks.sources import Place, reach

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
    activation: registry.Mode = "auto"
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


def watching(where: Place | Config, order: WatchOrder) -> AnomalyTrainJob:
    """What an order means for the entity; in a source that only a worker can measure, by the channels which that says it has.

    Raises SpecInvalid (with what channels there are), InsufficientData, and as the place does.
    """
    preset = watch_recipe(order.recipe)
    hours = order.look_back_hours if order.look_back_hours is not None else preset.look_back_hours
    if isinstance(where, Config):
        spec = preset.resolve(order.channels, where.channels, order.overrides)
    else:
        spec = _measured(where, preset, order, hours)
    return AnomalyTrainJob(order.entity, order.recipe, spec, order.model, order.activation, hours, order.source)


def _measured(place: Place, preset: WatchRecipe, order: WatchOrder, hours: float | None) -> DetectorSpec:
    held = place.coverage()
    spec = preset.resolve(order.channels, held, order.overrides)
    begin = since((held[name].last for name in spec.channels), hours)
    seen = held if begin is None else place.coverage(spec.channels, begin)
    _require_rows({name: seen[name].rows for name in spec.channels if name in seen}, hours)
    return spec


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
    job = AnomalyDetectJob(order.entity, order.model, order.begin, order.end, order.version, source)
    where = reach(session, runtime, tenant_id, Known(held.entity_id, order.entity, None), source)
    if isinstance(where, Config):
        return replace(job, hours=None if order.begin else order.hours), held
    begin = order.begin or beginning(where, channels, order.hours, order.end)
    require_judgeable(_rows_between(where, channels, begin, order.end), channels, begin, order.end, told=order.begin is not None)
    return replace(job, begin=begin), held


def beginning(place: Place, channels: Collection[str], hours: float, end: datetime | None) -> datetime:
    """By the entity's own rows and not by the clock, so that old series are judged too. Raises UnusableData where there is none."""
    newest = place.newest(channels)
    if newest is None:
        raise _nothing_to_judge(channels, None, end)
    return min(newest, end or newest) - timedelta(hours=hours)


def require_judgeable(rows: int, channels: Collection[str], begin: datetime, end: datetime | None, *, told: bool) -> None:
    """Of the densest channel. `told`: the beginning was named. Raises UnusableData for none, SpecInvalid for more than MOST_ROWS."""
    if not rows:
        raise _nothing_to_judge(channels, begin, end)
    if rows > MOST_ROWS:
        fix = f"{rows} rows of a channel are more than one detection judges ({MOST_ROWS}): name a later one, or an earlier `to`"
        raise SpecInvalid("from" if told else "hours", begin.isoformat(), fix)


def _rows_between(place: Place, channels: Collection[str], begin: datetime, end: datetime | None) -> int:
    """Of the densest channel."""
    seen = place.coverage(channels, begin)
    later = {} if end is None else place.coverage(channels, end)
    return max((held.rows - (later[name].rows if name in later else 0) for name, held in seen.items()), default=0)


def _nothing_to_judge(channels: Collection[str], begin: datetime | None, end: datetime | None) -> UnusableData:
    span = "".join(f" {word} {at.isoformat()}" for word, at in (("from", begin), ("to", end)) if at is not None)
    needed = Requirement("rows", 0, 1, "row", False)
    return UnusableData(f"There is no row of {', '.join(channels)}{span} to judge.", requirements=[needed.as_dict()])
