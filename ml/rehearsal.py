"""The mind's dress rehearsal: one network forecasts a span that it has not seen, origin by origin, beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from ml.answers import READ_AT_ONCE, answers, origins_of, served
from ml.baselines import NAIVE
from ml.errors import UnusableData
from ml.features import calendar
from ml.fitted import Case, Fitted
from ml.grid import regularise
from ml.metrics import mase_scale
from ml.series import Floats, Parts, RawChannels, Rows, Series, Times, instant, moment
from ml.spec import ModelSpec
from ml.stamps import stamp
from ml.tally import Tally, figures, plain, tally
from ml.windows import Origins, futures

#: The forecaster that would have answered: the blend, or a baseline where too few rows were held back to find one.
SERVED = "served"
#: Rows at the end of a span that are kept to be drawn.
MOST_SHOWN = 240


class NothingToScore(UnusableData):
    """No row of a span can be forecast."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows to forecast: those from `begin` on and before `end`."""

    begin: np.datetime64
    end: np.datetime64


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Truth beside what was served: a forecast of all steps, then the one made where it ends. (R,) each, NaN where there is none."""

    at: tuple[datetime, ...]
    truth: Floats
    forecast: Floats
    lower: Floats
    upper: Floats

    def as_dict(self) -> dict[str, Any]:
        numbers = {name: plain(getattr(self, name)) for name in ("truth", "forecast", "lower", "upper")}
        return {"at": [stamp(at) for at in self.at], **numbers}


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One target over one span."""

    #: The last row that was there to learn from.
    learned_until: datetime
    #: First and last row forecast.
    first: datetime
    last: datetime
    origins: int
    served_by: str
    #: forecaster, `served` among them -> sums over its forecasts
    tallies: Mapping[str, Tally]
    trace: Trace
    #: From 1, as they were cut: one that was left out leaves a gap.
    number: int = 1
    #: The training had these rows: the network learned from some, and by others it was chosen.
    seen_in_training: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "fold": self.number,
            "learned_until": stamp(self.learned_until),
            "from": stamp(self.first),
            "to": stamp(self.last),
            "origins": self.origins,
            "seen_in_training": self.seen_in_training,
            "served_by": self.served_by,
            "scores": figures(self.tallies),
        }


def rehearse(fitted: Sequence[Fitted], raw: RawChannels, span: Span, alive: Callable[[], None]) -> list[Fold]:
    """One fold per target of one network, each pair of origin and step inside the span. No row from its end on is read, of the past.

    `fitted` share their network. Raises NothingToScore where a target has no row to be scored by, and what `regularise` raises.
    """
    case, part = _stage(fitted[0], raw, span)
    found = origins_of(case, part)
    # Origins before the last row that was there to learn from are left out: the network has seen what came after them.
    late = found.rows >= part.start - 1
    asked = Origins(found.rows[late], found.counted[late])
    return [_fold(case, one, asked, tallies) for one, tallies in zip(fitted, _sums(case, fitted, asked, alive), strict=True)]


def before(raw: RawChannels, spec: ModelSpec, end: np.datetime64, ahead: np.timedelta64) -> RawChannels:
    """The rows before a moment; of the known-future covariates those `ahead` of it, too."""

    def kept(name: str) -> Any:
        times, values = (np.asarray(each) for each in raw[name])
        known = times.astype("datetime64[ms]") < (end + ahead if name in spec.future_covariates else end)
        return times[known], values[known]

    return {name: kept(name) for name in raw}


def borders(series: Series) -> Times:
    """(T,) the first moment of each row's cell: what comes before it falls into an earlier one."""
    return series.times - series.step // 2


def _stage(fitted: Fitted, raw: RawChannels, span: Span) -> tuple[Case, slice]:
    """The rows before the span's end as the network sees them, and those of them that the span holds."""
    spec = fitted.spec
    seen = before(raw, spec, span.end, (spec.horizon + 1) * fitted.step)
    short, _ = regularise(fitted.entity, seen, replace(spec, cadence_s=fitted.step_s))
    cut = int(np.searchsorted(borders(short), span.begin))
    parts = Parts(slice(0, cut), slice(cut, cut), slice(cut, cut), slice(cut, len(short)))
    series = _lengthened(short, spec)
    values, phases = series.matrix(spec.inputs), calendar(series.until(spec.horizon), fitted.season)
    return Case(series, spec, parts, fitted.season, fitted.scaler, values, phases, ()), parts.test


def _lengthened(series: Series, spec: ModelSpec) -> Series:
    """The same with the rows of a horizon behind its end, of which only what is known ahead is there."""
    blank = np.full(spec.horizon, np.nan)
    ahead = {name: series.ahead.get(name, blank) for name in series.channels}
    return replace(
        series,
        channels={name: np.concatenate([cells, ahead[name]]) for name, cells in series.channels.items()},
        observed={name: np.concatenate([seen, np.isfinite(ahead[name])]) for name, seen in series.observed.items()},
    )


def _sums(case: Case, fitted: Sequence[Fitted], asked: Origins, alive: Callable[[], None]) -> list[dict[str, Tally]]:
    """Per target what the errors of each forecaster add up to, some origins at a time."""
    names = (case.spec.network, *NAIVE)
    sums = [dict.fromkeys((*names, SERVED), Tally.none(case.spec.horizon)) for _ in fitted]
    scales = [_scale(case, one) for one in fitted]
    at_once = max(1, READ_AT_ONCE // case.spec.window)
    for low in range(0, len(asked), at_once):
        some = Origins(asked.rows[low : low + at_once], asked.counted[low : low + at_once])
        guesses = {name: answers(name, case, fitted[0].network, some.rows) for name in names}  # (N, K, H) each
        for one, scale, held in zip(fitted, scales, sums, strict=True):
            found = _tallies(case, one, some, {name: guess[:, one.column] for name, guess in guesses.items()}, scale)
            held.update({name: held[name] + more for name, more in found.items()})
        alive()
    return sums


def _tallies(case: Case, fitted: Fitted, asked: Origins, guesses: Mapping[str, Floats], scale: float | None) -> dict[str, Tally]:
    """`guesses` are (N, H). Only what is served has intervals."""
    level, counted = fitted.spec.level, asked.counted[:, fitted.column]
    truth = futures(case.targets[:, [fitted.column]], asked.rows, fitted.spec.horizon)[:, 0]
    half = fitted.half_widths(level, case.series.times[asked.rows])  # (N, H)
    found = {name: tally(truth, guess, counted, scale) for name, guess in guesses.items()}
    said = _served(case, fitted, asked, guesses)
    return found | {SERVED: tally(truth, said, counted, scale, half, level)}


def _served(case: Case, fitted: Fitted, asked: Origins, guesses: Mapping[str, Floats]) -> Floats:
    """(N, H), from guesses in hand."""
    if fitted.blend is None:
        return guesses[fitted.served_by]
    return fitted.blend.of(guesses[fitted.spec.network], case.targets[:, fitted.column], asked.rows, case.season.steps)


def _scale(case: Case, fitted: Fitted) -> float | None:
    """The in-sample error of the rows that the training had."""
    learned = int(np.searchsorted(case.series.times, instant(fitted.data_until), side="right"))
    column = fitted.column
    return mase_scale(case.targets[:, column], case.observed[:, column], learned, case.season.steps)


def _fold(case: Case, fitted: Fitted, asked: Origins, tallies: Mapping[str, Tally]) -> Fold:
    told, times = asked.counted[:, fitted.column].any(axis=1), case.series.times
    origins, counted = asked.rows[told], asked.counted[told, fitted.column]  # (N,), (N, H)
    if not len(origins):
        raise NothingToScore(f"No row of {fitted.target} there can be forecast: none was observed, or the windows before have gaps.")
    first, last = origins + 1 + counted.argmax(axis=1), origins + counted.shape[1] - counted[:, ::-1].argmax(axis=1)
    rows = slice(int(first.min()), int(last.max()) + 1)
    return Fold(
        learned_until=fitted.data_until,
        first=moment(times[rows.start]),
        last=moment(times[rows.stop - 1]),
        origins=len(origins),
        served_by=fitted.served_by,
        tallies=tallies,
        trace=_trace(case, fitted, origins, rows),
    )


def _trace(case: Case, fitted: Fitted, origins: Rows, rows: slice) -> Trace:
    column, horizon = fitted.column, fitted.spec.horizon
    shown = slice(max(rows.start, rows.stop - MOST_SHOWN), rows.stop)
    near = origins[origins >= shown.start - horizon]
    picked = near[np.unique((near - near[0]) // horizon, return_index=True)[1]]
    ahead = picked[:, None] + 1 + np.arange(horizon)  # (P, H)
    said = served(fitted, case, picked)
    forecast, width = np.full((2, len(case.values) + horizon), np.nan)
    forecast[ahead], width[ahead] = said, fitted.half_widths(fitted.spec.level, case.series.times[picked])
    forecast, width = forecast[shown], width[shown]
    truth = np.where(case.observed[shown, column], case.targets[shown, column], np.nan)
    at = tuple(moment(time) for time in case.series.times[shown])
    return Trace(at, truth, forecast, forecast - width, forecast + width)
