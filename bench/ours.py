"""The test bench's only door to `ml`: a series made a question, and our answer to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.question import Question
from ml.answers import answers, origins_of, served
from ml.errors import ModelError
from ml.evaluation import baseline_intervals
from ml.fitted import Case, Epoch, Fitted
from ml.intervals import IntervalTable
from ml.metrics import mase_scale
from ml.series import Floats, RawChannels
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from ml.windows import futures

#: Forecasters by the names they have here: whatever network a spec asks for is `network`.
NETWORK, LAST, SEASONAL, SERVED = "network", "persistence", "seasonal_naive", "served"
#: Interval levels that are looked at.
LEVELS = (0.8, 0.9, 0.95)
#: A training counts as done when its stop loss is this near to its final best.
NEAR = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """How one level's intervals did on the test part."""

    coverage: float
    #: Mean Winkler score in units of the MASE scale.
    winkler: float


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """One training of ours."""

    #: forecaster -> (N, H); `served` is what is served
    forecasts: Mapping[str, Floats]
    #: The network's share of what is served; 0 where a baseline serves.
    share: float
    #: Training, judging and intervals together.
    seconds: float
    cpu_seconds: float
    #: Until the last epoch had ended: what others call training.
    learning_cpu_seconds: float
    #: Share of the epochs' time after which the stop loss was near its final best.
    near_after: float
    #: level -> of what serves
    served: Mapping[float, Interval]
    #: level -> of the last value, by tables made in the same way
    last: Mapping[float, Interval]


class Loud:
    """A reporter that remembers the last it heard and lets nothing fail quietly."""

    heard: tuple[int, object] | None = None
    #: CPU seconds of this process at the end of the last epoch.
    learned_at = 0.0

    def epoch(self, member: int, epoch: Epoch) -> bool:
        self.heard, self.learned_at = (member, epoch), time.process_time()
        return True

    def alive(self) -> None: ...

    def fitted(self, member: int, fitted: tuple[Fitted, ...]) -> None: ...

    def failed(self, member: int, error: ModelError) -> None:
        self.heard = (member, error)
        raise error


def ask(set_name: str, series: str, raw: RawChannels, spec: ModelSpec) -> tuple[Case, Question]:
    """The series as we prepare it, and its first target as everybody is asked it."""
    case = prepare(series, raw, spec)
    pairs, values = origins_of(case, case.parts.test).of(0), case.targets[:, 0]
    scale = mase_scale(values, case.observed[:, 0], case.parts.test.start, case.season.steps)
    assert scale is not None
    return case, Question(
        set=set_name,
        series=series,
        values=values,
        fit_until=case.parts.fit.stop,
        test_from=case.parts.test.start,
        origins=pairs.rows,
        counted=pairs.counted,
        truth=futures(case.targets, pairs.rows, spec.horizon)[:, 0],
        scale=scale,
        season=case.season.steps,
        window=case.spec.window,
        hidden_size=spec.hidden_size,
        num_layers=spec.num_layers,
        dropout=spec.dropout,
    )


def ours(case: Case, question: Question) -> Ours:
    """Train one network of ours and forecast every test origin. Raises TrainingDiverged."""
    began, began_cpu = time.perf_counter(), time.process_time()
    [learned] = fit([case], case.spec, loud := Loud())
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    assert learned is not None
    fitted = learned[0]
    forecasts = {name: _said(name, case, fitted, question) for name in (NETWORK, LAST, SEASONAL)}
    forecasts[SERVED] = served(fitted, case, question.origins)
    share = fitted.blend.shares[NETWORK] if fitted.blend else 0.0
    tables = (fitted.intervals, baseline_intervals(case, 0, LAST))
    ours, last = ({level: _interval(table, level, question) for level in LEVELS} for table in tables)
    return Ours(forecasts, share, seconds, cpu_seconds, loud.learned_at - began_cpu, near_after(fitted.history), ours, last)


def _said(name: str, case: Case, fitted: Fitted, question: Question) -> Floats:
    """(N, H) of the first target."""
    known_as = case.spec.network if name == NETWORK else name
    return answers(known_as, case, fitted.network, question.origins)[:, 0]


def near_after(history: tuple[Epoch, ...]) -> float:
    """Share of the epochs' time until the best stop loss so far came within 1 % of the final best."""
    spent = np.cumsum([epoch.seconds for epoch in history])
    best = np.minimum.accumulate([min(epoch.stop_loss, 1.0) for epoch in history])
    return float(spent[np.flatnonzero(best <= NEAR * best[-1])[0]] / spent[-1])


def _interval(table: IntervalTable, level: float, question: Question) -> Interval:
    """As the product measures it: by tables that knew at each origin what was known then."""
    covered, scored = table.measured(level), table.scored(level)
    assert covered is not None
    assert scored is not None
    return Interval(covered, scored / question.scale)
