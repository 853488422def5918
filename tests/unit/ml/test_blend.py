"""The blend: shares that add up, follow the better part, and stay at the prior where rows are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.blend import LAST_VALUE, LINEAR, NETWORK, PARTS, PRIOR, SEASONAL_CHANGE, USUAL_LEVEL, Blend, blended, find_shares, usual_level
from ml.linear import Linear
from ml.series import Floats


def parts_of(truth: Floats, best: str, seed: int = 0) -> dict[str, Floats]:
    """Every part is off by noise, but for the best."""
    random = np.random.default_rng(seed)
    return {part: truth + (0.0 if part == best else 1.0) * random.standard_normal(truth.shape) for part in PARTS}


@pytest.mark.parametrize("best", PARTS)
def test_the_part_that_is_right_gets_nearly_all(best: str) -> None:
    truth = np.random.default_rng(1).standard_normal((300, 4))
    shares = find_shares(parts_of(truth, best), truth, np.ones_like(truth, dtype=np.bool_), 300)
    assert shares[best] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0


def test_few_rows_move_the_prior_less() -> None:
    truth = np.random.default_rng(1).standard_normal((300, 4))
    guesses, counted = parts_of(truth, LAST_VALUE), np.ones_like(truth, dtype=np.bool_)
    few, many = (find_shares(guesses, truth, counted, held)[LAST_VALUE] for held in (2, 300))
    assert PRIOR[LAST_VALUE] < few < many


def test_without_a_row_the_prior_stands() -> None:
    truth = np.zeros((3, 2))
    assert find_shares(parts_of(truth, NETWORK), truth, np.zeros_like(truth, dtype=np.bool_), 0) == PRIOR


def test_rows_that_do_not_count_change_nothing() -> None:
    truth = np.random.default_rng(1).standard_normal((50, 2))
    counted = np.ones_like(truth, dtype=np.bool_)
    counted[40:] = False
    guesses = parts_of(truth, NETWORK)
    other = np.where(counted, truth, np.nan)
    assert find_shares(guesses, truth, counted, 40) == find_shares(guesses, other, counted, 40)


def test_a_blend_is_the_sum_of_its_parts() -> None:
    guesses = {part: np.full((2, 3), float(number)) for number, part in enumerate(PARTS)}
    assert blended(guesses, dict.fromkeys(PARTS, 0.25)).tolist() == np.full((2, 3), 2.5).tolist()


@pytest.mark.parametrize(("last", "said"), [(50.0, 40.0), (30.0, 40.0), (55.0, 47.5), (60.0, 60.0), (-900.0, -900.0)])
def test_beyond_what_was_learned_the_usual_level_gives_way_to_the_last_value(last: float, said: float) -> None:
    """A level that shifted for good: what was usual before says nothing any more."""
    assert usual_level(np.array([[last]]), 40.0, 10.0).item() == said
    assert usual_level(np.array([[last]]), 40.0, None).item() == 40.0


def test_a_blend_of_a_release_that_knew_neither_reach_nor_seasons_says_what_it_said() -> None:
    told = {"shares": dict.fromkeys(PARTS, 0.2), "level": 40.0, "linear": Linear(np.zeros((2, 2)), 3, 1.0).as_dict()}
    target, network = np.array([0.0, 1.0, 5.0, 10.0, 11.0, 25.0, 900.0]), np.array([[100.0, 200.0]])
    guesses = Blend.from_dict(told).guesses(network, target, np.array([6]), 3)
    assert guesses[USUAL_LEVEL].tolist() == [[40.0, 40.0]]
    assert guesses[SEASONAL_CHANGE].tolist() == [[901.0, 915.0]]


def test_a_blend_says_the_sum_of_the_network_and_what_the_rows_tell() -> None:
    target, network = np.array([0.0, 1.0, 5.0, 10.0]), np.array([[100.0, 200.0]])
    shares = {NETWORK: 0.1, LINEAR: 0.0, SEASONAL_CHANGE: 0.2, USUAL_LEVEL: 0.3, LAST_VALUE: 0.4}
    assert Blend(shares, 50.0).of(network, target, np.array([3]), 3).tolist() == [pytest.approx([10 + 2.2 + 15 + 4, 20 + 3 + 15 + 4])]
    steady = Linear(np.zeros((2, 2)), 3, 1.0)  # the last value
    leaning = Blend(shares | {LINEAR: 0.3, USUAL_LEVEL: 0.0}, 50.0, steady)
    assert leaning.of(network, target, np.array([3]), 3).tolist() == [pytest.approx([10 + 2.2 + 3 + 4, 20 + 3 + 3 + 4])]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 2.0**-80, 1.0, 2.0**90]))
def test_shares_are_shares_whatever_the_rows_and_in_any_unit(rows: int, horizon: int, seed: int, unit: float) -> None:
    random = np.random.default_rng(seed)
    truth, counted = random.standard_cauchy((rows, horizon)), np.ones((rows, horizon), dtype=np.bool_)
    guesses = {part: random.standard_cauchy((rows, horizon)) for part in PARTS}
    found = find_shares({part: unit * guess for part, guess in guesses.items()}, unit * truth, counted, rows)
    assert min(found.values()) > 0
    assert sum(found.values()) == pytest.approx(1)
    assert found == (find_shares(guesses, truth, counted, rows) if unit else PRIOR)
