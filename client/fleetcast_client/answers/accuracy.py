"""What forecasts were worth once their moments were observed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class RealisedStep(Answer):
    """The same of one step of the horizon."""

    #: Pairs of origin and step whose moment has been observed.
    n: int
    #: Mean absolute error, in the target's unit.
    mae: float | None
    #: The same of these steps on the rows held back from the version's training.
    usual_mae: float | None
    #: The same of the last value known at the origin.
    last_value_mae: float | None
    #: The same of the value a season before; of the last value where there was none.
    season_mae: float | None
    #: 1 minus the error over that of the better of these two.
    skill: float | None
    #: Share of observations inside the interval.
    coverage: float | None
    #: What it should be: the mean of the levels that were asked for.
    level: float | None
    step: int


@dataclass(frozen=True, kw_only=True)
class RealisedVersion(Answer):
    """What the forecasts of one version were worth."""

    #: Pairs of origin and step whose moment has been observed.
    n: int
    #: Mean absolute error, in the target's unit.
    mae: float | None
    #: The same of these steps on the rows held back from the version's training.
    usual_mae: float | None
    #: The same of the last value known at the origin.
    last_value_mae: float | None
    #: The same of the value a season before; of the last value where there was none.
    season_mae: float | None
    #: 1 minus the error over that of the better of these two.
    skill: float | None
    #: Share of observations inside the interval.
    coverage: float | None
    #: What it should be: the mean of the levels that were asked for.
    level: float | None
    version: str
    #: It is the one that serves.
    active: bool
    served_by: str
    #: First moment that was forecast and observed.
    from_: datetime | None
    #: The last one.
    to: datetime | None
    #: Forecasts: one for each last row that one was made from.
    origins: int
    steps: tuple[RealisedStep, ...]


@dataclass(frozen=True, kw_only=True)
class InputDrift(Answer):
    """The newest rows of one channel beside those that the version learned from."""

    channel: str
    #: `unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to compare with.
    verdict: str
    #: Newest rows compared, in whole weeks or seasons, all of them newer than the version.
    rows: int
    #: How many of them tell something of their own: neighbours resemble each other.
    independent: float
    #: Population stability index: from 0.1 on some, from 0.25 on much changed.
    psi: float | None
    #: Kolmogorov–Smirnov distance of the two, 0 to 1.
    ks: float | None
    #: How often chance alone would bring about as much, were nothing different.
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class ErrorDrift(Answer):
    """The latest errors beside those on the rows held back from training."""

    #: `unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to compare with.
    verdict: str
    #: Latest forecasts compared.
    origins: int
    #: How many of them tell something of their own: neighbours resemble each other.
    independent: float
    #: How many times as large they are.
    ratio: float | None
    #: How often chance alone would bring about as much, were nothing different.
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class CoverageDrift(Answer):
    """The share of observations inside the interval beside its level."""

    #: `unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to compare with.
    verdict: str
    #: Latest forecasts looked at.
    origins: int
    #: How many of them tell something of their own: neighbours resemble each other.
    independent: float
    have: float | None
    need: float | None
    #: How often chance alone would bring about as much, were nothing different.
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Drift(Answer):
    """Whether the present is still what the version was made for: the gravest verdict of any test."""

    version: str
    #: `unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to compare with.
    verdict: str
    inputs: tuple[InputDrift, ...]
    errors: ErrorDrift | None
    coverage: CoverageDrift | None


@dataclass(frozen=True, kw_only=True)
class ModelAccuracy(Answer):
    """What the forecasts of a model were worth."""

    entity: str
    target: str
    model: str
    #: Only forecasts of so many days before the newest observation count.
    days: int
    #: Newest first: those that forecast something since observed, and the active one.
    versions: tuple[RealisedVersion, ...]
    #: Null where no version is active.
    drift: Drift | None
