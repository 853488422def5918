"""Distances and chances, beside scipy's where it has them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml.distances import Sample, ks_chance, ks_distance, mean_rank, psi, rank_chance, tail_chance, together
from ml.reference import sample
from tests.support.series import Floats

#: Few values, so that ties are common, and some that are nobody's.
VALUES = st.lists(st.integers(-5, 5).map(float) | st.floats(-10, 10), min_size=1, max_size=60).map(np.array)


def counts(kept: Sample, values: Floats) -> list[int]:
    """As Postgres' width_bucket counts them."""
    return np.bincount(np.searchsorted(kept.cuts, values, side="right"), minlength=len(kept.cuts) + 1).tolist()


def whole(one: Floats, other: Floats) -> float:
    """The distance of two samples that are there in full."""
    every = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(values), every, side="right") / len(values) for values in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


@given(VALUES)
def test_a_sample_is_what_it_was_made_from(values: Floats) -> None:
    kept = sample(values)
    assert list(kept.cuts) == sorted(set(kept.cuts))
    assert list(kept.below) == [float((values < cut).mean()) for cut in kept.cuts]
    assert kept.rows == len(values)
    assert sum(kept.shares) == pytest.approx(1)
    assert Sample.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept


@given(VALUES)
def test_a_sample_is_no_distance_from_itself(values: Floats) -> None:
    kept = sample(values)
    assert ks_distance(kept, counts(kept, values)) == pytest.approx(0)
    assert mean_rank(kept, values) == pytest.approx(0.5)
    assert psi(kept, counts(kept, values)) == pytest.approx(0, abs=1e-9)


@given(VALUES, VALUES)
def test_distances_are_bounded(one: Floats, other: Floats) -> None:
    kept = sample(one)
    found = counts(kept, other)
    assert psi(kept, found) >= -1e-12
    assert 0 <= ks_distance(kept, found) <= whole(one, other) + 1e-12
    assert 0 <= mean_rank(kept, other) <= 1


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.2, 5))
def test_the_distance_at_the_cuts_is_within_a_bin_of_the_whole_one(seed: int, shift: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    one, other = random.standard_normal(400), shift + scale * random.standard_normal(300)
    kept = sample(one)
    assert ks_distance(kept, counts(kept, other)) == pytest.approx(whole(one, other), abs=0.11)


def test_psi_of_a_known_pair() -> None:
    """Half and half against three quarters and a quarter: twice a quarter times the logarithm of 1.5 and of 2."""
    kept = Sample((0.0,), (0.5,), 1000, 1.0)
    assert psi(kept, [750, 250]) == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5))


def test_an_empty_bin_is_no_end_of_the_world() -> None:
    kept = Sample((0.0,), (0.5,), 1000, 1.0)
    assert 1 < psi(kept, [100, 0]) < 5
    never = Sample((0.0,), (1.0,), 1000, 1.0)
    assert 1 < psi(never, [0, 100]) < 20


@given(st.floats(0, 1), st.floats(30, 10_000))
def test_chances_of_a_distance_are_kolmogorovs(distance: float, independent: float) -> None:
    corrected = (math.sqrt(independent) + 0.12 + 0.11 / math.sqrt(independent)) * distance
    assert ks_chance(distance, independent) == pytest.approx(stats.kstwobign.sf(corrected), abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(20, 400), (60, 60), (300, 100)])
@pytest.mark.parametrize("distance", [0.2, 0.3, 0.4])
def test_the_limit_is_near_the_exact_chance_for_few_rows(n: int, m: int, distance: float) -> None:
    exact = stats.kstwo.sf(distance, round(together(n, m)))  # of one sample of as many rows, which Stephens' correction is made for
    assert ks_chance(distance, together(n, m)) == pytest.approx(exact, rel=0.35, abs=1e-3)


@pytest.mark.parametrize("independent", [0.0, 0.5, 1.0])
def test_of_next_to_no_rows_nothing_can_be_said(independent: float) -> None:
    assert ks_chance(1.0, independent) > 1e-2


def test_chances_of_a_rank_are_mann_and_whitneys() -> None:
    random = np.random.default_rng(3)
    one, other = random.standard_normal(400), 0.3 + random.standard_normal(40)
    exact = stats.mannwhitneyu(other, one, alternative="greater", method="asymptotic", use_continuity=False)
    rank = exact.statistic / (400 * 40)
    assert mean_rank(sample(one), other) == pytest.approx(rank, abs=0.02)
    assert rank_chance(rank, together(400, 40)) == pytest.approx(exact.pvalue, rel=0.1)


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_chances_of_so_many_hits_are_binomial(trials: int, probability: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    assert tail_chance(hits, trials, probability) == pytest.approx(stats.binom.sf(hits - 1, trials, probability), abs=1e-12)
