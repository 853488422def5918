"""Errors against numbers worked out by hand; None, never NaN or a stand-in, where a number cannot be had."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.metrics import Scores, coverage, mase_scale, score, winkler, with_skill

TRUTH = np.array([[10.0, 20.0], [30.0, 0.0]])
GUESS = np.array([[12.0, 20.0], [24.0, 4.0]])
ALL = np.ones((2, 2), dtype=bool)


def test_by_hand() -> None:
    found = score(TRUTH, GUESS, ALL, mase_scale=2.0)
    assert found.n == 4
    assert found.mae == pytest.approx(3.0)
    assert found.rmse == pytest.approx(math.sqrt(56 / 4))
    assert found.r2 == pytest.approx(1 - 56 / 500)
    assert found.mape == pytest.approx(100 * (0.2 + 0 + 0.2) / 3)
    assert found.mape_n == 3
    assert found.smape == pytest.approx(200 * (2 / 22 + 0 + 6 / 54 + 1) / 4)
    assert found.mase == pytest.approx(1.5)


def test_only_counted_pairs_count_and_nan_elsewhere_does_not_leak() -> None:
    truth = TRUTH.copy()
    truth[1, 1] = np.nan
    counted = np.array([[True, False], [False, False]])
    assert score(truth, GUESS, counted, None) == score(TRUTH[:1, :1], GUESS[:1, :1], ALL[:1, :1], None)


def test_what_cannot_be_had_is_none() -> None:
    assert score(TRUTH, GUESS, ~ALL, 1.0) == Scores(n=0)
    constant = score(np.full((2, 2), 5.0), GUESS, ALL, None)
    assert constant.r2 is None
    assert constant.mase is None
    zeros = score(np.zeros((2, 2)), GUESS, ALL, None)
    assert (zeros.mape, zeros.mape_n) == (None, 0)


def test_both_zero_is_no_error() -> None:
    assert score(np.zeros((1, 1)), np.zeros((1, 1)), ALL[:1, :1], None).smape == 0


def test_skill_is_against_the_better_baseline() -> None:
    scores = {"lstm": Scores(1, mae=2.0), "persistence": Scores(1, mae=4.0), "seasonal_naive": Scores(1, mae=8.0)}
    found = with_skill(scores, ("persistence", "seasonal_naive"))
    assert found["lstm"].skill == pytest.approx(0.5)
    assert found["persistence"].skill == 0
    assert found["seasonal_naive"].skill == pytest.approx(-1.0)


def test_skill_against_a_perfect_baseline_is_unknown_unless_perfect_too() -> None:
    perfect = {"lstm": Scores(1, mae=1.0), "persistence": Scores(1, mae=0.0)}
    found = with_skill(perfect, ("persistence",))
    assert (found["lstm"].skill, found["persistence"].skill) == (None, 0.0)


def test_coverage_and_winkler_by_hand() -> None:
    half = np.array([2.0, 1.0])
    assert coverage(TRUTH, GUESS, half, ALL) == pytest.approx(0.5)
    # widths 4, 2, 4, 2; outside by 0, 0, 4, 3; 2 / (1 - 0.8) = 10
    assert winkler(TRUTH, GUESS, half, ALL, 0.8) == pytest.approx((4 + 2 + 4 + 40 + 2 + 30) / 4)
    assert coverage(TRUTH, GUESS, half, ~ALL) is None
    assert winkler(TRUTH, GUESS, half, ~ALL, 0.8) is None


def test_mase_scale_reads_rows_before_the_cut_only() -> None:
    target = np.array([1.0, 2.0, 4.0, 8.0, 1e9, -1e9])
    seen = np.ones(6, dtype=bool)
    assert mase_scale(target, seen, 4, season=1) == pytest.approx((1 + 2 + 4) / 3)
    assert mase_scale(target, seen, 4, season=2) == pytest.approx((3 + 6) / 2)


def test_mase_scale_falls_back_to_the_last_value_then_to_none() -> None:
    seen = np.ones(4, dtype=bool)
    assert mase_scale(np.array([1.0, 2.0, 1.0, 2.0]), seen, 4, season=2) == 1.0
    assert mase_scale(np.array([1.0, 2.0, 1.0, 2.0]), seen, 4, season=9) == 1.0
    assert mase_scale(np.ones(4), seen, 4, season=2) is None


@pytest.mark.parametrize(("truth", "guess"), [(5e-324, 1e30), (1e-200, 1e200), (0.0, 1e30)])
def test_a_ratio_that_overflows_is_none(truth: float, guess: float) -> None:
    found = score(np.array([[truth], [2 * truth]]), np.full((2, 1), guess), np.ones((2, 1), dtype=bool), truth or None)
    json.dumps(found.as_dict(), allow_nan=False)


@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30)), min_size=1, max_size=20))
def test_no_scores_are_nan_or_infinite(pairs: list[tuple[float, float]]) -> None:
    truth, guess = np.array(pairs).T[:, :, None]
    json.dumps(score(truth, guess, np.ones_like(truth, dtype=bool), 1.0).as_dict(), allow_nan=False)
