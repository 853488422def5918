"""The linear part: what follows from the last rows it finds, what does not it leaves at the last value, and it never looks ahead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.linear import FEWEST_ORIGINS, MOST_LAGS, STRETCHES, Linear, blank, fit_linear
from ml.series import Bools, Floats, Rows

WINDOW, HORIZON = 12, 3


def origins_of(target: Floats, window: int = WINDOW, horizon: int = HORIZON) -> tuple[Rows, Bools]:
    """Every origin whose row is known, and which steps after it are."""
    rows = np.flatnonzero(np.isfinite(target[window - 1 : -1])) + window - 1
    after = np.concatenate([target, np.full(horizon, np.nan)])
    return rows, np.isfinite(after[rows[:, None] + 1 + np.arange(horizon)])


def fitted(target: Floats, window: int = WINDOW, horizon: int = HORIZON, season: int = 1) -> Linear:
    return fit_linear(target, *origins_of(target, window, horizon), blank(window, horizon, float(np.nanstd(target))), season)


def error(linear: Linear, target: Floats, begin: int) -> tuple[float, float]:
    """Mean absolute error of the linear part and of the last value, after the origins from `begin` on."""
    rows = np.arange(begin, len(target) - HORIZON)
    truth = target[rows[:, None] + 1 + np.arange(HORIZON)]
    return float(np.abs(truth - linear.of(target, rows)).mean()), float(np.abs(truth - target[rows, None]).mean())


def recurring(rows: int, seed: int, weights: tuple[float, ...]) -> Floats:
    """Each row a weighted sum of those before it, the newest first, and noise."""
    random, values = np.random.default_rng(seed), np.zeros(rows)
    for row in range(len(weights), rows):
        values[row] = sum(w * values[row - 1 - back] for back, w in enumerate(weights)) + random.standard_normal()
    return values


@pytest.mark.parametrize(("weights", "most"), [((0.5,), 0.9), ((1.6, -0.8), 0.65), ((0.0, 0.0, 0.0, 0.9), 0.7)])
def test_what_follows_from_the_last_rows_is_found(weights: tuple[float, ...], most: float) -> None:
    target = recurring(1_000, 0, weights)
    ours, last = error(fitted(target[:600]), target, 600)
    assert ours < most * last


@pytest.mark.parametrize("rows", [60, 200, 1_000])
def test_of_a_random_walk_it_is_about_the_last_value(rows: int) -> None:
    both = [error(fitted(walk[:rows]), walk, rows) for walk in np.random.default_rng(1).standard_normal((20, rows + 100)).cumsum(axis=1)]
    ours, last = np.mean(both, axis=0)
    assert ours < 1.05 * last


@pytest.mark.parametrize("rows", [0, 1, FEWEST_ORIGINS - 1])
def test_of_a_few_origins_it_is_the_last_value(rows: int) -> None:
    target = np.random.default_rng(0).standard_normal(WINDOW + HORIZON + rows - 1)
    found = fitted(target)
    assert not found.weights.any()
    assert found.of(target, np.array([WINDOW])).tolist() == [[target[WINDOW]] * HORIZON]


@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0**-60, 1.0, 2.0**60]), st.sampled_from([0.0, 1e6]))
@settings(max_examples=20, deadline=None)
def test_neither_unit_nor_level_changes_what_it_says(seed: int, unit: float, level: float) -> None:
    target = recurring(120, seed, (1.2, -0.5))
    other = unit * (target + level)
    said, there = (fitted(each).of(each, np.array([50, 119])) for each in (target, other))
    np.testing.assert_allclose(there / unit - level, said, rtol=1e-5, atol=1e-4 if level else 1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(WINDOW, 90))
@settings(max_examples=20, deadline=None)
def test_it_reads_its_window_and_nothing_after_the_origin(seed: int, row: int) -> None:
    target = recurring(100, seed, (1.2, -0.5))
    found, other = fitted(target), 1e3 * np.random.default_rng(seed).standard_normal(100)
    other[row - WINDOW + 1 : row + 1] = target[row - WINDOW + 1 : row + 1]
    np.testing.assert_array_equal(found.of(target, np.array([row])), found.of(other, np.array([row])))
    assert not np.array_equal(found.of(target, np.array([row])), found.of(target + (np.arange(100) == row - 1), np.array([row])))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_only_rows_that_count_are_learned_from(seed: int) -> None:
    target = recurring(150, seed, (1.2, -0.5))
    rows, counted = origins_of(target)
    counted = counted & (rows[:, None] + 1 + np.arange(HORIZON) < 100)
    other = np.where(np.arange(150) < 100, target, 1e3)
    here, there = (fit_linear(each, rows, counted, blank(WINDOW, HORIZON, 1.0)).weights for each in (target, other))
    np.testing.assert_array_equal(here, there)


def test_holes_are_carried_forward() -> None:
    target = recurring(600, 0, (1.6, -0.8))
    target[np.random.default_rng(0).random(600) < 0.05] = np.nan
    found = fitted(target)
    assert np.isfinite(found.weights).all()
    begun = np.concatenate([np.full(WINDOW - 2, np.nan), [3.0, 4.0]])
    assert np.isfinite(found.of(begun, np.array([WINDOW - 1]))).all()


@pytest.mark.parametrize("values", [np.zeros(80), np.full(80, 1e30), np.where(np.arange(80) == 40, 1e30, 0.0)])
def test_absurd_rows_give_numbers(values: Floats) -> None:
    found = fit_linear(values, *origins_of(values), blank(WINDOW, HORIZON, 1e-3))
    assert np.isfinite(found.of(values, np.arange(WINDOW, 80))).all()


def test_a_long_window_is_read_from_its_end() -> None:
    target = recurring(600, 0, (0.9,))
    assert fitted(target, window=300).weights.shape == (MOST_LAGS, HORIZON)
    assert fitted(target, window=2).weights.shape == (1, HORIZON)


def profiled(rows: int, seed: int, jagged: float) -> Floats:
    """A day of 24 rows, the same each day, so uneven that the rows before tell it badly; and noise that lasts."""
    random = np.random.default_rng(seed)
    return recurring(rows, seed, (0.7,)) + jagged * np.tile(random.standard_normal(24), rows // 24 + 1)[:rows]


def test_where_a_season_repeats_it_measures_from_the_mean_of_several() -> None:
    target = profiled(1_200, 0, 6.0)
    found, plain = fitted(target[:800], season=24), fitted(target[:800])
    assert (found.season, found.seasons) == (24, 14)
    assert error(found, target, 800)[0] < 0.7 * error(plain, target, 800)[0]


@pytest.mark.parametrize("season", [24, 2])  # one that is not there, and one shorter than the horizon
def test_where_none_repeats_it_measures_from_nothing(season: int) -> None:
    target = recurring(800, 0, (1.6, -0.8))
    assert fitted(target, season=season).as_dict() == fitted(target).as_dict()


def test_of_a_few_seasons_it_measures_from_nothing() -> None:
    assert fitted(profiled(60, 0, 6.0), season=24).season == 0


@given(st.integers(0, 2**32 - 1), st.integers(100, 399))
@settings(max_examples=20, deadline=None)
def test_a_usual_course_reads_nothing_after_the_origin(seed: int, row: int) -> None:
    target = profiled(400, 0, 6.0)
    found, other = fitted(target, season=24), 1e3 * np.random.default_rng(seed).standard_normal(400)
    assert found.season
    other[: row + 1] = target[: row + 1]
    np.testing.assert_array_equal(found.of(target, np.array([row])), found.of(other, np.array([row])))
    np.testing.assert_array_equal(found.of(target, np.array([row])), found.of(target[: row + 1], np.array([row])))


def test_without_a_season_behind_it_it_says_the_last_value() -> None:
    found, short = fitted(profiled(400, 0, 6.0), season=24), profiled(20, 1, 6.0)
    assert found.of(short, np.array([19])).tolist() == [[short[19]] * HORIZON]


def test_each_stretch_is_a_sign_of_life() -> None:
    target, beats = recurring(100, 0, (0.5,)), []
    fit_linear(target, *origins_of(target), blank(WINDOW, HORIZON, 1.0), alive=lambda: beats.append(1))
    assert len(beats) == STRETCHES


def test_it_comes_back_from_json_to_the_bit() -> None:
    found = fitted(recurring(100, 0, (0.5,)))
    again = Linear.from_dict(json.loads(json.dumps(found.as_dict())))
    np.testing.assert_array_equal(again.weights, found.weights)
    assert (again.window, again.spread) == (found.window, found.spread)
    old = {name: found.as_dict()[name] for name in ("weights", "window", "spread")}  # of a release that knew no course
    assert Linear.from_dict(old).as_dict() == found.as_dict()
    assert again.fits(WINDOW, HORIZON)
    assert not again.fits(WINDOW + 1, HORIZON)
    assert not again.fits(WINDOW, HORIZON + 1)
