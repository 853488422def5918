"""What a detector sees: nothing later, nothing farther back than it says, and by name what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.anomaly.features import VIEWS, reach, views
from ml.anomaly.spec import DetectorSpec

SPEC = DetectorSpec(channels=("a",), short=3, medium=6, long=12, seasons=2)
HOUR = 3_600.0


def seen(values: np.ndarray, name: str) -> np.ndarray:
    return views(values[:, None], SPEC, HOUR)[:, 0, VIEWS.index(name)]


def noise(seed: int, rows: int, holes: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random((rows, 2)) < holes, np.nan, random.standard_normal((rows, 2)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 200))
def test_a_row_is_seen_by_itself_and_earlier_rows(seed: int, until: int) -> None:
    values = noise(seed, 200)
    np.testing.assert_array_equal(views(values[:until], SPEC, HOUR), views(values, SPEC, HOUR)[:until])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 40))
def test_nothing_farther_back_than_the_reach_matters_to_the_bit(seed: int, extra: int) -> None:
    values = noise(seed, 140)
    first = len(values) - 1 - reach(SPEC, HOUR) - extra
    np.testing.assert_array_equal(views(values[first:], SPEC, HOUR)[-1], views(values, SPEC, HOUR)[-1])


def test_a_missing_row_is_missing_and_leaves_its_neighbours_known() -> None:
    values = np.arange(30.0)
    values[20] = np.nan
    found = views(values[:, None], SPEC, HOUR)[:, 0]
    assert np.isnan(found[20]).all()
    assert np.isfinite(np.delete(found, 20, axis=0)).all()


def test_the_windows_are_what_they_are_called() -> None:
    values = np.random.default_rng(1).standard_normal(60)
    row = 50
    assert seen(values, "change")[row] == values[row] - values[row - 1]
    assert seen(values, "short mean")[row] == pytest.approx(values[48:51].mean())
    assert seen(values, "short deviation")[row] == pytest.approx(values[48:51].std())
    assert seen(values, "medium deviation")[row] == pytest.approx(values[45:51].std())
    assert seen(values, "against the medium mean")[row] == pytest.approx(values[row] - values[44:50].mean())
    assert seen(values, "against the long mean")[row] == pytest.approx(values[row] - values[38:50].mean())
    assert seen(values, "short mean against the long mean")[row] == pytest.approx(values[48:51].mean() - values[36:48].mean())


def test_a_habit_of_the_day_is_no_news_and_its_absence_is() -> None:
    hours = np.arange(24 * 6)
    values = np.where(hours % 24 == 12, 10.0, 0.0)
    values[24 * 5 + 12] = 0.0
    against = seen(values, "against the season")
    # Its neighbours of an hour are looked at as well: the spike itself is compared with their median, which is quiet.
    smooth = np.sin(2 * np.pi * hours / 24)
    assert np.abs(seen(smooth, "against the season")[24 * 3 :]).max() < 0.3
    assert np.abs(against[24 * 5 + 12]) == 0.0
    shifted = np.where(hours >= 24 * 5, np.roll(smooth, 12), smooth)
    assert np.abs(seen(shifted, "against the season")[24 * 5 :]).max() > 1.5


def test_one_absurd_value_leaves_no_trace_once_its_windows_have_passed() -> None:
    values = np.random.default_rng(2).standard_normal(200)
    spoilt = values.copy()
    spoilt[50] = 1e300
    after = 50 + reach(SPEC, HOUR) + 1
    np.testing.assert_array_equal(views(spoilt[:, None], SPEC, HOUR)[after:], views(values[:, None], SPEC, HOUR)[after:])
    assert np.isfinite(views(spoilt[:, None], SPEC, HOUR)).all()
