"""What is remembered of a rival, and when it is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import guests
from bench.guests import LIBRARY, Answer, answer, versions
from bench.question import Question


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the series that a rival was really asked for."""
    names: list[str] = []

    def ask(rival: str, version: str, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        for question in questions:
            names.append(question.series)
            yield question, Answer(rival, version, question.digest(), 0.5, 2.0, 1.0)

    monkeypatch.setattr(guests, "RESULTS", tmp_path)
    monkeypatch.setattr(guests, "_install", lambda: None)
    monkeypatch.setattr(guests, "_asked", ask)
    return names


def question(series: str) -> Question:
    values, origins = np.arange(20.0), np.arange(15, 18)
    return Question("set", series, values, 10, 15, origins, np.ones((3, 1), dtype=bool), values[origins + 1][:, None], 1.0, 7, 4, 8, 1, 0.0)


def test_every_rival_has_a_pinned_library() -> None:
    assert set(LIBRARY.values()) <= set(versions())


def test_what_is_remembered_is_not_asked_again(asked: list[str]) -> None:
    first = answer("textbook", [question("a"), question("b")])
    assert answer("textbook", [question("a"), question("b"), question("c")]) == first | {
        "c": replace(first["a"], question=question("c").digest())
    }
    assert asked == ["a", "b", "c"]


def test_fresh_asks_again(asked: list[str]) -> None:
    answer("textbook", [question("a")])
    answer("textbook", [question("a")], fresh=True)
    assert asked == ["a", "a"]


@pytest.mark.parametrize("change", [{"window": 5}, {"values": np.arange(20.0) + 1}])
def test_an_answer_to_other_rows_or_terms_is_not_taken(asked: list[str], change: dict[str, object]) -> None:
    answer("textbook", [question("a")])
    answer("textbook", [replace(question("a"), **change)])  # type: ignore[arg-type]
    assert asked == ["a", "a"]


def test_another_version_of_the_library_is_asked_anew(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer("darts", [question("a")])
    monkeypatch.setattr(guests, "versions", lambda: {"darts": "99"})
    assert answer("darts", [question("a")])["a"].version == "99"
    assert asked == ["a", "a"]
