"""The mind's school: cases in, fitted models out. Reports outward by callback; knows no clock but its own, no storage, no queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ml.answers import origins_of
from ml.cohort import learn_together, stackable
from ml.course import Course, Progress, Reporter, StopPart, Watcher
from ml.errors import FlatLine, InsufficientData, SpecInvalid, TrainingDiverged
from ml.evaluation import judge
from ml.features import calendar, fit_scaler, season_of
from ml.fitted import Base, Case, Epoch, Fitted, Pretrained
from ml.grid import regularise
from ml.lessons import lesson, pooled
from ml.networks import Network
from ml.readiness import least_rows
from ml.requirement import Requirement
from ml.series import Notice, RawChannels, Series, is_flat, moment, notice, split
from ml.spec import ModelSpec
from ml.windows import effective_window

__all__ = ["Case", "Epoch", "Fitted", "Reporter", "fit", "prepare", "pretrain"]


def prepare(entity: str, raw: RawChannels, spec: ModelSpec, base: Base | None = None) -> Case:
    """Make one entity ready for training, from its own beginning or from a network that was learned elsewhere.

    Raises FeatureMissing, InsufficientData, FlatLine or UnusableData, each saying what is missing; SpecInvalid for a base of another shape.
    """
    if base is not None:
        spec.require_alike(base.spec)
    series, notices = regularise(entity, raw, spec)
    _require_learnable(series, spec)
    observed = series.observed[spec.targets[0]]
    parts = split(observed, spec.split)
    fitting = int(observed[parts.fit].sum())
    window = effective_window(spec, fitting)
    if window < spec.window:
        notices.append(notice("window_shortened", f"{fitting} rows to learn from allow {window} of {spec.window}.", window=window))
    values, season = series.matrix(spec.inputs), season_of(series.step_s)
    case = Case(
        series=series,
        spec=replace(spec, window=window),
        parts=parts,
        season=season,
        scaler=fit_scaler(values, parts.fit, window, len(spec.targets)),
        values=values,
        phases=calendar(series.until(spec.horizon), season),
        warnings=(*notices, *_vanished(series, spec, window)),
        base=base,
    )
    if not origins_of(case, parts.fit).counted.any():
        need = window + spec.horizon
        raise InsufficientData([Requirement(f"{spec.targets[0]}.window_rows_without_gaps", 0, need, "row", False)])
    return case


def fit(
    cases: Sequence[Case], spec: ModelSpec, reporter: Reporter, device: str = "cpu", *, together: bool | None = None
) -> list[tuple[Fitted, ...] | None]:
    """Train one network per case, each from its own seed and stream of random numbers, and judge it per target.

    `spec` is the shape the cases share. A member that was stopped or failed is None. Raises SpecInvalid for a case of another shape.
    `together`: as one stack instead of one after another, which gives the same networks; None does what is faster on the device.
    """
    _require_shape(cases, spec)
    if together is None:
        together = device != "cpu" and len(cases) > 1
    if together and all(map(stackable, cases)):
        return _fit_together(cases, reporter, device)
    return [_fit_one(member, case, reporter, device) for member, case in enumerate(cases)]


def _fit_together(cases: Sequence[Case], reporter: Reporter, device: str) -> list[tuple[Fitted, ...] | None]:
    found: list[tuple[Fitted, ...] | None] = [None] * len(cases)
    for member, seat in learn_together(cases, reporter, device):
        if seat.lost:
            reporter.failed(member, seat.lost)
        elif not seat.stopped:
            found[member] = _judged(member, cases[member], seat.learned, seat.progress, reporter)
    return found


def pretrain(cases: Sequence[Case], spec: ModelSpec, watcher: Watcher, device: str = "cpu") -> Pretrained | None:
    """Train one network on the fit parts of many entities, for others to start from. None when the watcher said stop.

    Its early stopping goes by the mean over the entities' stop parts. Raises SpecInvalid for a case of another shape, TrainingDiverged.
    """
    _require_shape(cases, spec)
    lessons = pooled([lesson(case, device) for case in _one_by_one(cases, watcher)])
    course = Course(spec, lessons, [StopPart(case) for case in _one_by_one(cases, watcher)], watcher, device, cases[0].base)
    network = course.finish(0)
    if network is None:
        return None
    gains = {case.series.entity: check.loss(network) for case, check in zip(_one_by_one(cases, watcher), course.checks, strict=True)}
    return Pretrained(spec, network, tuple(course.progress.history), gains)


def _one_by_one(cases: Sequence[Case], watcher: Watcher) -> Iterator[Case]:
    """With a sign of life before each: there may be thousands."""
    for case in cases:
        watcher.alive()
        yield case


def _fit_one(member: int, case: Case, reporter: Reporter, device: str) -> tuple[Fitted, ...] | None:
    try:
        course = Course(case.spec, lesson(case, device), [StopPart(case)], reporter, device, case.base)
        network = course.finish(member)
    except TrainingDiverged as error:
        reporter.failed(member, error)
        return None
    if network is None:
        return None
    return _judged(member, case, network, course.progress, reporter)


def _judged(member: int, case: Case, network: Network, progress: Progress, reporter: Reporter) -> tuple[Fitted, ...]:
    fitted = _fitted(case, network, progress, reporter.alive)
    reporter.fitted(member, fitted)
    return fitted


def _fitted(case: Case, network: Network, progress: Progress, alive: Callable[[], None]) -> tuple[Fitted, ...]:
    verdicts = judge(case, network, alive)
    times = case.series.times
    return tuple(
        Fitted(
            entity=case.series.entity,
            target=target,
            spec=case.spec,
            network=network,
            scaler=case.scaler,
            season=case.season,
            step=case.series.step,
            intervals=verdict.intervals,
            scores=verdict.scores,
            served_by=verdict.served_by,
            blend=verdict.blend,
            history=tuple(progress.history),
            warnings=(*case.warnings, *verdict.warnings),
            data_from=moment(times[0]),
            data_until=moment(times[-1]),
            rows=int(case.series.observed[target].sum()),
            fit_until=moment(times[case.parts.fit.stop]),
        )
        for target, verdict in zip(case.spec.targets, verdicts, strict=True)
    )


def _require_learnable(series: Series, spec: ModelSpec) -> None:
    """Every target has rows enough, and moves."""
    for target in spec.targets:
        rows = int(series.observed[target].sum())
        _require_rows(target, rows, least_rows(spec))
        if is_flat(series.channels[target]):
            known = series.channels[target][series.observed[target]]
            raise FlatLine(f"{target} is {known[0]:g} on all {rows} rows.", channel=target)


def _require_rows(target: str, have: int, need: int) -> None:
    if have < need:
        raise InsufficientData([Requirement(f"{target}.rows", have, need, "row", False)])


def _require_shape(cases: Sequence[Case], spec: ModelSpec) -> None:
    def shape(one: ModelSpec) -> dict[str, Any]:
        return one.shape() | {"covariates": len(one.covariates), "future_covariates": len(one.future_covariates)}

    for case in cases:
        if shape(case.spec) != shape(spec):
            raise SpecInvalid("cases", shape(case.spec), f"a cohort has one shape: {shape(spec)}")


def _vanished(series: Series, spec: ModelSpec, window: int) -> list[Notice]:
    """Covariates with no value in the last window: the network will read them as missing."""
    gone = [name for name in spec.covariates if not np.isfinite(series.channels[name][-window:]).any()]
    return [notice("channel_vanished", f"{name} has no value in the last {window} rows.", channel=name) for name in gone]
