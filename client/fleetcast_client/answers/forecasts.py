"""Forecasts, and what-ifs beside a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Shares(Answer):
    """What each part of a blend weighs; together 1."""

    #: What was learned.
    network: float
    #: A weighted sum of the last rows; older forecasts do not tell it.
    linear: float | None = None
    #: The last value, and what was added there in the last seasons, on average.
    seasonal_change: float
    #: The mean of the rows learned from; far beyond them, the last value.
    usual_level: float
    #: The last value.
    persistence: float


@dataclass(frozen=True, kw_only=True)
class Served(Answer):
    """Who made the baseline; model and version stand beside it."""

    kind: str
    shares: Shares | None = None


@dataclass(frozen=True, kw_only=True)
class ServedBy(Served):
    """Who made the forecast."""

    model: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Point(Answer):
    """One step, in the target's unit."""

    at: datetime
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class History(Answer):
    """What the forecast is compared with: the last thirty days, or those there are."""

    average: float
    #: Standard deviation of those observations.
    deviation: float
    #: Of the mean forecast among those observations.
    percentile: float
    #: Looked back on; thirty, or as many as there are.
    days: float
    #: Observations behind these figures.
    rows: int


@dataclass(frozen=True, kw_only=True)
class Notice(Answer):
    """Something worth knowing that stopped nothing. Besides the two members it holds the numbers of its sentence."""

    code: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Baseline(Answer):
    """A forecast as the model says it."""

    target: str
    #: The last observation: the first point is one step after it.
    data_until: datetime
    horizon: int
    #: Time between points (ISO 8601).
    step: str
    served_by: Served
    #: 1 minus the error over that of the best naive baseline, on rows never learned from.
    skill: float | None
    points: tuple[Point, ...]
    #: Share of truths that the intervals are to hold.
    level: float
    #: Share that they did hold, on rows never learned from.
    measured_coverage: float | None
    history: History
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, kw_only=True)
class Forecast(Baseline):
    """Values with intervals over a horizon."""

    served_by: ServedBy
    entity: str
    #: Of the target, as its channel tells it.
    unit: str | None
    made_at: datetime
    #: One or two plain sentences that say what `history` and the channel's `direction` say. Never advice.
    interpretation: str
    #: It was made for an earlier request.
    cached: bool
    #: Until when it is served from the cache.
    cache_expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StoredForecast(Forecast):
    """The newest forecast that was made, and whether it would be made so today."""

    #: Newer observations came, another version serves, or it is older than forecasts are kept for: ask anew.
    stale: bool


@dataclass(frozen=True, kw_only=True)
class Sent(Answer):
    """The rows of a forecast in a sink."""

    #: Of the sink.
    name: str
    #: One for each step.
    rows: int
    #: Key of the version that made them, in both tables.
    model_id: str


@dataclass(frozen=True, kw_only=True)
class ForecastResult(Answer):
    """What a prediction brought."""

    forecast: Forecast
    #: Where it was asked to go besides.
    sink: Sent | None = None


@dataclass(frozen=True, kw_only=True)
class UsedValue(Answer):
    """What the model read at one step, of the past or ahead; null where nothing was observed."""

    at: datetime
    value: float | None


@dataclass(frozen=True, kw_only=True)
class OutOfSupport(Answer):
    """A change that asks for values the model never learned from."""

    channel: str
    #: Least value learned from.
    low: float
    #: Greatest value learned from.
    high: float
    #: Values outside.
    rows: int
    #: The one farthest outside.
    farthest: float
    #: They were brought back to the range.
    clamped: bool


@dataclass(frozen=True, kw_only=True)
class ScenarioForecast(Answer):
    """One scenario beside the baseline."""

    name: str
    points: tuple[Point, ...]
    #: Scenario minus baseline, for each step.
    delta: tuple[float, ...]
    mean_delta: float
    #: By channel: the values actually read where it changed.
    used: Mapping[str, tuple[UsedValue, ...]]
    out_of_support: tuple[OutOfSupport, ...]
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, kw_only=True)
class WhatIfResult(Answer):
    """What a what-if brought: every scenario beside the baseline, from one pass."""

    entity: str
    served_by: ServedBy
    #: Left out with `include_baseline: false`.
    baseline: Baseline | None = None
    scenarios: tuple[ScenarioForecast, ...]
    #: Which way of the target is better.
    direction: str | None
    #: Name of a scenario; null without a direction, or where all agree.
    best: str | None
    #: Name of a scenario; null without a direction, or where all agree.
    worst: str | None
    warnings: tuple[Notice, ...]
