"""Keys of the forecast cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from db.cache import key
from db.forecasts import Question

QUESTIONS = st.builds(
    Question,
    st.sampled_from(["ver_1", "ver_2"]),
    st.text("a:0.", min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([0.5, 0.9, 0.95]),
)


def test_the_key_reads_as_designed() -> None:
    assert key("tnt_1", Question("ver_1", "rhr", 3, 7, 0.9)) == "fleetcast:tnt_1:forecast:ver_1:rhr:3:7:0.9"


@given(one=QUESTIONS, other=QUESTIONS)
def test_different_questions_have_different_keys(one: Question, other: Question) -> None:
    assert (key("t", one) == key("t", other)) == (one == other)
