"""The forecasts that learn nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ml.baselines import PERSISTENCE, SEASONAL_NAIVE, naive_forecast


def test_persistence_repeats_the_last_value() -> None:
    assert naive_forecast(PERSISTENCE, np.arange(10.0), np.array([3, 9]), 3, 4).tolist() == [[3, 3, 3], [9, 9, 9]]


def test_seasonal_naive_repeats_the_last_season_as_often_as_needed() -> None:
    assert naive_forecast(SEASONAL_NAIVE, np.arange(10.0), np.array([9]), 5, 2).tolist() == [[8, 9, 8, 9, 8]]


def test_seasonal_naive_never_reads_past_its_origin() -> None:
    target = np.arange(20.0)
    other = target.copy()
    other[11:] = -1
    at = np.array([10])
    assert np.array_equal(*(naive_forecast(SEASONAL_NAIVE, rows, at, 9, 4) for rows in (target, other)))


def test_seasonal_naive_without_a_season_is_the_last_value() -> None:
    target = np.array([5.0, 6.0, np.nan, 7.0])
    assert naive_forecast(SEASONAL_NAIVE, target, np.array([3]), 2, 7).tolist() == [[7, 7]]
    assert naive_forecast(SEASONAL_NAIVE, target, np.array([3]), 2, 2).tolist() == [[7, 7]]


def test_no_other_name() -> None:
    with pytest.raises(KeyError):
        naive_forecast("drift", np.arange(5.0), np.array([4]), 1, 1)
