"""Whole seasons ago: means over what is known of them, and nothing after an origin."""

from __future__ import annotations

import numpy as np
import pytest

from ml.seasons import COURSES, MOST_ROWS, rows_back, usual_change, usual_course, within


def test_what_was_added_a_season_ago_is_added_again() -> None:
    target = np.array([0.0, 1.0, 5.0, 10.0, 11.0, 15.0])
    assert usual_change(target, np.array([3, 0]), 4, 3, 1).tolist() == [[1, 5, 10, 0], [0, 0, 0, 0]]


def test_a_season_ago_that_is_missing_adds_nothing() -> None:
    assert usual_change(np.array([1.0, np.nan, 5.0, 10.0]), np.array([3]), 2, 3, 1).tolist() == [[0, 4]]


def test_several_seasons_are_averaged_as_far_as_they_are_known() -> None:
    target = np.array([0.0, 10.0, 0.0, 30.0, 0.0, np.nan, 0.0])
    assert usual_change(target, np.array([6]), 1, 2, 3).tolist() == [[20]]
    assert usual_change(target, np.array([6]), 1, 2, 2).tolist() == [[30]]
    assert usual_change(target, np.array([6]), 1, 2, 1).tolist() == [[0]]
    assert usual_course(target, np.array([7]), 2, 3).tolist() == [20]
    assert np.isnan(usual_course(target, np.array([7]), 2, 1)).all()


@pytest.mark.parametrize(("season", "seasons"), [(1, 14), (24, 14), (1_440, 6), (3_600, 2), (20_000, 1)])
def test_no_more_is_read_than_may_be_fetched(season: int, seasons: int) -> None:
    assert within(max(COURSES), season) == seasons
    assert rows_back(season) == season * seasons <= max(MOST_ROWS, season)
