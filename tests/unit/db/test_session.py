"""What goes into a JSON column is what Postgres takes."""

from __future__ import annotations

import json

import pytest

from db.session import to_json


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"loss": float("nan")}, {"loss": None}),
        ([1.5, float("inf"), -float("inf")], [1.5, None, None]),
        ({"deep": [{"x": (float("nan"), 2)}]}, {"deep": [{"x": [None, 2]}]}),
        ({"detail": "a\0b"}, {"detail": "ab"}),
        ({"a\0": [float("nan"), "\0"]}, {"a": [None, ""]}),
        ({"written": "a\\u0000b", "ends": "\\u0000"}, {"written": "a\\u0000b", "ends": "\\u0000"}),
        ({"plain": "ä", "n": 1, "none": None, "yes": True}, {"plain": "ä", "n": 1, "none": None, "yes": True}),
    ],
)
def test_nan_becomes_null_and_nul_is_dropped(given: object, read: object) -> None:
    assert json.loads(to_json(given)) == read
