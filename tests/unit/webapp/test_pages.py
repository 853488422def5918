"""Cursors: bound to their list and filters, and never trusted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from webapp.pages import decode, encode, number, page, semver, text
from webapp.problems import Refusal

FILTERS = {"list": "jobs", "state": "queued"}


@pytest.mark.parametrize(("mark", "read"), [(42, number), ("mdl_1", text), ("1.20.3", semver)])
def test_round_trip(mark: Any, read: Any) -> None:
    assert decode(encode(mark, FILTERS), FILTERS, read) == mark


def test_no_cursor_is_the_first_page() -> None:
    assert decode(None, FILTERS, number) is None


def _forged(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


BINDING = json.loads(base64.urlsafe_b64decode(encode(1, FILTERS) + "=="))[0]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "🙂",
        "A" * 999,
        encode(1, FILTERS | {"state": "failed"}),
        encode(1, {"list": "models", "state": "queued"}),
        encode("one", FILTERS),
        _forged([BINDING, True]),
        _forged([BINDING, -1]),
        _forged([BINDING, 2**63]),
        _forged([BINDING, [1]]),
        _forged([BINDING]),
        _forged({}),
        _forged(None),
        _forged([BINDING, 1, 2]),
    ],
)
def test_unknown_cursors(cursor: str) -> None:
    with pytest.raises(Refusal) as refusal:
        decode(cursor, FILTERS, number)
    assert refusal.value.extra["errors"][0]["pointer"] == "/query/cursor"


@pytest.mark.parametrize("mark", ["a\0b", "\ud800", "", "x" * 201, 7])
def test_texts_that_postgres_would_refuse(mark: Any) -> None:
    with pytest.raises(Refusal):
        decode(_forged([BINDING, mark]), FILTERS, text)


@pytest.mark.parametrize("mark", ["1.0", "1.0.0.0", "01.0.0", "1.0.x", "-1.0.0", "1.0.1234567890", "٣.0.0", "", 1.0, None])
def test_marks_that_are_no_version(mark: Any) -> None:
    with pytest.raises(Refusal):
        decode(_forged([BINDING, mark]), FILTERS, semver)


def test_a_cursor_has_one_spelling() -> None:
    """Python's reader passes over what is not base64."""
    cursor = encode(1, FILTERS)
    for other in (cursor + "!", f" {cursor}", cursor[:5] + "\n" + cursor[5:], cursor + "===="):
        with pytest.raises(Refusal):
            decode(other, FILTERS, number)


def test_a_page_knows_whether_there_is_a_next_one() -> None:
    full = page([1, 2, 3], 2, lambda row: row, FILTERS)
    assert full["data"] == [1, 2]
    assert decode(full["next_cursor"], FILTERS, number) == 2
    assert page([1, 2], 2, lambda row: row, FILTERS) == {"data": [1, 2], "next_cursor": None}
    assert page([], 2, lambda row: row, FILTERS) == {"data": [], "next_cursor": None}
