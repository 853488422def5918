"""The mind's hindsight: forecasts made as they would have been made then, by what was known then, and scored by what came after.

Rolling origin over an expanding window (Tashman 2000): each fold learns from the rows before its cut and forecasts those until the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from ml.course import Watcher
from ml.errors import InsufficientData, ModelError, TrainingDiverged, UnusableData
from ml.fitted import Epoch, Fitted
from ml.grid import regularise
from ml.readiness import backtest_rows, least_rows, nothing_to_forecast
from ml.rehearsal import Fold, NothingToScore, Span, before, borders, rehearse
from ml.requirement import Requirement
from ml.series import Notice, RawChannels, instant, notice
from ml.spec import ModelSpec
from ml.stamps import duration, stamp
from ml.tally import Tally, figures
from ml.trainer import fit, prepare

#: Later than any row.
_NEVER = np.datetime64("9999-01-01", "ms")
_NO_FURTHER = np.timedelta64(0, "ms")


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """What a backtest brought."""

    spec: ModelSpec
    step_s: float
    #: target -> its folds in order, at least one
    folds: Mapping[str, Sequence[Fold]]
    warnings: tuple[Notice, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as far as ml knows it: whose it is, and of what, is for the caller to add."""
        about = {"horizon": self.spec.horizon, "step": duration(self.step_s), "level": self.spec.level}
        first, *others = [self._told(target, folds) for target, folds in self.folds.items()]
        return about | first | {"others": others}

    def _told(self, target: str, folds: Sequence[Fold]) -> dict[str, Any]:
        """`overall` is over the rows that no training had."""
        unseen = [fold for fold in folds if not fold.seen_in_training]
        none = Tally.none(self.spec.horizon)
        total = {name: sum((fold.tallies[name] for fold in unseen), none) for name in folds[0].tallies}
        return {
            "target": target,
            "folds": [fold.as_dict() for fold in folds],
            "overall": {"folds": len(unseen), "origins": sum(fold.origins for fold in unseen), "scores": figures(total)},
            "trace": folds[-1].trace.as_dict(),
        }


def of_recipe(entity: str, raw: RawChannels, spec: ModelSpec, folds: int, watcher: Watcher, device: str = "cpu") -> Backtest | None:
    """Train and forecast fold after fold; `member` of the watcher is the fold, from 0. None when the watcher said stop.

    A fold that cannot be learned or scored is left out with a notice. Raises InsufficientData for too few rows, what `regularise` raises,
    and where every fold was left out what kept the first one.
    """
    done: list[tuple[tuple[Fitted, ...], list[Fold]]] = []
    failed: dict[int, ModelError] = {}
    for number, span in enumerate(spans(entity, raw, spec, folds), start=1):
        pupil = _Pupil(number - 1, watcher)
        try:
            learned = pupil.learn(entity, before(raw, spec, span.begin, _NO_FURTHER), spec, device)
            if learned is None:
                return None
            done.append((learned, [replace(fold, number=number) for fold in rehearse(learned, raw, span, watcher.alive)]))
        except (UnusableData, TrainingDiverged) as error:
            failed[number] = error
    if not done:
        raise next(iter(failed.values()))
    by_target = {target: [found[k] for _, found in done] for k, target in enumerate(spec.targets)}
    return Backtest(spec, done[-1][0][0].step_s, by_target, (*_left_out(failed), *_noticed([learned for learned, _ in done])))


def of_version(fitted: Fitted, raw: RawChannels, begin: datetime | None, end: datetime | None, alive: Callable[[], None]) -> Backtest:
    """Let a version forecast the rows from `begin` on and before `end`; by default all since those that its training had.

    Rows that the training had are a fold of their own, marked, and no part of `overall`. `raw` reaches back as far as the training did.
    Raises UnusableData where no row of the span can be forecast, and what `regularise` raises.
    """
    half = fitted.step // 2  # from a row to the border of its cell
    known = instant(fitted.data_until) + half
    since = known if begin is None else instant(begin) - half
    until = _NEVER if end is None else instant(end)
    asked = {True: Span(since, min(until, known)), False: Span(max(since, known), until)}
    found = [fold for seen, span in asked.items() for fold in _of_span(fitted, raw, span, alive, seen=seen)]
    if not found:
        raise nothing_to_forecast(fitted.target, fitted.data_until)
    folds = [replace(fold, number=number) for number, fold in enumerate(found, start=1)]
    seen = [_seen(fitted, fold) for fold in folds if fold.seen_in_training]
    return Backtest(fitted.spec, fitted.step_s, {fitted.target: folds}, tuple(seen))


def spans(entity: str, raw: RawChannels, spec: ModelSpec, folds: int) -> list[Span]:
    """Cut the later half of the first target's observed rows into `folds` parts of as many rows.

    Each part holds a whole horizon, and the rows before the first allow a training: for either the first cut moves where it must.
    Raises InsufficientData, and what `regularise` raises.
    """
    series, _ = regularise(entity, raw, spec)
    target = spec.targets[0]
    rows, need = np.flatnonzero(series.observed[target]), backtest_rows(spec, folds)
    if len(rows) < need:
        raise InsufficientData([Requirement(f"{target}.rows", len(rows), need, "row", met=False)])
    first = int(np.clip(len(rows) // 2, least_rows(spec), len(rows) - folds * spec.horizon))
    edges = np.linspace(first, len(rows), folds + 1).round().astype(np.int64)
    cuts = [*borders(series)[rows[edges[:-1]]], series.times[-1] + series.step]
    return [Span(begin, end) for begin, end in pairwise(cuts)]


@dataclass(slots=True)
class _Pupil:
    """Reporter of one fold's training."""

    fold: int
    watcher: Watcher
    broken: list[ModelError] = field(default_factory=list)

    def learn(self, entity: str, raw: RawChannels, spec: ModelSpec, device: str) -> tuple[Fitted, ...] | None:
        """None when the watcher said stop. Raises what `prepare` raises, and TrainingDiverged."""
        case = prepare(entity, raw, spec)
        [learned] = fit([case], case.spec, self, device)
        for error in self.broken:
            raise error
        return learned

    def epoch(self, _: int, epoch: Epoch) -> bool:
        return self.watcher.epoch(self.fold, epoch)

    def alive(self) -> None:
        self.watcher.alive()

    def fitted(self, _: int, __: tuple[Fitted, ...]) -> None:
        """`learn` hands it back."""

    def failed(self, _: int, error: ModelError) -> None:
        self.broken.append(error)


def _of_span(fitted: Fitted, raw: RawChannels, span: Span, alive: Callable[[], None], *, seen: bool) -> list[Fold]:
    """No fold for a span without a row to forecast."""
    if span.begin >= span.end:
        return []
    try:
        return [replace(fold, seen_in_training=seen) for fold in rehearse([fitted], raw, span, alive)]
    except NothingToScore:
        return []


def _seen(fitted: Fitted, fold: Fold) -> Notice:
    detail = (
        f"The version was trained on rows until {stamp(fitted.data_until)}: those from {stamp(fold.first)} to {stamp(fold.last)} tell how "
        "well it learned them, not how well it forecasts, and do not count in `overall`."
    )
    return notice("seen_in_training", detail, origins=fold.origins)


def _left_out(failed: Mapping[int, ModelError]) -> list[Notice]:
    return [notice("fold_left_out", f"Fold {number} was left out: {error.detail}", fold=number) for number, error in failed.items()]


def _noticed(trainings: Sequence[tuple[Fitted, ...]]) -> list[Notice]:
    """What the trainings remarked on; of what several did, the last one's numbers."""
    found = [(fitted.target, one) for learned in trainings for fitted in learned for one in fitted.warnings]
    newest = {(target, one["code"], one.get("channel")): one for target, one in found}
    return list({str(one): one for one in newest.values()}.values())
