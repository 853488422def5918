"""The wording of interpretations, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.interpretation import History, interpret

Side = Literal["higher", "lower"] | None
USUAL = History(average=57.1, deviation=2.0, percentile=50.0, days=30.0, rows=30)

ABOVE = "Above the 30-day average of 57.1 bpm; higher than 93 % of that time."
BELOW = "Below the 30-day average of 57.1 bpm; lower than 94 % of that time."
LOWER, HIGHER = (f" {word} is better for this channel; the forecast lies on {{}} side." for word in ("Lower", "Higher"))
CASES = [
    (57.2, 52, None, "Close to the 30-day average of 57.1 bpm; within the usual range."),
    (58.5, 72, None, "Slightly above the 30-day average of 57.1 bpm; within the usual range."),
    (55.9, 30, None, "Slightly below the 30-day average of 57.1 bpm; within the usual range."),
    (60.0, 93, None, ABOVE),
    (54.0, 6, None, BELOW),
    (63.0, 100, None, "Well above the 30-day average of 57.1 bpm; higher than 100 % of that time."),
    (51.0, 0, None, "Well below the 30-day average of 57.1 bpm; lower than 100 % of that time."),
    (57.2, 52, "lower", "Close to the 30-day average of 57.1 bpm; within the usual range."),
    (60.0, 93, "lower", ABOVE + LOWER.format("the other")),
    (54.0, 6, "lower", BELOW + LOWER.format("that")),
    (60.0, 93, "higher", ABOVE + HIGHER.format("that")),
    (54.0, 6, "higher", BELOW + HIGHER.format("the other")),
]


@pytest.mark.parametrize(("mean", "percentile", "direction", "said"), CASES)
def test_each_case_has_its_wording(mean: float, percentile: float, direction: Side, said: str) -> None:
    assert interpret(mean, replace(USUAL, percentile=percentile), unit="bpm", direction=direction) == said


@pytest.mark.parametrize(
    ("days", "said"),
    [(30.0, "30-day"), (7.0, "7-day"), (2.0, "2-day"), (1.0, "24-hour"), (0.5, "12-hour"), (0.01, "1-hour")],
)
def test_the_span_is_what_was_really_looked_back_on(days: float, said: str) -> None:
    assert f"the {said} average" in interpret(57.0, replace(USUAL, days=days))


def test_too_few_rows_make_no_usual_range() -> None:
    said = interpret(57.0, replace(USUAL, rows=6), unit="bpm")
    assert said == "About 57 bpm on average; 6 rows are too few to say what is usual."


def test_a_flat_history_is_close_to_itself_and_far_from_all_else() -> None:
    flat = replace(USUAL, deviation=0.0, percentile=100.0)
    assert interpret(57.1, replace(flat, percentile=50.0)).startswith("Close to")
    assert interpret(57.2, flat).startswith("Well above")


def test_large_numbers_are_whole_and_a_unit_is_said_only_where_there_is_one() -> None:
    assert "average of 12346;" in interpret(12_000.0, replace(USUAL, average=12_345.6, deviation=500.0))


@given(
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
    st.floats(0, 1e12),
    st.floats(0, 100),
    st.sampled_from([None, "higher", "lower"]),
)
def test_it_is_one_or_two_sentences_and_no_advice(
    mean: float, average: float, deviation: float, percentile: float, direction: Side
) -> None:
    said = interpret(mean, History(average, deviation, percentile, 30.0, 30), unit="bpm", direction=direction)
    assert 1 <= said.count(". ") + said.endswith(".") <= 2
    assert not {"should", "must", "try", "risk", "healthy", "doctor"} & set(said.lower().split())
    side = "above" if mean > average else "below"
    assert ("above" in said or "below" in said) <= (side in said)
