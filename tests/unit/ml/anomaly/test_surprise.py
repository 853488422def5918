"""Surprise: how rare a number is, told from those seen, and beyond them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.anomaly.surprise import MOST, SHARES, Rarity
from ml.errors import ArtefactCorrupt

NUMBERS = arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1e6))


def surprise(seen: np.ndarray, *numbers: float) -> list[float]:
    return [float(found) for found in Rarity.of(seen[:, None]).surprise(np.array(numbers)[:, None])[:, 0]]


@given(NUMBERS, st.lists(st.floats(0, 1e9), min_size=2, max_size=10))
def test_a_larger_number_is_never_less_surprising(seen: np.ndarray, numbers: list[float]) -> None:
    found = surprise(seen, *sorted(numbers))
    assert all(low <= high for low, high in pairwise(found))
    assert found[0] >= 0
    assert found[-1] <= MOST


@pytest.mark.parametrize("seen", [[0.0, 5e-324], [0.0, 1e-320, 1e-310], [5e-324] * 3 + [1e6], [1e6] * 60])
def test_numbers_next_to_nothing_and_beyond_all_measure_are_told_in_order(seen: list[float]) -> None:
    found = surprise(np.array(seen), 0.0, 5e-324, 1e-320, 1e-300, 1.0, 1e300)
    assert all(low <= high for low, high in pairwise(found))
    assert (found[0], found[-1]) == (0.0, MOST)


@pytest.mark.parametrize("chance", [0.5, 0.1, 0.03, 1e-3, 1e-5])
def test_it_tells_the_chance_of_an_exponential_number_also_beyond_what_was_seen(chance: float) -> None:
    seen = -np.log(1 - (np.arange(5_000) + 0.5) / 5_000)
    assert surprise(seen, -np.log(chance))[0] == pytest.approx(-np.log10(chance), abs=0.1)


def test_what_most_were_is_no_surprise_and_any_other_number_is_a_great_one() -> None:
    same, other = surprise(np.zeros(500), 0.0, 1e-3)
    assert (same, other) == (0.0, MOST)


def test_a_missing_number_stays_missing() -> None:
    assert np.isnan(surprise(np.arange(10.0), float("nan"))[0])


def test_kinds_do_not_mix() -> None:
    both = Rarity.of(np.stack([np.arange(100.0), 1_000 * np.arange(100.0)], axis=1))
    small, large = both.surprise(np.array([[99.0, 99.0]]))[0]
    assert small > 1.5
    assert large < 0.1


def test_a_kind_never_seen_surprises_nobody() -> None:
    assert surprise(np.full(5, np.nan), 7.0)[0] < 1.8


@pytest.mark.parametrize(
    "spoil",
    [
        {"it.body": np.zeros((2, len(SHARES)))},
        {"it.body": np.full((1, len(SHARES)), np.nan)},
        {"it.body": np.arange(len(SHARES), 0, -1.0)[None]},
        {"it.body": np.zeros((1, len(SHARES)), dtype=np.float32)},
        {"it.scale": np.array([0.0])},
        {"it.scale": np.array([np.inf])},
        {"it.scale": np.array([1.0, 1.0])},
    ],
)
def test_arrays_that_do_not_fit_are_refused(spoil: dict[str, np.ndarray]) -> None:
    good = Rarity.of(np.arange(10.0)[:, None]).tensors("it")
    assert Rarity.restored(good, "it", 1).surprise(np.array([[9.0]])) == pytest.approx(surprise(np.arange(10.0), 9.0)[0])
    with pytest.raises(ArtefactCorrupt, match="it"):
        Rarity.restored(good | spoil, "it", 1)


def test_a_missing_array_is_refused() -> None:
    with pytest.raises(ArtefactCorrupt, match=r"it\.body"):
        Rarity.restored({}, "it", 1)
