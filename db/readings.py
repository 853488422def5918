"""Metrics as they are declared, and what the counts of all processes come to."""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

#: Stands for a label's value that was not declared, so that nothing from outside can make a new series.
OTHER = "other"
#: Counters of so few series are shown from the beginning, as zeros: Prometheus sees no rise in what was not there before.
SHOWN_EMPTY = 32

Labels = tuple[str, ...]
#: Of a counter its total; of a histogram how many fell into each bucket, those above the last one, and the sum of all.
Cells = list[float]


@dataclass(frozen=True, eq=False, slots=True)
class Metric:
    """One metric as it is declared."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    #: Each label with the values it may have. None: whoever counts has a closed list of its own, such as the routes.
    labels: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    #: Upper bounds of a histogram's buckets, without the last one, which has none.
    buckets: tuple[float, ...] = ()
    #: How those that several processes hold become one gauge.
    together: Literal["sum", "max"] = "sum"

    def empty(self) -> Cells:
        return [0.0] * (len(self.buckets) + 2) if self.kind == "histogram" else [0.0]

    def cells(self) -> Sequence[str]:
        """The name of each cell: a bucket's is its bound, so that a release with other bounds can still sort it in."""
        return [*map(repr, self.buckets), "inf", "sum"] if self.kind == "histogram" else ["total"]

    def place(self, cell: str) -> int:
        return -1 if cell in ("total", "sum") else bisect_left(self.buckets, float(cell))

    def series(self) -> list[Labels]:
        """Every combination of labels, when they are declared and few."""
        if None in self.labels.values():
            return []
        found = list(itertools.islice(itertools.product(*cast("Iterable[tuple[str, ...]]", self.labels.values())), SHOWN_EMPTY + 1))
        return found if len(found) <= SHOWN_EMPTY else []


@dataclass(frozen=True, slots=True)
class Reading:
    """What all processes have counted, and what those that live hold."""

    counted: Mapping[Metric, Mapping[Labels, Cells]]
    held: Mapping[Metric, Mapping[Labels, float]]


def add_up(declared: Mapping[str, Metric], counts: Mapping[str, str]) -> dict[Metric, dict[Labels, Cells]]:
    """The counts by series, of metrics `declared` by name. What only another release knows is passed over."""
    countable = [metric for metric in declared.values() if metric.kind != "gauge"]
    found: dict[Metric, dict[Labels, Cells]] = {metric: {s: metric.empty() for s in metric.series()} for metric in countable}
    for key, amount in counts.items():
        name, *labels, cell = json.loads(key)
        metric = declared.get(name)
        if metric in found and len(labels) == len(metric.labels):
            cells = found[metric].setdefault(tuple(labels), metric.empty())
            cells[metric.place(cell)] += float(amount)
    return found


def bring_together(declared: Mapping[str, Metric], cards: Iterable[str]) -> dict[Metric, dict[Labels, float]]:
    """The gauges of all living processes, each made one of those that they hold."""
    found: dict[Metric, dict[Labels, float]] = {}
    for metric, labels, value in _told_by(declared, cards):
        series = found.setdefault(metric, {})
        before = series.get(labels)
        series[labels] = value if before is None else before + value if metric.together == "sum" else max(before, value)
    return found


def _told_by(declared: Mapping[str, Metric], cards: Iterable[str]) -> Iterator[tuple[Metric, Labels, float]]:
    for name, labels, value in itertools.chain.from_iterable(map(json.loads, cards)):
        metric = declared.get(name)
        if metric is not None and metric.kind == "gauge" and len(labels) == len(metric.labels):
            yield metric, tuple(labels), float(value)
