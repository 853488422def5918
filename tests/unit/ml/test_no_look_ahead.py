"""No look-ahead, from raw rows to weights and answers: for every recipe and both networks, with covariates that are known ahead."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.answers import answers, origins_of, seen_from
from ml.baselines import NAIVE
from ml.blend import PARTS, Blend
from ml.course import Course, StopPart
from ml.evaluation import judge
from ml.features import Scaler
from ml.fitted import Case
from ml.lessons import Lesson, lesson
from ml.linear import Linear
from ml.readiness import Coverage
from ml.recipes import RECIPES
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from tests.support.series import Raw, times
from tests.unit.ml.doubles import NETWORKS, Diary, same, spoiled, started

ROWS, HORIZON = 120, 3
EVERY = pytest.mark.parametrize(("recipe", "network"), [(recipe, network) for recipe in RECIPES for network in NETWORKS])


@cache
def spec_of(recipe: str, network: str) -> ModelSpec:
    """The recipe's own spec, for an entity that has most it reads; small, and with a covariate known ahead."""
    preset = RECIPES[recipe]
    held = [*preset.targets, *preset.covariates[:3], *([preset.available] if preset.available else [])]
    small = {"network": network, "hidden_size": 8, "num_layers": 1, "epochs": 2, "window": 8, "horizon": HORIZON}
    target = None if preset.targets else "value"
    return preset.resolve(target, {name: Coverage(ROWS, ROWS) for name in held}, small | {"future_covariates": ["promo"]})


@cache
def raw_of(recipe: str) -> Raw:
    """Rows of every channel read: what is known ahead is longer, past covariates have holes, some rows do not count."""
    spec, random = spec_of(recipe, "lstm"), np.random.default_rng(7)
    stamps, raw = times(ROWS + HORIZON, spec.cadence_s or 3_600), {}
    for name in spec.channels:
        values = 50 + np.cumsum(random.standard_normal(ROWS + HORIZON))
        if name in spec.covariates:
            values[random.random(len(values)) < 0.1] = np.nan
        if name == spec.available:
            values = (random.random(len(values)) > 0.1) | (np.arange(len(values)) == 0)
        length = ROWS + HORIZON * (name in spec.future_covariates)
        raw[name] = (stamps[:length], values[:length].astype(np.float64))
    return raw


@cache
def case_of(recipe: str, network: str) -> Case:
    return prepare("one", raw_of(recipe), spec_of(recipe, network))


def changed(recipe: str, after: int, known: int = 0) -> Raw:
    """Other numbers from a row on, and `known` rows later of what is known ahead; what counts stays, so that the parts do."""
    spec, random, other = spec_of(recipe, "lstm"), np.random.default_rng(8), {}
    for name, (stamps, values) in raw_of(recipe).items():
        fresh, begin = 500 + 300 * random.random(len(values)), after + known * (name in spec.future_covariates)
        other[name] = (stamps, np.where((np.arange(len(values)) >= begin) & (name != spec.available), fresh, values))
    return other


def an_origin(case: Case, number: int) -> int:
    rows = origins_of(case, slice(0, len(case.series))).rows
    return int(rows[number % len(rows)])


def garbage(case: Case, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    found = 1e3 * random.standard_normal(case.values.shape)
    return np.where(random.random(found.shape) < 0.2, np.nan, found)


def past(case: Case) -> int:
    """The number of channels that are not known ahead; they come first."""
    return len(case.spec.inputs) - len(case.spec.future_covariates)


@cache
def line_of(recipe: str, network: str) -> Linear:
    return learned_line(case_of(recipe, network))


def learned_line(case: Case) -> Linear:
    """Of the first target."""
    blend = judge(case, started(case.spec))[0].blend
    assert blend is not None
    assert blend.linear is not None
    return blend.linear


def all_answers(case: Case, row: int) -> list[np.ndarray]:
    network = started(case.spec)
    return [answers(name, case, network, np.array([row])) for name in (case.spec.network, *NAIVE)]


def blended_answer(case: Case, row: int, line: Linear) -> np.ndarray:
    """Of the first target, every part with a share."""
    said = answers(case.spec.network, case, started(case.spec), np.array([row]))[:, 0]
    return Blend(dict.fromkeys(PARTS, 1 / len(PARTS)), 50.0, line).of(said, case.targets[:, 0], np.array([row]), case.season.steps)


@EVERY
@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(deadline=None, max_examples=6)
def test_no_row_after_an_origin_and_none_before_its_window_is_seen(recipe: str, network: str, number: int, seed: int) -> None:
    """But for what is known ahead, within the horizon."""
    case = case_of(recipe, network)
    row, first = an_origin(case, number), past(case)
    values, other = case.values.copy(), garbage(case, seed)
    values[row + 1 :, :first] = other[row + 1 :, :first]
    values[row + 1 + HORIZON :, first:] = other[row + 1 + HORIZON :, first:]
    values[: row - case.spec.window + 1, first:] = other[: row - case.spec.window + 1, first:]
    values[: row - case.spec.window + 1, len(case.spec.targets) : first] = 9.0
    (one, ahead), (two, ahead_too) = (seen_from(known, np.array([row])) for known in (case, spoiled(case, values)))
    for name in ("inputs", "last", "deviation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(ahead, ahead_too)
    for here, there in zip(all_answers(case, row), all_answers(spoiled(case, values), row), strict=True):
        np.testing.assert_array_equal(here, there)
    line = line_of(recipe, network)
    np.testing.assert_array_equal(*(blended_answer(known, row, line) for known in (case, spoiled(case, values))))


@EVERY
def test_what_is_known_ahead_moves_the_network_and_no_baseline(recipe: str, network: str) -> None:
    """What makes the test above one of no look-ahead and not of blindness."""
    case = case_of(recipe, network)
    row, values = an_origin(case, 40), case.values.copy()
    values[row + 1 : row + 1 + HORIZON, past(case) :] += 5.0
    moved = [not np.array_equal(*pair) for pair in zip(all_answers(case, row), all_answers(spoiled(case, values), row), strict=True)]
    assert moved == [True, False, False]


@EVERY
def test_rows_after_the_fit_part_change_neither_scaler_nor_lesson_nor_any_weight_learned(recipe: str, network: str) -> None:
    """The stop part chooses among the epochs; what each of them learned it cannot change."""
    one = case_of(recipe, network)
    two = prepare("one", changed(recipe, one.parts.fit.stop), one.spec)
    assert (one.parts, one.season, one.spec) == (two.parts, two.season, two.spec)
    assert not np.array_equal(one.values[one.parts.fit.stop :], two.values[one.parts.fit.stop :], equal_nan=True)
    for field in dataclasses.fields(Scaler):
        np.testing.assert_array_equal(getattr(one.scaler, field.name), getattr(two.scaler, field.name))
    for field in dataclasses.fields(Lesson):
        here, there = (getattr(lesson(case), field.name) for case in (one, two))
        assert np.array_equal(here, there, equal_nan=field.name == "futures"), field.name
    courses = [Course(case.spec, lesson(case), [StopPart(case)], Diary(), "cpu") for case in (one, two)]
    losses = [[course.run().train_loss for _ in (1, 2)] for course in courses]
    assert losses[0] == losses[1]
    assert same(*(course.network.state_dict() for course in courses))
    assert courses[0].progress.history[-1].stop_loss != courses[1].progress.history[-1].stop_loss
    assert learned_line(one).as_dict() == learned_line(two).as_dict()


@EVERY
def test_rows_after_the_calibrate_part_choose_nothing(recipe: str, network: str) -> None:
    """Weights, shares of what serves and whether intervals know phases are those of a history with another end; reports and widths differ.

    The last rows of the calibrate part are forecast knowing a horizon of what is known ahead: that much of it is left.
    """
    one = case_of(recipe, network)
    two = prepare("one", changed(recipe, one.parts.test.start, known=HORIZON), one.spec)
    [ours], [theirs] = (fit([case], case.spec, Diary()) for case in (one, two))
    assert ours is not None
    assert theirs is not None
    for here, there in zip(ours, theirs, strict=True):
        assert same(here.network.state_dict(), there.network.state_dict())
        assert here.blend is not None
        assert there.blend is not None
        assert (here.served_by, here.blend.as_dict()) == (there.served_by, there.blend.as_dict())
        assert (here.intervals.phases is None) == (there.intervals.phases is None)
        for name, parts in here.scores.items():
            assert parts["calibrate"].mae == there.scores[name]["calibrate"].mae
            assert parts["test"].mae != there.scores[name]["test"].mae
