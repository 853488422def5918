"""Drawings: a backtest as one SVG that runs nothing and fetches nothing. Elements are made, never written as text, so names stay names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

Numbers = Sequence[float | None]
Points = list[tuple[float, float]]

_WIDTH, _HEIGHT = 760.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 16.0, 58.0, 30.0
#: Lines between the least and the greatest value.
_RULES = 4
#: Characters that a line of text has room for.
_LONGEST = 100
#: XML has no way to write these, and names may hold some.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLOURS = {"network": "#0072b2", "persistence": "#d55e00", "seasonal_naive": "#009e73", "served": "#cc79a7", "truth": "#888888"}
_STYLE = (
    "svg{background:#fff;color:#222}"
    "@media (prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}}"
    "text{font:13px system-ui,sans-serif;fill:currentColor}"
    + "".join(f".{name}{{stroke:{colour};fill:{colour}}}" for name, colour in _COLOURS.items())
    + ".rule{stroke:currentColor;opacity:.2}.line{fill:none;stroke-width:2;stroke-linecap:round}.band{stroke:none;opacity:.25}"
)


def backtest(result: Mapping[str, Any]) -> bytes:
    """The result of a backtest: of each target the error of each step, and truth beside forecast over the end of the last fold."""
    told = [result, *result["others"]]
    size = {"width": f"{_WIDTH:g}", "height": f"{2 * len(told) * _HEIGHT:g}", "role": "img"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {size['width']} {size['height']}", **size})
    SubElement(svg, "title").text = _clean(f"Backtest of {result['entity']}")
    SubElement(svg, "style").text = _STYLE
    for number, one in enumerate(told):
        _errors(_panel(svg, 2 * number), one, result["horizon"])
        _trace(_panel(svg, 2 * number + 1), one, result["level"])
    drawn: bytes = tostring(svg, encoding="utf-8", xml_declaration=True)
    return drawn


def _errors(panel: Element, told: Mapping[str, Any], horizon: int) -> None:
    shown = told["overall"] if told["overall"]["folds"] else told["folds"][-1]  # where no fold counts, the last
    lines = {name: found["metrics_per_step"]["mae"] for name, found in shown["scores"].items() if name != "served"}
    _write(panel, f"{told['target']}: mean absolute error by step", list(lines), ("1", str(horizon)))
    scale = _Scale(horizon, [0.0, *(value for steps in lines.values() for value in steps)])
    scale.rule(panel)
    for name, steps in lines.items():
        scale.draw(panel, _class(name), steps)


def _trace(panel: Element, told: Mapping[str, Any], level: float) -> None:
    trace = told["trace"]
    at = trace["at"]
    _write(panel, f"{told['target']}: truth, and what was served with its {level:.0%} interval", ["truth", "served"], (at[0], at[-1]))
    scale = _Scale(len(at), [value for name in ("truth", "lower", "upper") for value in trace[name]])
    scale.rule(panel)
    scale.band(panel, "served", trace["lower"], trace["upper"])
    for name, values in (("truth", trace["truth"]), ("served", trace["forecast"])):
        scale.draw(panel, name, values)


def _panel(svg: Element, number: int) -> Element:
    return SubElement(svg, "g", {"transform": f"translate(0 {number * _HEIGHT:g})"})


def _write(panel: Element, title: str, names: Sequence[str], ends: tuple[str, str]) -> None:
    """What it shows, by which lines, and from where to where."""
    _text(panel, _LEFT, 22, title)
    for number, name in enumerate(names):
        x = _LEFT + 150 * number
        SubElement(panel, "path", {"class": f"line {_class(name)}", "d": f"M{x:g} 40h18"})
        _text(panel, x + 24, 44, name)
    _text(panel, _LEFT, _HEIGHT - 8, ends[0])
    _text(panel, _WIDTH - _RIGHT, _HEIGHT - 8, ends[1], "end")


def _text(panel: Element, x: float, y: float, words: str, anchor: str = "start") -> None:
    SubElement(panel, "text", {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}).text = _clean(words)


def _clean(words: str) -> str:
    found = _NO_XML.sub("\ufffd", words)
    return found if len(found) <= _LONGEST else found[:_LONGEST] + "…"


def _class(name: str) -> str:
    return name if name in _COLOURS else "network"


class _Scale:
    """Where on the panel the numbers stand: `count` columns, and all values between bottom and top."""

    def __init__(self, count: int, values: Numbers) -> None:
        known = [value for value in values if value is not None] or [0.0]
        self.low, self.high = min(known), max(known)
        self.across = (_WIDTH - _LEFT - _RIGHT) / max(count - 1, 1)

    def at(self, column: int, value: float) -> tuple[float, float]:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return _LEFT + column * self.across, _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def rule(self, panel: Element) -> None:
        for number in range(_RULES + 1):
            value = self.low + (self.high - self.low) * number / _RULES
            _, y = self.at(0, value)
            SubElement(panel, "path", {"class": "rule", "d": f"M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"})
            _text(panel, _LEFT - 6, y + 4, f"{value:.4g}", "end")

    def draw(self, panel: Element, name: str, values: Numbers) -> None:
        """A line, broken where there is no number; a lone number is a dot."""
        path = "".join(f"M{_joined(run)}h0" for run in self._runs(values))
        SubElement(panel, "path", {"class": f"line {name}", "d": path})

    def band(self, panel: Element, name: str, lower: Numbers, upper: Numbers) -> None:
        outlines = (below + above[::-1] for below, above in zip(self._runs(lower), self._runs(upper), strict=True))
        SubElement(panel, "path", {"class": f"band {name}", "d": "".join(f"M{_joined(outline)}Z" for outline in outlines)})

    def _runs(self, values: Numbers) -> Iterator[Points]:
        for missing, run in groupby(enumerate(values), key=lambda each: each[1] is None):
            if not missing:
                yield [self.at(column, value) for column, value in run if value is not None]


def _joined(points: Points) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
