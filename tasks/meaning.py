"""What orders mean: the jobs of the entities that they name, measured where that can be done here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import registry
from db.entities import Known
from db.errors import Conflict, NoActiveVersion
from db.models import Version
from db.sources.configs import Config
from ml.errors import InsufficientData, SpecInvalid
from ml.readiness import backtest_rows, nothing_to_forecast
from ml.recipes import Recipe, recipe
from ml.requirement import Requirement
from ml.spec import SHAPE, ModelSpec
from tasks.jobs import BacktestJob, BaseRef, PretrainJob, TrainJob
from tasks.orders import BASE, FEWEST, BacktestOrder, BaseOrder, PretrainOrder, TrainOrder
from tasks.readiness import Readiness, presumed, readiness, require_channel, resolved
from tasks.runtime import Runtime
from tasks.sources import Place, is_outside, reach

#: Most rows that one backtest looks at, and most steps that its result tells of (folds × targets × horizon): some hundred kilobytes.
MOST_ROWS, MOST_STEPS = 500_000, 4_000


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The version that a training starts from, and what it was trained by."""

    ref: BaseRef
    spec: ModelSpec


def training(
    session: Session, runtime: Runtime, tenant_id: str, entity: str, order: TrainOrder, reach: Callable[[], Place | Config]
) -> tuple[TrainJob, Readiness]:
    """What an order means for one entity, and whether there is data enough.

    `reach`: where its rows are, or the source that only a worker can measure.
    Raises SpecInvalid, NotFound, NoActiveVersion, Conflict, SourceUnavailable, SourceUnreadable.
    """
    preset = recipe(order.recipe, runtime.recipes)
    base, overrides = _based(session, tenant_id, preset, order)
    ready = _ready(reach(), entity, preset, order.target, overrides, order.look_back_hours)
    _require_as_many(ready.spec, base)
    return _job(entity, order, ready.spec, ready.look_back_hours, base), ready


def _ready(
    where: Place | Config, entity: str, preset: Recipe, target: str | None, overrides: Mapping[str, Any], hours: float | None
) -> Readiness:
    """Measured, or left for a worker to measure. Raises SpecInvalid for a target that the entity does not have."""
    if isinstance(where, Config):
        return presumed(where, preset, target, overrides, hours)
    ready = readiness(where, preset, target, overrides, hours)
    if not ready.met:  # the target of one that is has rows
        require_channel(entity, target, where.channels())
    return ready


def trainings(
    session: Session, runtime: Runtime, tenant_id: str, found: Sequence[Known], order: TrainOrder
) -> list[tuple[Known, TrainJob]]:
    """What an order means for each of many."""
    preset = recipe(order.recipe, runtime.recipes)
    hours = order.look_back_hours if order.look_back_hours is not None else preset.look_back_hours
    base, overrides = _based(session, tenant_id, preset, order)
    specs = _specs(session, runtime, found, preset, order, overrides)
    return [(entity, _job(entity.name, order, spec, hours, base)) for entity, spec in zip(found, specs, strict=True)]


def _specs(
    session: Session,
    runtime: Runtime,
    found: Sequence[Known],
    preset: Recipe,
    order: TrainOrder | PretrainOrder,
    overrides: Mapping[str, Any],
) -> list[ModelSpec]:
    """Of each, unmeasured. Of a source's entities all the same one: that source is not asked about thousands of them."""
    if is_outside(order.source):
        source = runtime.sources.configs[str(order.source)]
        return [presumed(source, preset, order.target, overrides, order.look_back_hours).spec] * len(found)
    return list(resolved(session, found, preset, order.target, overrides).values())


def pretraining(session: Session, runtime: Runtime, found: Sequence[Known], order: PretrainOrder) -> PretrainJob:
    """What a base reads is what its first entity has; those that lack a channel of it are left out by the worker.

    Raises SpecInvalid, InsufficientData for fewer than FEWEST entities.
    """
    if len(found) < FEWEST:
        raise InsufficientData([Requirement("entities", len(found), FEWEST, "entity", False)])
    preset = recipe(order.recipe, runtime.recipes)
    [spec] = _specs(session, runtime, found[:1], preset, order, order.overrides)
    hours = order.look_back_hours if order.look_back_hours is not None else preset.look_back_hours
    names = tuple(entity.name for entity in found)
    return PretrainJob(order.name, order.recipe, spec, names, order.activation, hours, order.source)


def backtesting(session: Session, runtime: Runtime, tenant_id: str, entity: Known, order: BacktestOrder) -> BacktestJob:
    """What is trained fold by fold, or which version forecasts.

    Raises SpecInvalid, UnusableData, NotFound, NoActiveVersion, Conflict, SourceUnavailable, SourceUnreadable.
    """
    if order.recipe is None:
        return _of_version(session, runtime, tenant_id, entity, order)
    where = reach(session, runtime, tenant_id, entity, order.source)
    ready = _ready(where, entity.name, recipe(order.recipe, runtime.recipes), order.target, order.overrides, order.look_back_hours)
    steps, folds = order.folds * len(ready.spec.targets) * ready.spec.horizon, order.folds
    if steps > MOST_STEPS:
        raise SpecInvalid(
            "folds", folds, f"{folds} folds × targets × horizon are {steps} steps to tell of; at most {MOST_STEPS}: ask for fewer folds"
        )
    if not isinstance(where, Config):
        _require_rows(ready, folds, order.look_back_hours)
    return BacktestJob(entity.name, ready.spec.targets[0], order.recipe, ready.spec, folds, ready.look_back_hours, source=order.source)


def _require_rows(ready: Readiness, folds: int, look_back_hours: float | None) -> None:
    rows, need = int(min(each.have for each in ready.requirements if each.name == "window_rows")), backtest_rows(ready.spec, folds)
    enough = Requirement("backtest_rows", rows, need, "row", met=rows >= need)
    replace(ready, requirements=[*ready.requirements, enough]).require()
    require_bounded(rows, "look_back_hours", look_back_hours)


def _of_version(session: Session, runtime: Runtime, tenant_id: str, entity: Known, order: BacktestOrder) -> BacktestJob:
    """The version is pinned, and there is a row for it to forecast."""
    target = str(order.target)
    held = registry.answering(session, tenant_id, entity.name, target, order.version)
    version = session.get_one(Version, held.version_id)
    assert version.data_until is not None  # only a base is brought from elsewhere, and no base forecasts
    begin = order.begin or version.data_until + timedelta(milliseconds=1)
    source = order.source or version.source
    where = reach(session, runtime, tenant_id, entity, source)
    if not isinstance(where, Config):
        rows = _rows_since(where, version.target, begin) - (_rows_since(where, version.target, order.end) if order.end else 0)
        if rows <= 0:
            raise nothing_to_forecast(version.target, version.data_until)
        require_bounded(rows, "from", begin.isoformat())
    return BacktestJob(entity.name, target, version=held.semver, begin=order.begin, end=order.end, source=source)


def _rows_since(place: Place, channel: str, begin: datetime) -> int:
    held = place.coverage([channel], begin)
    return held[channel].rows if channel in held else 0


#: What mends a backtest of too many rows, by the field that it is asked for with.
_NARROWER = {"look_back_hours": "look back less far", "from": "name a later one, or an earlier `to`"}


def require_bounded(rows: int, field: str, value: object) -> None:
    """Raises SpecInvalid for more rows than a backtest looks at. `field` is of _NARROWER."""
    if rows > MOST_ROWS:
        raise SpecInvalid(field, value, f"{rows} rows are more than a backtest looks at ({MOST_ROWS}): {_NARROWER[field]}")


def _job(entity: str, order: TrainOrder, spec: ModelSpec, hours: float | None, base: _Pinned | None) -> TrainJob:
    if order.model is not None and len(spec.targets) > 1:
        raise SpecInvalid("model", order.model, f"leave it out: the models of {', '.join(spec.targets)} are named after them")
    pinned = None if base is None else base.ref
    return TrainJob(entity, order.recipe, spec, order.model or spec.targets[0], order.activation, hours, pinned, order.source)


def _require_as_many(spec: ModelSpec, base: _Pinned | None) -> None:
    if base is not None and len(spec.targets) != len(base.spec.targets):
        fix = f"the base forecasts {len(base.spec.targets)} at once ({', '.join(base.spec.targets)}); name a target, or take another base"
        raise SpecInvalid("target", list(spec.targets), fix)


def _based(session: Session, tenant_id: str, preset: Recipe, order: TrainOrder) -> tuple[_Pinned | None, Mapping[str, Any]]:
    """The version to start from, pinned, and the overrides with its shape taken over. What contradicts the shape is refused."""
    if order.base is None:
        return None, order.overrides
    target = order.target or next(iter(preset.targets), None)
    if target is None:
        raise SpecInvalid("target", None, f"recipe {preset.name} forecasts any channel; name one")
    pinned = _pinned(session, tenant_id, order.base, target)
    there = pinned.spec.shape()
    for name in SHAPE:
        asked = order.overrides.get(name, there[name])
        if (tuple(asked) if isinstance(asked, list) else asked) != there[name]:
            raise SpecInvalid(name, asked, f"the base has {there[name]!r}: leave the field out, or take another base")
    return pinned, {**order.overrides, **{name: there[name] for name in SHAPE}}


def _pinned(session: Session, tenant_id: str, base: BaseOrder, target: str) -> _Pinned:
    if base.name is not None:
        held = registry.answering(session, tenant_id, base.name, target, base.version, BASE)
        return _Pinned(BaseRef(held.model_id, held.semver), ModelSpec.from_dict(held.spec))
    model = registry.get_model(session, tenant_id, str(base.model))
    if model.kind not in ("forecast", BASE):
        raise SpecInvalid("base.model", model.id, f"it is of kind {model.kind} and has no network to start from")
    found = (
        registry.version(session, tenant_id, model.id, base.version)
        if base.version is not None
        else registry.active(session, tenant_id, model.entity_id, model.name, model.kind)
    )
    if found is None:
        raise NoActiveVersion(model.id, model.name)
    if found.pruned_at is not None:
        raise Conflict("version_pruned", f"Version {found.semver} was pruned; its artefact is gone.")
    return _Pinned(BaseRef(model.id, found.semver), ModelSpec.from_dict(found.spec))
