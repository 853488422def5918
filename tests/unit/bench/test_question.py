"""What everybody is asked, and how answers are marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.question import Question

ROWS, HORIZON = 40, 3


def question(seed: int = 0) -> Question:
    random = np.random.default_rng(seed)
    values = random.normal(size=ROWS)
    origins = np.arange(30, 37)
    steps = origins[:, None] + np.arange(1, HORIZON + 1)
    counted = steps >= 32
    return Question("set", "series", values, 24, 32, origins, counted, values[steps], 0.5, 7, 8, 16, 2, 0.1)


@given(st.floats(-1e3, 1e3), st.integers(0, 5))
def test_being_off_by_so_much_everywhere_is_that_over_the_scale(off: float, seed: int) -> None:
    asked = question(seed)
    assert asked.mase(asked.truth + off) == pytest.approx(abs(off) / asked.scale, abs=1e-9)


def test_pairs_outside_the_test_part_do_not_count_whatever_is_said() -> None:
    asked = question()
    assert asked.mase(np.where(asked.counted, asked.truth, np.nan)) == 0


def test_a_missing_forecast_of_a_counted_pair_is_no_answer() -> None:
    asked = question()
    said = asked.truth.copy()
    said[-1, -1] = np.nan
    with pytest.raises(ValueError, match="set/series: a forecast is missing"):
        asked.mase(said)


def test_truth_is_not_handed_over(tmp_path: Path) -> None:
    question().hand_over(tmp_path / "0.npz")
    with np.load(tmp_path / "0.npz", allow_pickle=False) as found:
        assert not {"truth", "counted", "scale"} & set(found)
        assert found["values"].shape == (ROWS,)
        assert int(found["horizon"]) == HORIZON


@pytest.mark.parametrize(
    "change",
    [{"window": 9}, {"hidden_size": 32}, {"fit_until": 25}, {"values": np.zeros(ROWS)}, {"origins": np.arange(29, 36)}, {"dropout": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_other_rows_or_terms_are_another_question(change: dict[str, object]) -> None:
    asked = question()
    assert replace(asked).digest() == asked.digest()
    assert replace(asked, **change).digest() != asked.digest()  # type: ignore[arg-type]
