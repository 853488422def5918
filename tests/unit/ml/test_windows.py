"""Which rows are read and which forecast: each pair once, in one part, and only from what came before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.series import split
from ml.spec import ModelSpec, Split
from ml.windows import chunk_starts, effective_window, futures, gather, origins, readable

#: Of two targets, which rows are real.
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=50).filter(lambda seen: sum(a for a, _ in seen) >= 4)
SEEN = st.lists(st.booleans(), min_size=20, max_size=120).filter(lambda seen: sum(seen) >= 4)


def column(seen: list[bool]) -> np.ndarray:
    """(T, 1)"""
    return np.array(seen)[:, None]


@given(SEEN, st.integers(2, 8), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_every_pair_is_counted_exactly_once_over_the_parts(seen: list[bool], window: int, horizon: int) -> None:
    observed = column(seen)
    parts = split(observed[:, 0], Split())
    times_counted = np.zeros((len(observed), horizon), dtype=int)
    for part in (parts.fit, parts.stop, parts.calibrate, parts.test):
        found = origins(observed, observed, part, window, horizon)
        assert len(set(found.rows.tolist())) == len(found)
        times_counted[found.rows] += found.counted[:, 0]
    able = readable(observed, observed, window)
    for row in range(len(observed)):
        for step in range(horizon):
            target = row + step + 1
            due = row >= window - 1 and able[row] and target < len(observed) and observed[target, 0]
            assert times_counted[row, step] == due


@given(SEEN, st.integers(2, 8), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_counted_targets_lie_in_their_part_and_after_their_window(seen: list[bool], window: int, horizon: int) -> None:
    observed = column(seen)
    part = split(observed[:, 0], Split()).calibrate
    found = origins(observed, observed, part, window, horizon).of(0)
    for row, counted in zip(found.rows, found.counted, strict=True):
        targets = row + 1 + np.flatnonzero(counted)
        assert ((targets >= part.start) & (targets < part.stop) & (targets > row)).all()
        assert observed[targets].all()
        assert row - window + 1 >= 0


@given(PAIRS, st.integers(2, 8), st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_a_row_one_target_lacks_costs_that_target_its_pairs_and_the_other_none(
    seen: list[tuple[bool, bool]], window: int, horizon: int
) -> None:
    """Both must be known at an origin; what is counted after it is each target's own."""
    observed = np.array(seen)
    known = np.ones_like(observed)
    part = split(observed[:, 0], Split()).stop
    found = origins(known, observed, part, window, horizon)
    for target in range(2):
        pairs = found.of(target)
        rows = pairs.rows[:, None] + 1 + np.arange(horizon)
        inside = (rows >= part.start) & (rows < part.stop)
        np.testing.assert_array_equal(pairs.counted, inside & observed[np.minimum(rows, len(observed) - 1), target])
    assert found.counted.any(axis=(1, 2)).all()


@given(PAIRS, st.integers(2, 8))
@settings(deadline=None, max_examples=25)
def test_an_origin_knows_every_target_and_observed_one_of_them(seen: list[tuple[bool, bool]], window: int) -> None:
    observed = np.array(seen)
    known = observed | np.roll(observed, 1, axis=0)
    for row in np.flatnonzero(readable(known, observed, window)):
        assert known[row].all()
        assert observed[row].any()
        assert row >= window - 1
        assert (known[row - window + 1 : row + 1].sum(axis=0) >= max(2, window / 2)).all()


@given(SEEN, st.integers(2, 8), st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_two_targets_alike_are_counted_as_one_alone(seen: list[bool], window: int, horizon: int) -> None:
    alone = column(seen)
    both, part = np.repeat(alone, 2, axis=1), split(alone[:, 0], Split()).calibrate
    one, two = (origins(observed, observed, part, window, horizon) for observed in (alone, both))
    np.testing.assert_array_equal(one.rows, two.rows)
    for target in range(2):
        np.testing.assert_array_equal(one.of(0).counted, two.of(target).counted)


def test_windows_end_at_their_origin_and_futures_begin_after_it() -> None:
    """Trap T1: the target is not the last step of its own window."""
    rows = np.arange(10.0)
    at = np.array([4, 6])
    assert gather(rows[:, None], at - 2, 3)[:, :, 0].tolist() == [[2, 3, 4], [4, 5, 6]]
    both = np.stack([rows, -rows], axis=1)
    assert futures(both, at, 2).tolist() == [[[5, 6], [-5, -6]], [[7, 8], [-7, -8]]]


def test_futures_beyond_the_end_are_unknown() -> None:
    assert np.isnan(futures(np.arange(5.0)[:, None], np.array([3]), 3)[0, 0]).tolist() == [False, True, True]


def test_shapes() -> None:
    values = np.zeros((50, 3))
    whole = np.ones((50, 2), bool)
    found = origins(whole, whole, slice(40, 50), 8, 4)
    assert found.counted.shape == (len(found), 2, 4)
    assert found.counted.sum(axis=0).tolist() == [[10, 10, 10, 10]] * 2
    assert found.of(1).forecast_rows == 10
    none = origins(whole, whole, slice(0, 1), 8, 4)
    assert (len(none), none.counted.shape) == (0, (0, 2, 4))
    assert gather(values, found.rows - 7, 8).shape == (len(found), 8, 3)


@pytest.mark.parametrize(("fit_rows", "window"), [(3_000, 30), (67, 30), (47, 20), (19, 6), (10, 2), (4, 2)])
def test_a_short_history_shortens_the_window(fit_rows: int, window: int) -> None:
    assert effective_window(ModelSpec(targets=("rhr",), window=30, horizon=7), fit_rows) == window


def test_a_window_must_be_half_known_and_end_in_an_observation() -> None:
    known = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1, 1], dtype=bool)[:, None]
    assert np.flatnonzero(readable(known, known, 4)).tolist() == [3, 4, 9]


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 60))
def test_chunks_cover_every_row(rows: int, length: int, stride: int) -> None:
    length, stride = min(length, rows), min(stride, length, rows)
    starts = chunk_starts(rows, length, stride)
    covered = np.zeros(rows, dtype=bool)
    for start in starts:
        assert 0 <= start <= rows - length
        covered[start : start + length] = True
    assert covered.all()
