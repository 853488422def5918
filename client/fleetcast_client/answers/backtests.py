"""Backtests: how a recipe or a version would have done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class BacktestSteps(Answer):
    """The same of each step of the horizon; null for a step without such a number, and in place of a list of nothing but those."""

    #: Pairs.
    n: tuple[int, ...]
    #: Mean absolute error.
    mae: tuple[float | None, ...] | None
    #: Root of the mean squared error.
    rmse: tuple[float | None, ...] | None
    #: In units of the seasonal naive forecast's error on the rows learned from.
    mase: tuple[float | None, ...] | None
    #: Against the baseline that is best at that step.
    skill: tuple[float | None, ...] | None
    #: Share of truths inside the interval; of `served` alone.
    coverage: tuple[float | None, ...] | None
    #: Interval score: less is better; of `served` alone.
    winkler: tuple[float | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class BacktestScores(Answer):
    """Errors of one forecaster over all steps; null where there is no such number."""

    #: Pairs of origin and step.
    n: int
    mae: float | None
    rmse: float | None
    mase: float | None
    #: 1 minus the error over that of the best naive baseline.
    skill: float | None
    #: Share of truths inside the interval; of `served` alone.
    coverage: float | None
    #: Interval score: less is better; of `served` alone.
    winkler: float | None
    metrics_per_step: BacktestSteps


@dataclass(frozen=True, kw_only=True)
class BacktestForecasters(Answer):
    """The network under its family's name, the naive baselines, and what would have been served, on the same pairs."""

    lstm: BacktestScores | None = None
    seq2seq: BacktestScores | None = None
    persistence: BacktestScores
    seasonal_naive: BacktestScores
    served: BacktestScores


@dataclass(frozen=True, kw_only=True)
class BacktestFold(Answer):
    """Rows that one training forecast, or that the version did."""

    fold: int
    #: The last row that the training had.
    learned_until: datetime
    #: The first row forecast.
    from_: datetime
    #: The last row forecast.
    to: datetime
    #: Rows after which a forecast was made.
    origins: int
    #: The version's training had these rows: they are no part of `overall`.
    seen_in_training: bool
    #: Who would have answered.
    served_by: str
    scores: BacktestForecasters


@dataclass(frozen=True, kw_only=True)
class BacktestOverall(Answer):
    """All folds together, but for rows that the training had."""

    folds: int
    origins: int
    scores: BacktestForecasters


@dataclass(frozen=True, kw_only=True)
class BacktestTrace(Answer):
    """The end of the last fold, row by row: what happened, and what was served. Null where there is none of it."""

    at: tuple[datetime, ...]
    #: What was observed.
    truth: tuple[float | None, ...]
    #: What was served: a forecast of all steps, then the one made where that ends.
    forecast: tuple[float | None, ...]
    #: Of its interval.
    lower: tuple[float | None, ...]
    #: Of its interval.
    upper: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class BacktestTarget(Answer):
    """What the backtest says of one target."""

    target: str
    folds: tuple[BacktestFold, ...]
    overall: BacktestOverall
    trace: BacktestTrace


@dataclass(frozen=True, kw_only=True)
class BacktestResult(BacktestTarget):
    """What a backtest brought: of the first target, and in `others` of those that the same network forecasts."""

    entity: str
    recipe: str | None
    #: Null of a recipe: what was trained was not kept.
    model: str | None
    version: str | None
    horizon: int
    #: Time between rows (ISO 8601).
    step: str
    #: Share of truths that the intervals are to hold.
    level: float
    others: tuple[BacktestTarget, ...]
