"""Means, ratios and markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tables import figure, geometric_mean, markdown, mean, skill

RATIOS = st.lists(st.floats(0.01, 100), min_size=1)


@given(RATIOS)
def test_a_geometric_mean_of_inverses_is_the_inverse(ratios: list[float]) -> None:
    there, back = geometric_mean(ratios), geometric_mean(1 / ratio for ratio in ratios)
    assert there is not None
    assert back == pytest.approx(1 / there)


@given(RATIOS)
def test_a_geometric_mean_is_at_most_the_mean(ratios: list[float]) -> None:
    found, arithmetic = geometric_mean(ratios), mean(ratios)
    assert found is not None
    assert arithmetic is not None
    assert found <= arithmetic * (1 + 1e-9)


def test_of_nothing_there_is_no_mean() -> None:
    assert mean([]) is None
    assert geometric_mean([]) is None


@pytest.mark.parametrize(
    ("mase", "naive", "found"), [(0.5, (1.0, 2.0), 0.5), (2.0, (1.0, 4.0), -1.0), (1.0, (1.0, 1.0), 0.0), (0.5, (0.0, 1.0), None)]
)
def test_skill_is_against_the_better_baseline(mase: float, naive: tuple[float, ...], found: float | None) -> None:
    assert skill(mase, *naive) == found


@pytest.mark.parametrize(
    ("number", "digits", "unit", "shown"),
    [(None, 3, "×", "–"), (0.12345, 3, "", "0.123"), (1234.5, 1, "×", "1,234.5×"), (0.0, 0, " s", "0 s")],
)
def test_a_figure_is_short_and_a_missing_one_a_dash(number: float | None, digits: int, unit: str, shown: str) -> None:
    assert figure(number, digits, unit) == shown


def test_a_table_has_a_head_a_rule_and_its_rows() -> None:
    assert markdown(["set", "n"], [["nab", "6"]]) == "| set | n |\n| :-- | --: |\n| nab | 6 |"
