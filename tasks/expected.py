"""What schedules let expect: who is trained or forecast again and again has a version that serves, and of trainings one that is not old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice, pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.expected import Promise
from db.models import Schedule
from ml.errors import NewerRelease, SpecInvalid
from ml.recipes import Recipe, recipe
from tasks.alarms import DetectOrder, WatchOrder
from tasks.orders import PredictOrder, TrainOrder
from tasks.runtime import Runtime
from tasks.schedules import timetable_of
from tasks.sources import is_outside
from tasks.templates import Order, read

FORECAST, ANOMALY = "forecast", "anomaly"
#: Runs that a training is given to bring a new version, from when one is wanted: a single one may fail and be mended by the next.
RUNS = 2
#: Pauses between runs that are looked at for the longest: a weekend and a holiday lie between two working days.
PAUSES = 8


def promises(session: Session, runtime: Runtime) -> list[Promise]:
    """Of every schedule that is not paused. One that this process cannot read lets expect nothing here."""
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    planned = session.scalars(select(Schedule).where(Schedule.next_at.is_not(None)).order_by(Schedule.id))
    return [promise for row in planned for promise in _of(runtime, row, now)]


def _of(runtime: Runtime, row: Schedule, now: datetime) -> Iterator[Promise]:
    try:
        order = read(row.kind, row.job_order, [""])  # whom it is about is looked up by the statement that counts
        named = dict(_models(order, runtime.recipes))
        oldest_s = _oldest_s(row, order, now)
    except (NewerRelease, SpecInvalid):
        return
    kind = ANOMALY if isinstance(order, WatchOrder | DetectOrder) else FORECAST
    for name, channel in named.items():
        yield Promise(row.id, kind, name, channel, oldest_s)


def _models(order: Order, recipes: Mapping[str, Recipe]) -> Iterator[tuple[str, str | None]]:
    """The models that are to serve once it was done, each with the channel without which there is none."""
    if isinstance(order, TrainOrder):
        if order.activation != "never":
            yield from _trained(order, recipe(order.recipe, recipes))
    elif isinstance(order, PredictOrder):
        yield from ((target, None) for target in order.targets if order.version is None)
    elif isinstance(order, DetectOrder) or (isinstance(order, WatchOrder) and order.activation != "never"):
        yield order.model, None


def _trained(order: TrainOrder, preset: Recipe) -> Iterator[tuple[str, str | None]]:
    """Of a joint recipe those of its targets that an entity has."""
    named = order.model or order.target
    if named is not None or not preset.joint:
        yield named or preset.targets[0], None
        return
    yield from ((target, None if is_outside(order.source) else target) for target in preset.targets)


def _oldest_s(row: Schedule, order: Order, now: datetime) -> float | None:
    """How old a version may become: of a training without conditions, or with one on age, as long as some runs more take."""
    if not isinstance(order, TrainOrder | WatchOrder):
        return None
    wanted_h = 0.0 if row.conditions is None else row.conditions.get("age_hours")
    return None if wanted_h is None else wanted_h * 3600 + RUNS * _longest_pause(row, now).total_seconds()


def _longest_pause(row: Schedule, now: datetime) -> timedelta:
    """Between two runs to come; a year where there is but one."""
    runs = [due.due_at for due in islice(timetable_of(row).upcoming(now), PAUSES + 1)]
    return max((later - earlier for earlier, later in pairwise(runs)), default=timedelta(days=366))
