"""The mind's second thoughts: is the present still what a version was made for? Its inputs, its errors, its intervals, each by a test.

Plain numbers; imports no numeric library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any, Self, TypeVar

from ml.distances import Sample, ks_chance, ks_distance, mean_rank, psi, rank_chance, tail_chance, together
from ml.formats import known

STEADY, WARNING, DRIFTING, UNKNOWN = "steady", "warning", "drifting", "unknown"
#: From the least telling to the gravest.
VERDICTS = (UNKNOWN, STEADY, WARNING, DRIFTING)

#: Shares of what is recent that are looked at, each by itself: a sudden change shows in a part first, a small one in the whole only.
LOOKS = (8, 4, 2, 1)
#: How often chance alone may bring a verdict about, over all tests of a model at one time: they share it evenly (Bonferroni).
WARNING_CHANCE, DRIFTING_CHANCE = 3e-2, 3e-3
#: The usual reading of the population stability index (Siddiqi 2006).
WARNING_PSI, DRIFTING_PSI = 0.1, 0.25
#: Recent errors over the usual ones from which a difference, however sure, is worth a word.
WARNING_RATIO, DRIFTING_RATIO = 1.2, 1.5
#: The same of truths outside their interval beyond those allowed.
WARNING_SHORT, DRIFTING_SHORT = 0.05, 0.1
#: How many times as many rows a channel's sample must have as are held against it: who saw fewer than four weeks cannot say how weeks
#: differ. Of 300 hourly series of M4 whose fit part was two of them, 88 were called drifting without this.
FEWEST_STRETCHES = 4
#: Independent origins looked at, the latest ones.
RECENT_ORIGINS = 60
#: Significant digits told.
DIGITS = 4

Part = TypeVar("Part")
Finding = TypeVar("Finding", "InputDrift", "ErrorDrift", "CoverageDrift")


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version's inputs and errors were like while it was made."""

    step_s: float
    #: Rows of one season, the lag of the seasonal naive forecast.
    season_steps: int
    #: Inputs are compared over whole stretches of `block_s`, and over `window_s` at most.
    block_s: float
    window_s: float
    #: By channel.
    inputs: Mapping[str, Sample]
    #: (H,) mean absolute error by step.
    by_step: tuple[float, ...]
    #: Of each origin its absolute errors over those of `by_step`; None where there was no origin.
    errors: Sample | None

    def as_dict(self) -> dict[str, Any]:
        """JSON form, which `db.realised` reads too."""
        inputs = {name: sample.as_dict() for name, sample in self.inputs.items()}
        scalars = {name: getattr(self, name) for name in ("step_s", "season_steps", "block_s", "window_s")}
        return scalars | {"inputs": inputs, "by_step": list(self.by_step), "errors": self.errors and self.errors.as_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        inputs = {name: Sample.from_dict(sample) for name, sample in stored["inputs"].items()}
        errors = stored["errors"] and Sample.from_dict(stored["errors"])
        return cls(**known(cls, stored) | {"inputs": inputs, "errors": errors, "by_step": tuple(stored["by_step"])})


@dataclass(frozen=True, slots=True)
class Met:
    """A forecast as far as it met what happened: sums over its steps whose truth is known."""

    origin: datetime
    #: Steps.
    n: int
    #: Absolute errors, and what the version's usual ones are at these steps.
    error: float
    usual: float
    #: Truths inside the interval, and the levels of the interval.
    inside: int
    level: float


@dataclass(frozen=True, slots=True)
class InputDrift:
    """One channel, the newest rows beside those learned from."""

    channel: str
    verdict: str
    rows: int
    independent: float
    psi: float | None = None
    ks: float | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class ErrorDrift:
    """The latest forecasts' errors beside those of the test part. `ratio`: how many times as large."""

    verdict: str
    origins: int
    independent: float
    ratio: float | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class CoverageDrift:
    """Truths inside the interval beside the level that was promised."""

    verdict: str
    origins: int
    independent: float
    have: float | None = None
    need: float | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gravest verdict of any test; `unknown` where none could have told anything."""

    verdict: str
    inputs: tuple[InputDrift, ...] = ()
    errors: ErrorDrift | None = None
    coverage: CoverageDrift | None = None
    #: Of all that is recent, whichever part of it decided: a handful of forecasts is off by a half now and then.
    error_ratio: float | None = None

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = _told(asdict(self))
        return told


def judge(reference: Reference | None, counts: Mapping[str, Sequence[Sequence[int]]], met: Sequence[Met]) -> Judgement:
    """Hold the present against the reference.

    `counts`: of each channel the newest rows, stretch by stretch of `block_s`, newest last, counted in the bins of its sample. `met`:
    the forecasts that met what happened. A version without a reference is `unknown`: it was made by a release that kept none.
    """
    if reference is None:
        return Judgement(UNKNOWN)
    share = 1 / (len(LOOKS) * (len(reference.inputs) + 2))
    inputs = tuple(_input(name, sample, counts.get(name, ()), share) for name, sample in reference.inputs.items())
    latest, each = _latest(reference, met)
    looked = [_errors(reference.errors, part, len(part) / each, share) for part in _parts(latest)]
    errors = _gravest(looked)
    coverage = _gravest([_coverage(part, len(part) / each, share) for part in _parts(latest)])
    gravest = max((*(found.verdict for found in inputs), errors.verdict, coverage.verdict), key=VERDICTS.index)
    return Judgement(gravest, inputs, errors, coverage, looked[-1].ratio)


def _parts(recent: Sequence[Part]) -> list[Sequence[Part]]:
    """The newest eighth, quarter, half and the whole, as far as they differ."""
    sizes = sorted({math.ceil(len(recent) / look) for look in LOOKS})
    return [recent[len(recent) - size :] for size in sizes]


def _gravest(found: Sequence[Finding]) -> Finding:
    """By verdict, then by how little chance explains it; of those of which nothing can be said, the last, which knows most."""
    return max(reversed(found), key=lambda each: (VERDICTS.index(each.verdict), -(1.0 if each.chance is None else each.chance)))


def _input(channel: str, sample: Sample, blocks: Sequence[Sequence[int]], share: float) -> InputDrift:
    bins = [[sum(column) for column in zip(*part, strict=True)] for part in _parts(blocks)]
    return _gravest([_counted(channel, sample, counts, share) for counts in bins])


def _counted(channel: str, sample: Sample, counts: Sequence[int], share: float) -> InputDrift:
    rows = sum(counts)
    independent = together(sample.independent, rows / sample.apart)
    told = 0 < FEWEST_STRETCHES * rows <= sample.rows
    if not told or ks_chance(1.0, independent) > WARNING_CHANCE * share:  # no distance, however great, would say anything
        return InputDrift(channel, UNKNOWN, rows, rows / sample.apart)
    moved, distance = psi(sample, counts), ks_distance(sample, counts)
    chance = ks_chance(distance, independent)
    verdict = _verdict(chance / share, (moved >= WARNING_PSI, moved >= DRIFTING_PSI))
    return InputDrift(channel, verdict, rows, rows / sample.apart, moved, distance, chance)


def _latest(reference: Reference, met: Sequence[Met]) -> tuple[list[Met], float]:
    """The latest forecasts worth RECENT_ORIGINS independent ones, and how many of them are worth one.

    Forecasts one row apart share most of their truths; `apart` says how many rows lie between two that share little.
    """
    ordered = sorted(met, key=lambda each: each.origin)
    if len(ordered) < 2 or reference.errors is None:
        return ordered, 1.0
    between_s = median((b.origin - a.origin).total_seconds() for a, b in pairwise(ordered))
    each = max(1.0, reference.errors.apart * reference.step_s / max(between_s, reference.step_s))
    return ordered[-round(RECENT_ORIGINS * each) :], each


def _errors(sample: Sample | None, latest: Sequence[Met], independent: float, share: float) -> ErrorDrift:
    worth = 0.0 if sample is None else together(sample.independent, independent)
    if sample is None or not latest or rank_chance(1.0, worth) > WARNING_CHANCE * share:
        return ErrorDrift(UNKNOWN, len(latest), independent)
    ratio = sum(each.error for each in latest) / sum(each.usual for each in latest)
    chance = rank_chance(mean_rank(sample, (each.error / each.usual for each in latest)), worth)
    verdict = _verdict(chance / share, (ratio >= WARNING_RATIO, ratio >= DRIFTING_RATIO))
    return ErrorDrift(verdict, len(latest), independent, ratio, chance)


def _coverage(latest: Sequence[Met], independent: float, share: float) -> CoverageDrift:
    """Too few truths inside only: an interval that is too wide is a waste, and no drift."""
    pairs = sum(each.n for each in latest)
    need = sum(each.level for each in latest) / pairs if pairs else 0.0
    if not pairs or (1 - need) ** int(independent) > WARNING_CHANCE * share:
        return CoverageDrift(UNKNOWN, len(latest), independent)
    have = sum(each.inside for each in latest) / pairs
    chance = tail_chance((1 - have) * independent, independent, 1 - need)
    verdict = _verdict(chance / share, (need - have >= WARNING_SHORT, need - have >= DRIFTING_SHORT))
    return CoverageDrift(verdict, len(latest), independent, have, need, chance)


def _verdict(chance: float, large: tuple[bool, bool]) -> str:
    """Sure and large, both: thousands of rows make the smallest difference sure, a handful make any look large."""
    if chance <= DRIFTING_CHANCE and large[1]:
        return DRIFTING
    return WARNING if chance <= WARNING_CHANCE and large[0] else STEADY


def _told(value: Any) -> Any:
    """With every number to DIGITS digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _told(member) for name, member in value.items()}
    return [_told(member) for member in value] if isinstance(value, (list, tuple)) else value
