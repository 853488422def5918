"""Drift: what is called, how surely, and how seldom without a cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.drift import DRIFTING, STEADY, UNKNOWN, WARNING, Judgement, Met, Reference, judge
from ml.reference import sample
from tests.support.series import Floats

START = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[[np.random.Generator, int], Floats]


def reference(fit: Floats, season: int = 7, errors: Floats | None = None) -> Reference:
    """Of a daily version that was this far off on its held-back rows."""
    told = np.random.default_rng(9).exponential(1.0, 200) if errors is None else errors
    kept = {"value": sample(fit[len(fit) % season :], season)}
    return Reference(86_400.0, season, 7 * 86_400.0, 28 * 86_400.0, kept, (1.0, 1.0), sample(told))


def counts(known: Reference, values: Floats) -> dict[str, list[list[int]]]:
    """Week by week; rows before the first whole one are left out, unless there is none."""
    weeks = np.split(values[len(values) % 7 :], len(values) // 7) if len(values) >= 7 else [values]
    cuts = known.inputs["value"].cuts
    return {"value": [np.bincount(np.searchsorted(cuts, week, side="right"), minlength=len(cuts) + 1).tolist() for week in weeks]}


def met(errors: Floats, *, inside: float = 0.9, level: float = 0.9, every: timedelta = timedelta(days=1)) -> list[Met]:
    """Daily forecasts of ten steps, each this many times as far off as usual."""
    hits = round(10 * inside)
    return [Met(START + n * every, 10, 10 * float(error), 10.0, hits, 10 * level) for n, error in enumerate(errors)]


def walk(random: np.random.Generator, rows: int) -> Floats:
    return random.standard_normal(rows).cumsum()


def lasting(share: float) -> Make:
    def make(random: np.random.Generator, rows: int) -> Floats:
        found = np.zeros(rows)
        for n, surprise in enumerate(random.standard_normal(rows)):
            found[n] = share * found[n - 1] + surprise
        return found

    return make


def weekly(random: np.random.Generator, rows: int) -> Floats:
    return 5 * np.sin(2 * np.pi * np.arange(rows) / 7) + random.standard_normal(rows)


def yearly(random: np.random.Generator, rows: int) -> Floats:
    return 10 * np.sin(2 * np.pi * np.arange(rows) / 365) + random.standard_normal(rows)


def seldom(random: np.random.Generator, rows: int) -> Floats:
    return (random.random(rows) < 0.05).astype(np.float64)


def noise(random: np.random.Generator, rows: int) -> Floats:
    return random.standard_normal(rows)


def constant(_: np.random.Generator, rows: int) -> Floats:
    return np.full(rows, 3.3)


CALM: dict[str, Make] = {made.__name__: made for made in (noise, weekly, yearly, seldom, walk, constant)} | {
    "a little lasting": lasting(0.5),
    "lasting": lasting(0.9),
    "long lasting": lasting(0.98),
}


def looks(make: Make, seed: int, days: int, change: Callable[[Floats], Floats] = lambda values: values, every: int = 1) -> list[str]:
    """The channel's verdict every so many days after a training on 312 days; `change` is made to what comes after."""
    values = make(np.random.default_rng(seed), 312 + days)
    later = change(values[312:])
    known = reference(values[:200])
    told = [judge(known, counts(known, later[max(0, day - 28) : day]), []) for day in range(7, days + 1, every)]
    return [found.inputs[0].verdict for found in told]


@pytest.mark.parametrize("what", CALM)
def test_what_stays_as_it_was_is_not_called(what: str) -> None:
    """A look every third day for three months, at ten series."""
    assert not any(DRIFTING in looks(CALM[what], seed, 90, every=3) for seed in range(10))


@pytest.mark.slow
@pytest.mark.parametrize("what", CALM)
def test_false_alarms_are_as_seldom_as_is_told(what: str) -> None:
    """A look every other day for half a year, at sixty series of each kind: the figures of docs/models.md."""
    seen = [set(looks(CALM[what], seed, 180, every=2)) for seed in range(100, 160)]
    assert not any(DRIFTING in each for each in seen)
    assert sum(WARNING in each for each in seen) <= 2


@pytest.mark.parametrize(("what", "by", "within"), [("noise", 2.0, 28), ("noise", 4.0, 14), ("weekly", 4.0, 14)])
def test_a_shifted_level_is_called_within_weeks_and_not_before(what: str, by: float, within: int) -> None:
    """In units of the whole deviation: days from the shift to the verdict, of the slowest of ten."""
    slowest = 0
    for seed in range(10):
        size = by * float(CALM[what](np.random.default_rng(seed), 200).std())
        shifted = np.where(np.arange(75) >= 40, size, 0.0)
        told = looks(CALM[what], seed, 75, lambda values, shifted=shifted: values + shifted)
        assert DRIFTING not in told[: 41 - 7], "nothing has happened yet"
        slowest = max(slowest, told.index(DRIFTING) + 7 - 40)
    assert slowest <= within


def test_a_channel_that_stood_still_and_moves_is_called() -> None:
    known = reference(np.full(200, 3.3))
    assert judge(known, counts(known, np.full(28, 3.3)), []).inputs[0].verdict == STEADY
    for moved in (3.2999, 3.3001):
        assert judge(known, counts(known, np.full(28, moved)), []).inputs[0].verdict == DRIFTING


def test_of_too_few_rows_nothing_is_said() -> None:
    known = reference(np.random.default_rng(0).standard_normal(200))
    assert judge(known, {}, []).verdict == UNKNOWN
    assert judge(known, counts(known, np.full(2, 9.0)), []).verdict == UNKNOWN
    assert judge(reference(np.arange(27) % 2.0), counts(known, np.full(7, 9.0)), []).verdict == UNKNOWN, "it saw less than four weeks"
    assert judge(None, {}, met(np.full(50, 9.0))) == Judgement(UNKNOWN)


def test_errors_as_usual_are_steady() -> None:
    """A look after every fifth forecast of three months, at thirty versions."""
    known = reference(np.random.default_rng(0).standard_normal(200))
    called = 0
    for seed in range(30):
        made = met(np.random.default_rng(seed).exponential(1.0, 90))
        called += any(judge(known, {}, made[:upto]).verdict == DRIFTING for upto in range(1, 91, 5))
    assert called <= 1


@pytest.mark.parametrize(("times", "within"), [(2.5, 60), (4.0, 25), (8.0, 14)])
def test_errors_that_grew_are_called(times: float, within: int) -> None:
    known, slowest = reference(np.random.default_rng(0).standard_normal(200)), 0
    for seed in range(10):
        errors = np.random.default_rng(seed).exponential(1.0, 100)
        errors[40:] *= times
        told = [judge(known, {}, met(errors[:upto])).verdict for upto in range(1, 101)]
        assert DRIFTING not in told[:40]
        slowest = max(slowest, told.index(DRIFTING) + 1 - 40)
    assert slowest <= within


def test_the_ratio_is_of_all_that_is_recent() -> None:
    """Policies that train again ask for it: a few bad days among sixty are no trend."""
    known = reference(np.random.default_rng(0).standard_normal(200))
    errors = np.concatenate([np.full(52, 0.6), np.full(8, 9.0)])
    found = judge(known, {}, met(errors))
    assert found.errors is not None
    assert found.errors.ratio == pytest.approx(9.0)
    assert found.error_ratio == pytest.approx(errors.mean())


def test_errors_that_shrank_are_no_drift() -> None:
    known = reference(np.random.default_rng(0).standard_normal(200))
    found = judge(known, {}, met(np.full(40, 0.1), inside=1.0))
    assert found.verdict == STEADY
    assert found.errors is not None
    assert found.errors.ratio == pytest.approx(0.1)


@pytest.mark.parametrize(("inside", "verdict"), [(1.0, STEADY), (0.9, STEADY), (0.8, STEADY), (0.7, WARNING), (0.4, DRIFTING)])
def test_too_few_truths_inside_are_called(inside: float, verdict: str) -> None:
    known = reference(np.random.default_rng(0).standard_normal(200))
    found = judge(known, {}, met(np.random.default_rng(1).exponential(1.0, 30), inside=inside))
    assert found.coverage is not None
    assert (found.coverage.verdict, found.coverage.need) == (verdict, pytest.approx(0.9))


def test_forecasts_that_share_their_truths_count_for_less() -> None:
    """Hourly ones of a version whose neighbouring errors are the same for a day: thirty of them are one and a quarter."""
    known = replace(reference(np.zeros(200)), step_s=3600.0)
    held = replace(known, errors=known.errors and replace(known.errors, apart=24.0))
    found = judge(held, {}, met(np.full(30, 9.0), every=timedelta(hours=1)))
    assert found.errors is not None
    assert (found.errors.verdict, found.errors.independent) == (UNKNOWN, pytest.approx(1.25))
    daily = judge(held, {}, met(np.full(30, 9.0)))
    assert daily.errors is not None
    assert (daily.errors.verdict, daily.errors.independent) == (DRIFTING, 30)


def test_a_verdict_is_json_and_a_reference_is_read_back_as_it_was() -> None:
    known = reference(np.random.default_rng(0).standard_normal(200))
    assert Reference.from_dict(json.loads(json.dumps(known.as_dict()))) == known
    assert Reference.from_dict(known.as_dict() | {"of a newer release": 1}) == known
    told = judge(known, counts(known, np.full(28, 9.0)), met(np.full(30, 9.0))).as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["inputs"][0]["chance"] == float(f"{told['inputs'][0]['chance']:.4g}")
