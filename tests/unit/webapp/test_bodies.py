"""Strict JSON: what the reader refuses."""

from __future__ import annotations

import json

import pytest

from webapp.bodies import read_json, read_text
from webapp.problems import Refusal


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "{'a': 1}",
        '{"a": 1,}',
        json.dumps(dict.fromkeys(map(str, range(2_001)))),
        json.dumps({"a": {"x" * 1_001: 1}}),
        '{"a": 1} x',
        '"\n"',
        "",
    ],
    ids=lambda text: text[:20],
)
def test_refused(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read_json(text)
    assert refusal.value.code == "malformed_request"


def test_what_json_allows_is_read() -> None:
    assert read_json('{"a": [1, 2.5, "\\u00e4", null, true]}') == {"a": [1, 2.5, "ä", None, True]}


@pytest.mark.parametrize("text", ["[" + "[]," * 1_010_000 + "1]", '[{"a": [' * 600_000], ids=["wide", "deep"])
def test_more_lists_and_objects_than_any_body_needs(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read_json(text)
    assert refusal.value.code == "body_too_large"


def test_a_byte_order_mark_is_no_content() -> None:
    assert read_text(b"\xef\xbb\xbfat,rhr") == "at,rhr"


def test_not_utf8_is_refused() -> None:
    with pytest.raises(Refusal):
        read_text(b"\xff\xfe{}")
