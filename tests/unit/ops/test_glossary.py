"""The glossary has the words of the house, and each of them is one that the pages and the program really use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "glossary.md").read_text()
ROWS = re.findall(r"^\| \*\*(\w+)\*\* \| ([^|]+) \|$", PAGE, re.MULTILINE)
WORDS = re.findall(r"\*\*(\w+)\*\*", PAGE)
CODE = "".join(file.read_text() for room in ("webapp", "tasks", "db", "ml", "ops") for file in (ROOT / room).rglob("*.py"))
#: What each word is not called.
SYNONYMS = ("time series id", "sensor id", "feature column", "dataset", "model zoo", "run id", "workspace", "organisation")


def test_each_word_stands_there_once_with_what_it_is() -> None:
    assert len(WORDS) == len(set(WORDS))
    assert len(ROWS) == len(re.findall(r"^\| \*\*", PAGE, re.MULTILINE)), "a row of another form"


def test_the_words_that_contributing_asks_for_are_all_there() -> None:
    told = re.search(r"\*\*Words\.\*\* ([^:]+):", (ROOT / "CONTRIBUTING.md").read_text())
    assert told is not None
    assert {word.lower() for word in told[1].split(", ")} <= set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_used(word: str) -> None:
    """On two other pages at least, and in the program."""
    others = [page for page in (ROOT / "docs").rglob("*.md") if page.name != "glossary.md"]
    assert sum(re.search(rf"\b{word}", page.read_text(), re.IGNORECASE) is not None for page in others) >= 2
    assert re.search(rf"\b{word}", CODE, re.IGNORECASE)


def test_no_page_calls_a_thing_by_another_name() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert [word for word in SYNONYMS if re.search(rf"\b{word}s?\b", page.read_text(), re.IGNORECASE)] == [], page
