"""The catalogue of metrics: named as Prometheus wants it, bounded, and the same in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from db.breaker import make_redis
from db.meter import Meter
from db.readings import Metric
from tasks import metrics
from tasks.jobs import BATCH, INTERACTIVE, TRAIN
from tasks.metrics import CATALOGUE

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
NAMES = {metric.name: metric for metric in CATALOGUE}
#: Labels without a list of values: routes are ours, workers and their devices are few and gone when they are.
OPEN = {"route", "worker", "device", "source"}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_names_and_labels(metric: Metric) -> None:
    assert re.fullmatch(r"fleetcast(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert "|" not in metric.help
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    for label, values in metric.labels.items():
        assert (values is None) == (label in OPEN)
        assert label not in ("tenant", "entity", "job", "le")


def test_each_name_is_declared_once() -> None:
    assert len(NAMES) == len(CATALOGUE)


def test_kinds_and_queues_are_those_there_are() -> None:
    assert metrics.KINDS == (
        "train",
        "pretrain",
        "import",
        "predict",
        "what_if",
        "backtest",
        "anomaly_train",
        "anomaly_detect",
        "readiness",
    )
    assert metrics.QUEUE_JOBS.labels["queue"] == (INTERACTIVE, BATCH, TRAIN)


def test_the_table_of_the_docs_is_the_catalogue() -> None:
    told = PAGE.split("<!-- metrics -->\n")[1].split("\n<!-- /metrics -->")[0]
    assert told == metrics.table(), "write it with: python -c 'from tasks.metrics import table; print(table())'"


FAILED: dict[str, Any] = {"batch": False, "kind": "train", "state": "failed", "error": {"code": "insufficient_data"}}


@pytest.mark.parametrize(
    ("found", "counted"),
    [
        (FAILED, {("ended", "train", "failed"), ("failed", "train", "insufficient_data")}),
        (FAILED | {"error": None}, {("ended", "train", "failed"), ("failed", "train", "other")}),
        (FAILED | {"state": "succeeded", "error": None}, {("ended", "train", "succeeded")}),
        (FAILED | {"batch": True}, set()),
    ],
)
def test_an_end_is_counted(found: dict[str, Any], counted: set[tuple[str, ...]]) -> None:
    meter = Meter(make_redis("redis://127.0.0.1:1/0"), CATALOGUE)
    metrics.count_end(meter, found)
    names = {metrics.JOBS_ENDED: "ended", metrics.JOBS_FAILED: "failed"}
    assert {(names[metric], *labels) for metric, labels in meter._counts} == counted
