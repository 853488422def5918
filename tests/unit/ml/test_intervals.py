"""Split conformal intervals: the finite-sample rank, coverage where it can be known, wider never narrower, and no look ahead."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.conformal import conformal, growth_of, independent, residuals_needed, rise_of
from ml.following import RECENT, Held, follow
from ml.intervals import LEVELS, IntervalTable
from ml.metrics import interval_score
from ml.phases import PHASE_ORIGINS, is_sharper, usual_by_phase


def table(residuals: np.ndarray, counted: np.ndarray | None = None) -> IntervalTable:
    counted = np.ones_like(residuals, dtype=bool) if counted is None else counted
    half, pooled = conformal(residuals, counted, growth_of(residuals, counted, 1e-9))
    return IntervalTable(half, (None,) * len(LEVELS), len(residuals), pooled)


def held(errors: np.ndarray, phases: int = 1) -> Held:
    rows = np.arange(len(errors))
    return Held(rows, errors, np.ones_like(errors, dtype=bool), rows % phases)


def walk(random: np.random.Generator, rows: int, horizon: int) -> np.ndarray:
    """(N, H) errors of the last value on a random walk: neighbours overlap."""
    values = np.cumsum(random.standard_normal(rows + horizon))
    return np.stack([values[step : rows + step] - values[:rows] for step in range(1, horizon + 1)], axis=1)


@pytest.mark.parametrize(("level", "need"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_residuals_needed(level: float, need: int) -> None:
    assert residuals_needed(level) == need


def test_the_finite_sample_rank_by_hand() -> None:
    """19 residuals 1..19: at 90 % the ⌈20·0.9⌉ = 18th, at 95 % the 19th."""
    found = table(np.arange(1.0, 20)[:, None])
    assert found.half_width(0.9).tolist() == [18.0]
    assert found.half_width(0.95).tolist() == [19.0]
    assert found.pooled_from == 0.96


@pytest.mark.parametrize("rows", [9, 19, 50, 200])
def test_coverage_is_at_least_nominal_and_not_much_more(rows: int) -> None:
    """Trap T10: checked by drawing, over many calibrations."""
    random = np.random.default_rng(rows)
    inside = []
    for _ in range(400):
        half = table(random.standard_normal((rows, 1))).half_width(0.9)
        inside.append((np.abs(random.standard_normal((20, 1))) <= half).mean())
    assert 0.885 <= float(np.mean(inside)) <= 0.9 + 1 / (rows + 1) + 0.015


def test_overlapping_errors_count_for_fewer() -> None:
    """Errors seven steps ahead from 60 neighbouring origins: ranked as if they were 60 they would cover 85 %."""
    random = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        errors = walk(random, 60, 7)
        fresh = np.stack([walk(random, 1, 7)[0] for _ in range(20)])
        inside.append((np.abs(fresh) <= table(errors).half_width(0.9)).mean(axis=0))
    by_step = np.mean(inside, axis=0)
    assert by_step[0] == pytest.approx(0.9, abs=0.015)
    assert by_step[-1] > 0.87
    assert independent(np.array([60, 60, 60, 60])).tolist() == pytest.approx([60, 42.43, 34.64, 30], abs=0.01)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)))
@settings(deadline=None, max_examples=25)
def test_widths_rise_with_the_level_and_are_finite(residuals: np.ndarray) -> None:
    growth = growth_of(residuals, np.ones_like(residuals, dtype=bool), 1e-9)
    for half in (table(residuals).half, follow(held(residuals), growth, slice(len(residuals) // 2, len(residuals))).half):
        assert np.isfinite(half).all()
        assert (np.diff(half, axis=0) >= 0).all()
        assert (half >= 0).all()


def test_a_level_between_two_gets_the_wider() -> None:
    found = table(np.random.default_rng(0).standard_normal((99, 1)))
    assert found.half_width(0.905).tolist() == found.half_width(0.91).tolist()
    assert found.half_width(0.9).tolist() != found.half_width(0.91).tolist()


def test_few_rows_pool_the_steps_in_units_of_their_growth() -> None:
    found = table(np.tile([1.0, 3.0], (6, 1)))
    assert found.is_pooled(0.9)
    assert not found.is_pooled(0.8)
    # Six rows of two steps count for (6 + 6/√2) / 2 = 5.12 and bound at most 84 %: the greatest, wider as a normal tail is.
    assert found.half_width(0.9) == pytest.approx(np.array([1.0, 3.0]) * np.sqrt(np.log(10) / np.log(6.121)), rel=1e-3)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("rows", [1, 3, 12, 30])
def test_fewer_rows_are_wider_never_narrower(rows: int, level: float) -> None:
    residuals = np.random.default_rng(1).standard_normal((240, 3))
    few = np.mean([table(residuals[start : start + rows]).half_width(level).mean() for start in range(0, 240, rows)])
    assert few > table(residuals).half_width(level).mean()


def test_steps_without_any_residual_still_get_a_width() -> None:
    counted = np.ones((12, 2), dtype=bool)
    counted[:, 1] = False
    half = table(np.ones((12, 2)), counted).half_width(0.9)
    assert (half >= 1).all()
    empty = table(np.zeros((0, 2))).half_width(0.9)
    assert (empty > 0).all()


def test_each_table_on_the_way_is_a_sign_of_life() -> None:
    errors, beats = np.random.default_rng(0).standard_normal((600, 2)), []
    followed = follow(held(errors), np.ones(2), slice(300, 600), None, lambda: beats.append(1))
    assert len(beats) > 20, "the longest step of a judgement is not silent"
    assert followed.as_dict() == follow(held(errors), np.ones(2), slice(300, 600)).as_dict()


def test_nothing_held_back_is_said_to_be_nothing() -> None:
    found = follow(held(np.zeros((0, 2))), np.ones(2), slice(0, 5))
    assert (found.rows, found.measured(0.9), found.scored(0.9), found.is_pooled(0.5)) == (0, None, None, True)
    assert (found.half > 0).all()


@pytest.mark.parametrize("horizon", [1, 6])
def test_what_was_measured_is_nominal_where_nothing_changes(horizon: int) -> None:
    errors = np.random.default_rng(2).standard_normal((1_500, horizon))
    found = follow(held(errors), np.ones(horizon), slice(500, 1_500))
    for level in (0.8, 0.9, 0.95):
        assert found.measured(level) == pytest.approx(level, abs=0.02)
        half = found.half_width(level)
        assert (np.abs(np.random.default_rng(3).standard_normal((5_000, horizon))) <= half).mean() == pytest.approx(level, abs=0.03)


def test_the_table_follows_what_changes() -> None:
    """Errors twice as large from the test part on: a table of the calibrate part alone covers 59 %."""
    errors = np.random.default_rng(4).standard_normal((1_500, 2))
    errors[300:] *= 2
    half, _ = conformal(errors[:300], np.ones((300, 2), dtype=bool), np.ones(2))
    found = follow(held(errors), np.ones(2), slice(300, 1_500))
    assert (np.abs(errors[300:]) <= half[LEVELS.index(0.9)]).mean() < 0.65
    assert found.measured(0.9) == pytest.approx(0.9, abs=0.025)
    assert found.half_width(0.9) == pytest.approx(3.29, rel=0.15)


def test_a_sudden_calm_narrows_it() -> None:
    errors = np.random.default_rng(5).standard_normal((900, 1))
    errors[400:] /= 3
    found = follow(held(errors), np.ones(1), slice(400, 900))
    assert found.half_width(0.9)[0] < 1.0
    assert 0.9 < found.measured(0.9) < 0.98  # type: ignore[operator]


@given(st.integers(1, 3), st.integers(5, 12), st.integers(1, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_no_error_is_used_before_its_truth_is_known(horizon: int, start: int, length: int, seed: int) -> None:
    """What lies after the test part changes nothing of its measure; and where a single row is measured, with errors of 0, the Winkler
    score is the width itself: nothing known at that row or later has touched it."""
    random = np.random.default_rng(seed)
    past = held(random.standard_normal((start + length + 8, horizon)))
    growth, test = np.ones(horizon), slice(start, start + length)
    later = past.resolved >= test.stop
    garbled = dataclasses.replace(past, errors=np.where(later, 1e6, past.errors))
    assert follow(past, growth, test).covered == follow(garbled, growth, test).covered
    assert follow(past, growth, test).winkler == follow(garbled, growth, test).winkler
    row = slice(test.stop - 1, test.stop)
    calm, wild = (dataclasses.replace(past, errors=np.where(past.resolved >= row.start, size, past.errors)) for size in (0.0, 1e6))
    widths = np.array(follow(calm, growth, row).winkler, dtype=float)
    outside = np.array(follow(wild, growth, row).winkler, dtype=float)
    assert outside == pytest.approx(widths + 2 / (1 - np.array(LEVELS)) * (1e6 - widths / 2), rel=1e-9)


def test_what_is_known_at_the_last_row_is_used() -> None:
    errors = np.ones((60, 1))
    errors[-30:] = 5.0
    assert follow(held(errors), np.ones(1), slice(50, 61)).half_width(0.5)[0] >= 5.0
    assert follow(held(errors), np.ones(1), slice(20, 30)).half_width(0.5)[0] <= 1.0


def test_it_rests_on_the_latest_rows_only() -> None:
    errors = np.concatenate([np.full((100, 1), 1e6), np.random.default_rng(6).standard_normal((RECENT, 1))])
    found = follow(held(errors), np.ones(1), slice(500, len(errors) + 1))
    assert found.rows == RECENT
    assert found.half_width(0.99)[0] < 4 * np.e


def test_too_few_for_a_rank_are_never_narrowed() -> None:
    """Six calm rows say nothing against the width of a 95 % interval."""
    errors = np.array([[3.0], [0.1], [0.1], [0.1], [0.1], [0.1], [0.1], [0.1]])
    found = follow(held(errors), np.ones(1), slice(2, 8))
    assert found.half_width(0.95)[0] == pytest.approx(3.0 * np.sqrt(np.log(20) / np.log(9)))


def by_phase(random: np.random.Generator, rows: int, quiet: float) -> Held:
    """Errors of a plant: one half of its day is quiet."""
    found = held(random.standard_normal((rows, 2)), phases=8)
    return dataclasses.replace(found, errors=np.where(found.phases[:, None] < 4, quiet, 1.0) * found.errors)


def test_a_quiet_phase_is_narrow_and_a_loud_one_wide() -> None:
    random = np.random.default_rng(7)
    usual = usual_by_phase(by_phase(random, 800, 0.0), 8)
    assert usual.shape == (8, 2)
    assert (usual[1:3] < 0.1).all()
    assert (usual[5:7] > 1.5).all()
    past = by_phase(random, 400, 0.0)
    assert is_sharper(past, usual, np.ones(2))
    found = follow(past, np.ones(2), slice(200, 400), usual)
    assert found.half_width(0.9, 1).max() < 0.1 * found.half_width(0.9, 6).min()
    assert found.half_width(0.9, np.array([1, 6])).tolist() == [found.half_width(0.9, phase).tolist() for phase in (1, 6)]
    assert found.measured(0.9) == pytest.approx(0.9, abs=0.03)
    plain = follow(past, np.ones(2), slice(200, 400))
    assert found.scored(0.9) < 0.8 * plain.scored(0.9)  # type: ignore[operator]
    assert plain.half_width(0.9, 1).tolist() == plain.half_width(0.9).tolist()


def test_phases_that_tell_nothing_are_left_out() -> None:
    random = np.random.default_rng(8)
    usual = usual_by_phase(by_phase(random, 800, 1.0), 8)
    assert usual == pytest.approx(1.0, abs=0.25)
    assert not is_sharper(by_phase(random, 400, 1.0), usual, np.ones(2))
    assert not is_sharper(by_phase(random, PHASE_ORIGINS - 1, 0.0), usual_by_phase(by_phase(random, 800, 0.0), 8), np.ones(2))


@pytest.mark.parametrize("phases", [None, np.random.default_rng(1).random((4, 3))])
def test_json_and_back_to_the_bit(phases: np.ndarray | None) -> None:
    past = held(np.random.default_rng(0).standard_normal((60, 3)), phases=4)
    found = follow(past, np.ones(3), slice(30, 60), phases)
    again = IntervalTable.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    assert again.half.tolist() == found.half.tolist()
    assert (again.covered, again.winkler, again.rows, again.pooled_from) == (found.covered, found.winkler, found.rows, found.pooled_from)
    assert again.half_width(0.9, 2).tolist() == found.half_width(0.9, 2).tolist()


def laplace(seed: int, rows: int, horizon: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).laplace(size=(rows, horizon))


def shaped(residuals: np.ndarray, shape: np.ndarray) -> np.ndarray:
    counted = np.ones_like(residuals, dtype=bool)
    return conformal(residuals, counted, growth_of(residuals, counted, 1e-9), shape)[0]


SHAPE = rise_of(laplace(0, 200), np.ones((200, 1), dtype=bool), 1e-9)[1]


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)))
@settings(deadline=None, max_examples=25)
def test_a_shape_makes_high_levels_narrower_or_leaves_them(residuals: np.ndarray) -> None:
    plain, found = table(residuals).half, shaped(residuals, SHAPE)
    assert (found <= plain).all()
    assert (np.diff(found, axis=0) >= 0).all()
    assert np.array_equal(found, plain) or len(residuals) > 1, "of one residual nothing is borne twice over"


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_fewer_rows_are_wider_with_a_shape_too(level: float) -> None:
    at, errors = LEVELS.index(level), laplace(1, 240)
    few = np.mean([shaped(errors[start : start + 12], SHAPE)[at, 0] for start in range(0, 240, 12)])
    assert few > shaped(errors, SHAPE)[at, 0]


def test_twelve_rows_and_a_shape_cover_what_they_say_and_score_better() -> None:
    """Of seven steps, whose greatest error would else stand for 95 %."""
    inside, scores = [], []
    for seed in range(100):
        errors, fresh = laplace(seed + 10, 12, 7), np.abs(laplace(seed + 1_000, 40, 7))
        halves = shaped(errors, SHAPE)[LEVELS.index(0.95)], table(errors).half_width(0.95)
        inside.append((fresh <= halves[0]).mean())
        scores.append([interval_score(fresh, half, 0.05).mean() for half in halves])
    assert float(np.mean(inside)) > 0.925
    ours, plain = np.mean(scores, axis=0)
    assert ours < plain


def test_a_shape_says_nothing_of_levels_that_are_borne_twice_over() -> None:
    errors = laplace(3, 500)
    found, plain = shaped(errors, 10 * SHAPE**2), table(errors).half
    last = LEVELS.index(0.99)
    assert residuals_needed(0.99) * 2 <= 500
    np.testing.assert_array_equal(found[: last + 1], plain[: last + 1])


def test_of_no_errors_no_shape_is_known() -> None:
    none = rise_of(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool), 1.0)[1]
    assert np.isfinite(shaped(laplace(0, 12, 2), none)).all()
    still = rise_of(np.zeros((30, 2)), np.ones((30, 2), dtype=bool), 1.0)[1]
    np.testing.assert_array_equal(shaped(laplace(0, 12, 2), still), table(laplace(0, 12, 2)).half)
