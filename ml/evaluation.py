"""The mind's judgement: who serves, how well, and whether a version may become active by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml.baselines import NAIVE, PERSISTENCE, naive_forecast
from ml.features import look
from ml.fitted import LSTM, Case, Fitted, moment
from ml.intervals import BASELINE_ROWS, IntervalTable, conformal, growth_of
from ml.metrics import Scores, coverage, mase_scale, score, winkler, with_skill
from ml.networks import DirectLstm, forecast_windows
from ml.recipes import Gate
from ml.series import Bools, Floats, Notice, Rows, notice
from ml.windows import Origins, futures, gather, origins

#: Rows of the calibrate part forecast below which it cannot tell a network from luck: the baseline serves.
JUDGING_ROWS = 8
#: Skill on the calibrate part above which the network serves: below it a baseline that cannot break is the better bargain.
LEAST_SKILL = 0.01
#: Rows read in one pass (origins × window): bounds memory and the time between two signs of life, not results.
READ_AT_ONCE = 50_000


def _silent() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """One part, answered by every forecaster at the same N origins."""

    rows: Origins
    #: (N, H), NaN where no row is
    truth: Floats
    #: forecaster -> (N, H)
    guesses: dict[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the held-back rows say of one trained network."""

    served_by: str
    #: forecaster -> part -> scores
    scores: dict[str, dict[str, Scores]]
    intervals: IntervalTable
    warnings: tuple[Notice, ...]


def judge(case: Case, network: DirectLstm, *, trained: bool, alive: Callable[[], None] = _silent) -> Judgement:
    """Score all forecasters on the calibrate and test parts, choose who serves by the former alone, and measure its intervals.

    `trained` False: early stopping found no epoch better than the last value, so the network is out. `alive` is called every second or so.
    """
    parts = {"calibrate": case.parts.calibrate, "test": case.parts.test}
    sheets = {name: answer(case, network, part, alive) for name, part in parts.items()}
    scale = mase_scale(case.target, case.observed, case.parts.test.start, case.season.steps)
    scores = {part: _scores(sheet, scale) for part, sheet in sheets.items()}
    served_by, warnings = _choose(case, scores["calibrate"], sheets["calibrate"].rows.forecast_rows, trained)
    table = _intervals(case, sheets, served_by)
    if table.is_pooled(case.spec.level):
        warnings.append(
            notice("intervals_pooled", f"{table.rows} held-back rows are too few for each step: the steps share them.", rows=table.rows)
        )
    for part, sheet in sheets.items():
        scores[part][served_by] = _with_interval(scores[part][served_by], sheet, served_by, table, case.spec.level)
    by_forecaster = {name: {part: scores[part][name] for part in scores} for name in (LSTM, *NAIVE)}
    return Judgement(served_by, by_forecaster, table, tuple(warnings))


def answer(case: Case, network: DirectLstm, part: slice, alive: Callable[[], None] = _silent) -> Sheet:
    """Let every forecaster forecast the part."""
    rows = origins_of(case, part)
    guesses = {name: answers(name, case, network, rows.rows, alive) for name in (LSTM, *NAIVE)}
    return Sheet(rows, futures(case.target, rows.rows, case.spec.horizon), guesses)


def origins_of(case: Case, part: slice) -> Origins:
    return origins(case.known, case.observed, part, case.spec.window, case.spec.horizon)


def answers(name: str, case: Case, network: DirectLstm, origin_rows: Rows, alive: Callable[[], None] = _silent) -> Floats:
    """(N, H) what the named forecaster says after each origin row, exactly as it is served."""
    if name != LSTM:
        return naive_forecast(name, case.target, origin_rows, case.spec.horizon, case.season.steps)
    window, said = case.spec.window, [np.zeros((0, case.spec.horizon))]
    at_once = max(1, READ_AT_ONCE // window)
    for low in range(0, len(origin_rows), at_once):
        starts = origin_rows[low : low + at_once] - window + 1
        view = look(gather(case.values, starts, window), gather(case.phases, starts, window), case.scaler, window / 2)
        said.append(forecast_windows(network, view))
        alive()
    return np.concatenate(said)


def compare(incumbent: Fitted, challenger: Fitted, case: Case) -> dict[str, Any]:
    """Both as they serve, on the same rows: the challenger's calibrate part, over the steps both forecast.

    `ratio` is challenger / incumbent mean absolute error. `comparable` is False, with a `reason`, where the incumbent reads channels the
    case does not hold or another cadence. `incumbent_saw` says that the incumbent had learned from some of these rows.
    """
    reason = _incomparable(incumbent, case)
    if reason:
        return {"comparable": False, "reason": reason}
    ours, steps = origins_of(case, case.parts.calibrate), min(incumbent.spec.horizon, challenger.spec.horizon)
    both = ours.rows >= incumbent.spec.window - 1
    rows, counted = ours.rows[both], ours.counted[both, :steps]
    truth = futures(case.target, rows, steps)
    new = answers(challenger.served_by, case, challenger.network, rows)[:, :steps]
    old = answers(incumbent.served_by, _as_case(incumbent, case), incumbent.network, rows)[:, :steps]
    have, had = score(truth, new, counted, None).mae, score(truth, old, counted, None).mae
    if have is None or had is None:
        return {"comparable": False, "reason": "no held-back row can be forecast by both"}
    start = case.series.times[case.parts.calibrate.start]
    return {
        "comparable": True,
        "rows": int(counted.any(axis=1).sum()),
        "challenger": {"mae": have, "served_by": challenger.served_by},
        "incumbent": {"mae": had, "served_by": incumbent.served_by},
        "ratio": have / had if had > 0 else (1.0 if have == 0 else None),
        "incumbent_saw": incumbent.fit_until > moment(start),
    }


def gate(fitted: Fitted, need: Gate, comparison: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """May this version become active by itself? Skill on the calibrate part, and not much worse than the incumbent on the same rows.

    `production_ready` is a label from the test part, and decides nothing; None for recipes that state no thresholds.
    """
    # A serving baseline is the best one by definition, whatever the few calibrate rows say.
    skill = fitted.scores[LSTM]["calibrate"].skill if fitted.served_by == LSTM else 0.0
    checks = [_check("skill", skill, need.min_skill, met=skill is not None and skill >= need.min_skill)]
    if comparison is not None and comparison["comparable"]:
        most = 1 + need.incumbent_tolerance
        ratio = comparison["ratio"]
        checks.append(_check("incumbent_ratio", ratio, most, met=ratio is not None and ratio <= most))
    return {"passed": all(check["met"] for check in checks), "checks": checks, "production_ready": _production_ready(fitted, need)}


def _check(name: str, have: float | None, need: float, *, met: bool) -> dict[str, Any]:
    return {"name": name, "have": have, "need": need, "met": met}


def _production_ready(fitted: Fitted, need: Gate) -> bool | None:
    if need.production_r2 is None or need.production_mape is None:
        return None
    test = fitted.scores[fitted.served_by]["test"]
    if test.r2 is None or test.mape is None:
        return False
    return test.r2 > need.production_r2 and test.mape < need.production_mape


def _incomparable(incumbent: Fitted, case: Case) -> str | None:
    absent = [name for name in incumbent.spec.inputs if name not in case.series.channels]
    if absent:
        return f"the incumbent reads {', '.join(absent)}"
    if incumbent.target != case.spec.targets[0]:
        return f"the incumbent forecasts {incumbent.target}"
    if incumbent.step != case.series.step:
        return f"the incumbent's cadence is {incumbent.step_s:g} s"
    return None


def _as_case(incumbent: Fitted, case: Case) -> Case:
    """The same rows as the incumbent sees them."""
    values = case.series.matrix(incumbent.spec.inputs)
    return replace(case, spec=incumbent.spec, scaler=incumbent.scaler, season=incumbent.season, values=values)


def _scores(sheet: Sheet, scale: float | None) -> dict[str, Scores]:
    found = {name: score(sheet.truth, guess, sheet.rows.counted, scale) for name, guess in sheet.guesses.items()}
    return with_skill(found, NAIVE)


def _choose(case: Case, scores: Mapping[str, Scores], held: int, trained: bool) -> tuple[str, list[Notice]]:
    """The network where it beats every baseline on a calibrate part large enough to tell; else the better baseline."""
    naive = _best_naive(case)
    if held < JUDGING_ROWS:
        detail = f"{held} held-back rows cannot tell the network from luck (at least {JUDGING_ROWS}): {naive} serves."
        return naive, [notice("too_few_to_judge", detail, rows=held, need=JUDGING_ROWS)]
    skill = scores[LSTM].skill
    if trained and skill is not None and skill > LEAST_SKILL:
        return LSTM, []
    return naive, [notice("baseline_serves", f"The network did not beat the baselines on held-back rows: {naive} serves.", served_by=naive)]


def _best_naive(case: Case) -> str:
    """The better baseline over more rows than the calibrate part: they learned nothing, so all rows before the test part are held back."""
    residuals = {name: _naive_residuals(name, case, _baseline_rows(case))[0] for name in NAIVE}
    return min(NAIVE, key=lambda name: float(np.nansum(np.abs(residuals[name]))))


def _naive_residuals(name: str, case: Case, part: slice) -> tuple[Floats, Bools]:
    """(N, H) truth minus forecast, NaN where not counted; and which are counted."""
    rows = origins_of(case, part)
    guess = naive_forecast(name, case.target, rows.rows, case.spec.horizon, case.season.steps)
    truth = futures(case.target, rows.rows, case.spec.horizon)
    return np.where(rows.counted, truth - guess, np.nan), rows.counted


def _intervals(case: Case, sheets: Mapping[str, Sheet], served_by: str) -> IntervalTable:
    """Half-widths from rows held back from the serving forecaster, and how often the test part fell inside them."""
    calibrate, test = sheets["calibrate"], sheets["test"]
    if served_by == LSTM:
        residuals, counted = calibrate.truth - calibrate.guesses[LSTM], calibrate.rows.counted
    else:
        residuals, counted = _naive_residuals(served_by, case, _baseline_rows(case))
    half, pooled = conformal(residuals, counted, _growth(case))
    covered = tuple(coverage(test.truth, test.guesses[served_by], width, test.rows.counted) for width in half)
    return IntervalTable(half, covered, int(counted.any(axis=1).sum()), pooled)


def _baseline_rows(case: Case) -> slice:
    end = case.parts.test.start
    return slice(max(0, min(case.parts.calibrate.start, end - BASELINE_ROWS)), end)


def _growth(case: Case) -> Floats:
    """How the last value's error grows with the step, over all rows before the calibrate part."""
    residuals, counted = _naive_residuals(PERSISTENCE, case, slice(0, case.parts.calibrate.start))
    return growth_of(residuals, counted, 1e-3 * float(case.scaler.scale[0]))


def _with_interval(found: Scores, sheet: Sheet, name: str, table: IntervalTable, level: float) -> Scores:
    half, guess, counted = table.half_width(level), sheet.guesses[name], sheet.rows.counted
    return replace(found, coverage=coverage(sheet.truth, guess, half, counted), winkler=winkler(sheet.truth, guess, half, counted, level))
