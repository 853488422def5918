"""Drawings: well-formed whatever the names and numbers are, and nothing in them that runs or is fetched."""

from __future__ import annotations

import copy
import math
import re
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.drawing import backtest
from webapp.examples.backtests import LOOKED_BACK

NAMES = (
    "<script>alert(1)</script>",
    '"><svg onload="x">',
    "a & b",
    "]]>",
    "\ufffe",
    "\x00\x1f",
    "\ud800",
    "x" * 200,
    "</style>",
    "é👩‍👩‍👧",
)
NUMBERS = re.compile(r"-?[0-9.]+")
SVG = "{http://www.w3.org/2000/svg}"


def told(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(LOOKED_BACK) | changes


def texts(svg: Element) -> list[str]:
    return [each.text or "" for each in svg.iter(f"{SVG}text")]


def lines(svg: Element, name: str) -> list[str]:
    return [each.attrib["d"] for each in svg.iter(f"{SVG}path") if each.attrib["class"] == f"line {name}"]


def require_inert(drawn: bytes) -> Element:
    """No element but these few, no attribute that runs or leads elsewhere, and every number a number."""
    svg = fromstring(drawn)
    assert {each.tag for each in svg.iter()} <= {SVG + tag for tag in ("svg", "g", "title", "style", "text", "path")}
    known = {"viewBox", "width", "height", "role", "transform", "class", "d", "x", "y", "text-anchor"}
    assert {name for each in svg.iter() for name in each.attrib} <= known
    style = next(each.text or "" for each in svg.iter(f"{SVG}style"))
    assert "url(" not in style
    assert "@import" not in style
    for path in svg.iter(f"{SVG}path"):
        assert all(math.isfinite(float(number)) for number in NUMBERS.findall(path.attrib["d"]))
        assert not re.search("nan|inf", path.attrib["d"])
    return svg


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_a_name(name: str) -> None:
    shown = require_inert(backtest(told(entity=name, target=name, others=[told(target=name)])))
    assert b"<script" not in backtest(told(entity=name, target=name))
    if name.isprintable() and len(name) < 100:
        assert any(text.startswith(name) for text in texts(shown))


def test_the_lines_are_where_the_numbers_are() -> None:
    """Two panels of a target: of three forecasters the error at seven steps, then truth and forecast with a band between."""
    svg = require_inert(backtest(told()))
    for name in ("network", "persistence", "seasonal_naive"):
        legend, line = lines(svg, name)
        assert legend.endswith("h18")
        assert line.count("L") == 6
        assert len({point.split()[1] for point in re.split("[ML]", line.removesuffix("h0"))[1:]}) == 1, "the same error at each step"
    heights = [float(lines(svg, name)[1].split()[1].split("L")[0]) for name in ("network", "persistence", "seasonal_naive")]
    assert heights == sorted(heights, reverse=True), "the larger error stands higher"
    assert len(lines(svg, "truth")) == len(lines(svg, "served")) == 2
    [band] = [each.attrib["d"] for each in svg.iter(f"{SVG}path") if each.attrib["class"] == "band served"]
    assert (band.count("L"), band[-1]) == (3, "Z")
    assert "2026-10-12T06:00:00Z" in texts(svg)


def test_a_gap_breaks_the_line_and_a_lone_number_is_a_dot() -> None:
    trace = {"at": ["a"] * 5, "truth": [1.0, None, 3.0, 4.0, None], **dict.fromkeys(("forecast", "lower", "upper"), [None] * 5)}
    svg = require_inert(backtest(told(trace=trace)))
    assert [part.count("L") for part in lines(svg, "truth")[1].split("M")[1:]] == [0, 1]
    assert lines(svg, "truth")[1].count("h0") == 2


def test_each_target_is_drawn() -> None:
    alone, together = (require_inert(backtest(told(others=others))) for others in ([], [told(target="other")]))
    assert float(together.attrib["height"]) == 2 * float(alone.attrib["height"])
    assert any(text.startswith("other:") for text in texts(together))


def test_where_no_fold_counts_the_last_is_drawn() -> None:
    nothing = {"folds": 0, "origins": 0, "scores": {}}
    assert len(lines(require_inert(backtest(told(overall=nothing))), "network")) == 2


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30), min_size=1, max_size=20))
def test_any_numbers(values: list[float | None]) -> None:
    trace = {"at": ["2026-01-01T00:00:00Z"] * len(values)} | dict.fromkeys(("truth", "forecast", "lower", "upper"), values)
    require_inert(backtest(told(trace=trace)))


def test_both_shades_are_there() -> None:
    assert b"prefers-color-scheme:dark" in backtest(told())
