"""Split conformal intervals: the finite-sample rank, coverage where it can be known, and wider never narrower."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.intervals import LEVELS, IntervalTable, conformal, growth_of, residuals_needed


def table(residuals: np.ndarray, counted: np.ndarray | None = None) -> IntervalTable:
    counted = np.ones_like(residuals, dtype=bool) if counted is None else counted
    half, pooled = conformal(residuals, counted, growth_of(residuals, counted, 1e-9))
    return IntervalTable(half, (None,) * len(LEVELS), len(residuals), pooled)


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
        half = table(random.standard_normal((rows, 2))).half_width(0.9)
        inside.append((np.abs(random.standard_normal((20, 2))) <= half).mean())
    assert 0.885 <= float(np.mean(inside)) <= 0.9 + 1 / (rows + 1) + 0.015


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)))
@settings(deadline=None, max_examples=50)
def test_widths_rise_with_the_level_and_are_finite(residuals: np.ndarray) -> None:
    half = table(residuals).half
    assert np.isfinite(half).all()
    assert (np.diff(half, axis=0) >= 0).all()
    assert (half >= 0).all()


def test_a_level_between_two_gets_the_wider() -> None:
    found = table(np.random.default_rng(0).standard_normal((99, 1)))
    assert found.half_width(0.905).tolist() == found.half_width(0.91).tolist()
    assert found.half_width(0.9).tolist() != found.half_width(0.91).tolist()


def test_few_rows_pool_the_steps_in_units_of_their_growth() -> None:
    residuals = np.tile([1.0, 3.0], (5, 1))
    found = table(residuals)
    assert found.is_pooled(0.9)
    assert not found.is_pooled(0.8)
    # Five rows bound at most 83 %: the greatest, wider by the missing rank, per step in proportion to its errors.
    assert found.half_width(0.9).tolist() == pytest.approx([1.2, 3.6])


def test_fewer_rows_are_wider_never_narrower() -> None:
    residuals = np.abs(np.random.default_rng(1).standard_normal((200, 3)))
    many = table(residuals).half_width(0.9).mean()
    few = np.mean([table(residuals[start : start + 5]).half_width(0.9).mean() for start in range(0, 200, 5)])
    assert few > many


def test_steps_without_any_residual_still_get_a_width() -> None:
    counted = np.ones((12, 2), dtype=bool)
    counted[:, 1] = False
    half = table(np.ones((12, 2)), counted).half_width(0.9)
    assert (half >= 1).all()
    empty = table(np.zeros((0, 2))).half_width(0.9)
    assert (empty > 0).all()


def test_json_and_back_to_the_bit() -> None:
    found = table(np.random.default_rng(0).standard_normal((30, 3)))
    again = IntervalTable.from_dict(found.as_dict())
    assert again.half.tolist() == found.half.tolist()
    assert (again.covered, again.rows, again.pooled_from) == (found.covered, found.rows, found.pooled_from)
