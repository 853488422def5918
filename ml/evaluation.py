"""The mind's judgement: every forecaster answers the held-back rows, and the best of them serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ml.answers import Sheet, answer, judged_of, origins_of, silent
from ml.baselines import NAIVE, PERSISTENCE, naive_forecast
from ml.blend import BLEND, PRIOR, Blend, find_shares
from ml.conformal import rise_of
from ml.features import phase_of
from ml.fitted import Case
from ml.following import BASELINE_ROWS, RECENT, Held, follow
from ml.intervals import IntervalTable
from ml.linear import blank, fit_linear
from ml.metrics import Scores, mase_scale, score, with_skill
from ml.networks import Network
from ml.phases import PHASES, SEASONS_SEEN, is_sharper, usual_by_phase
from ml.seasons import CHANGES, within
from ml.series import Bools, Floats, Notice, notice
from ml.windows import Pairs, futures

#: Rows held back below which nothing can tell a network from luck: a baseline serves.
JUDGING_ROWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the held-back rows say of one target of one trained network."""

    served_by: str
    blend: Blend | None
    #: forecaster -> part -> scores
    scores: dict[str, dict[str, Scores]]
    intervals: IntervalTable
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One target of a case."""

    case: Case
    index: int

    @property
    def name(self) -> str:
        return self.case.spec.targets[self.index]

    @property
    def values(self) -> Floats:
        return self.case.values[:, self.index]

    @property
    def observed(self) -> Bools:
        return self.case.series.observed[self.name]

    def pairs(self, part: slice) -> Pairs:
        return origins_of(self.case, part).of(self.index)

    def judged(self, part: slice) -> Pairs:
        return judged_of(self.case, part).of(self.index)

    def held(self, pairs: Pairs, guess: Floats) -> Held:
        """How far (N, H) guesses were off, and when."""
        truth = futures(self.values[:, None], pairs.rows, self.case.spec.horizon)[:, 0]
        phases = phase_of(self.case.series.times[pairs.rows], self.case.season, min(PHASES, self.case.season.steps))
        return Held(pairs.rows, truth - guess, pairs.counted, phases)

    def naive_held(self, name: str, part: slice) -> Held:
        pairs = self.pairs(part)
        return self.held(pairs, naive_forecast(name, self.values, pairs.rows, self.case.spec.horizon, self.case.season.steps))


def judge(case: Case, network: Network, alive: Callable[[], None] = silent) -> tuple[Judgement, ...]:
    """Per target: find what serves on the stop and calibrate parts, score all on the calibrate and test parts, measure the intervals.

    `alive` is called every second or so.
    """
    sheets = answer(case, network, slice(case.parts.stop.start, case.parts.test.stop), alive)
    return tuple(_judge(_Column(case, k), sheet, alive) for k, sheet in enumerate(sheets))


def _judge(column: _Column, sheet: Sheet, alive: Callable[[], None]) -> Judgement:
    """`sheet` is of the stop, calibrate and test parts as one: no origin is answered twice."""
    case, parts = column.case, column.case.parts
    blend, warnings = _blend(column, sheet.at(column.judged(slice(parts.stop.start, parts.calibrate.stop))), alive)
    served_by = BLEND if blend else _best_naive(column)
    judged = _with_blend(column, sheet, blend)
    scale = mase_scale(column.values, column.observed, parts.test.start, case.season.steps)
    scores = {name: _scores(judged.at(column.judged(getattr(parts, name))), scale) for name in ("calibrate", "test")}
    table = _intervals(column, judged, served_by, alive)
    if table.is_pooled(case.spec.level):
        detail = f"{table.rows} held-back rows of {column.name} are too few for each step: the steps share them."
        warnings.append(notice("intervals_pooled", detail, rows=table.rows))
    level, found = case.spec.level, scores["test"][served_by]
    scores["test"][served_by] = replace(found, coverage=table.measured(level), winkler=table.scored(level))
    by_forecaster = {name: {part: scores[part][name] for part in scores} for name in scores["test"]}
    return Judgement(served_by, blend, by_forecaster, table, tuple(warnings))


def _blend(column: _Column, held: Sheet, alive: Callable[[], None]) -> tuple[Blend | None, list[Notice]]:
    """Shares by the rows held back from the network; None where they are too few to tell it from luck."""
    rows, case = held.rows.forecast_rows, column.case
    if rows < JUDGING_ROWS:
        detail = f"{rows} held-back rows cannot tell the network from luck (at least {JUDGING_ROWS}): a baseline serves {column.name}."
        return None, [notice("too_few_to_judge", detail, rows=rows, need=JUDGING_ROWS)]
    draft = _draft(column, alive)
    guesses = draft.guesses(held.guesses[case.spec.network], column.values, held.rows.rows, case.season.steps)
    return replace(draft, shares=find_shares(guesses, held.truth, held.rows.counted, rows, alive)), []


def _draft(column: _Column, alive: Callable[[], None]) -> Blend:
    """All of a blend but its shares, from the fit part, as the network."""
    case, k = column.case, column.index
    pairs, known = column.pairs(case.parts.fit), column.values[: case.parts.fit.stop]
    learned = known[np.isfinite(known)]
    level, season = float(learned.mean()), case.season.steps
    spread = float(case.scaler.spread[k] * case.scaler.scale[k])
    linear = fit_linear(known, pairs.rows, pairs.counted, blank(case.spec.window, case.spec.horizon, spread), season, alive)
    return Blend(PRIOR, level, linear, float(np.abs(learned - level).max()), within(CHANGES, season))


def _with_blend(column: _Column, sheet: Sheet, blend: Blend | None) -> Sheet:
    if blend is None:
        return sheet
    said = blend.of(sheet.guesses[column.case.spec.network], column.values, sheet.rows.rows, column.case.season.steps)
    return replace(sheet, guesses=sheet.guesses | {BLEND: said})


def _scores(sheet: Sheet, scale: float | None) -> dict[str, Scores]:
    found = {name: score(sheet.truth, guess, sheet.rows.counted, scale) for name, guess in sheet.guesses.items()}
    return with_skill(found, NAIVE)


def _best_naive(column: _Column) -> str:
    """The better baseline over more rows than the calibrate part: they learned nothing, so all rows before the test part are held back."""
    parts = column.case.parts
    rows = slice(max(0, min(parts.calibrate.start, parts.test.start - BASELINE_ROWS)), parts.test.start)
    held = {name: column.naive_held(name, rows) for name in NAIVE}
    return min(NAIVE, key=lambda name: float(np.abs(held[name].errors[held[name].counted]).sum()))


def _intervals(column: _Column, sheet: Sheet, served_by: str, alive: Callable[[], None] = silent) -> IntervalTable:
    """From the latest rows held back from the serving forecaster; measured by tables made the same way at each stage of the test part.

    The stop part, which ended the training, is among those of a blend: on short histories the calibrate part alone is a handful of rows.
    """
    (growth, shape), parts = _usual(column), column.case.parts
    if served_by == BLEND:
        held = column.held(sheet.rows, sheet.guesses[BLEND])
    else:
        first = max(0, min(parts.calibrate.start, parts.test.start - RECENT))
        held = column.naive_held(served_by, slice(first, parts.test.stop))
    phases = _phases(column, sheet.at(column.judged(parts.calibrate)), served_by, growth)
    return follow(held, growth, parts.test, phases, alive, shape)


def baseline_intervals(case: Case, target: int, name: str) -> IntervalTable:
    """The intervals that a baseline would be served with, made as those of what serves are: what these must be no worse than."""
    column = _Column(case, target)
    pairs = column.pairs(case.parts.calibrate)
    said = naive_forecast(name, column.values, pairs.rows, case.spec.horizon, case.season.steps)
    truth = futures(column.values[:, None], pairs.rows, case.spec.horizon)[:, 0]
    return _intervals(column, Sheet(pairs, truth, {name: said}), name)


def _phases(column: _Column, calibrate: Sheet, served_by: str, growth: Floats) -> Floats | None:
    """(P, H) how the usual error differs by phase, where that made sharper intervals on the calibrate part.

    The network's own errors on earlier rows are those of what it learned by heart: the last value's show where the season is hard.
    """
    case = column.case
    before, number = case.parts.calibrate.start, min(PHASES, case.season.steps)
    if number == 1 or before < SEASONS_SEEN * case.season.steps:
        return None
    telling = PERSISTENCE if served_by == BLEND else served_by
    usual = usual_by_phase(column.naive_held(telling, slice(0, before)), number)
    return usual if is_sharper(column.held(calibrate.rows, calibrate.guesses[served_by]), usual, growth) else None


def _usual(column: _Column) -> tuple[Floats, Floats]:
    """How the last value's error grows with the step, (H,), and with the level, (50,), over all rows before the calibrate part."""
    past = column.naive_held(PERSISTENCE, slice(0, column.case.parts.calibrate.start))
    return rise_of(past.errors, past.counted, 1e-3 * float(column.case.scaler.scale[column.index]))
