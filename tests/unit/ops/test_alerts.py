"""Alerts, dashboard and runbooks speak of metrics that there are, with labels and values that they have; each alert has its runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from db.readings import Metric
from tasks.metrics import CATALOGUE

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES_FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "fleetcast.json").read_text())
METRICS = {metric.name: metric for metric in CATALOGUE}
#: Runbooks: a heading, its first words, and the expression.
RUNBOOKS = {
    heading: re.findall(r"^```promql\n(.*?)\n```", text, re.DOTALL | re.MULTILINE)
    for heading, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
#: Labels that Prometheus adds.
SCRAPED = {"job", "instance"}


def dashboard() -> Iterator[tuple[str, str, str]]:
    """Title of the panel, expression and legend of each line."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m"), target.get("legendFormat", "")


SHOWN = [rule["expr"] for rule in RULES] + [expression for _, expression, _ in dashboard()]


def nodes(node: Any) -> Iterator[Any]:
    """An expression and all within it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from nodes(inner)
    for inner in getattr(node, "args", None) or ():
        yield from nodes(inner)


def declared(name: str) -> tuple[Metric, set[str]]:
    """The metric of a series, and the labels that its series have."""
    if name in METRICS:
        assert METRICS[name].kind != "histogram", f"{name} has only _bucket, _sum and _count"
        return METRICS[name], set(METRICS[name].labels)
    whole, _, part = name.rpartition("_")
    assert part in ("bucket", "sum", "count"), name
    assert METRICS[whole].kind == "histogram", name
    return METRICS[whole], {*METRICS[whole].labels, *(["le"] if part == "bucket" else [])}


def labels(expression: str) -> set[str]:
    """Check every series of an expression, and return the labels that all of them may have."""
    found: set[str] = set()
    selectors = [node for node in nodes(promql.parse(expression)) if isinstance(node, promql.VectorSelector)]
    assert selectors, "speaks of nothing"
    for selector in selectors:
        metric, known = declared(selector.name)
        found |= known
        for matcher in selector.matchers.matchers:
            values = metric.labels[matcher.name]
            assert values is None or set(matcher.value.split("|")) <= set(values), f"{selector.name}: {matcher.value}"
    return found


@pytest.mark.parametrize("expression", SHOWN)
def test_an_expression_speaks_of_metrics_labels_and_values_that_there_are(expression: str) -> None:
    known = labels(expression)
    for node in nodes(promql.parse(expression)):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= known, "groups by what no series of it has"


@pytest.mark.parametrize(("title", "expression", "legend"), list(dashboard()))
def test_a_legend_names_what_is_grouped_by(title: str, expression: str, legend: str) -> None:
    groups = [node.modifier.labels for node in nodes(promql.parse(expression)) if isinstance(node, promql.AggregateExpr) and node.modifier]
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= {label for each in groups for label in each}, title


@pytest.mark.parametrize(
    "spoilt",
    [
        "sum(fleetcast_no_such_thing)",
        'fleetcast_jobs{state="sleeping"}',
        'fleetcast_jobs{colour="red"}',
        "fleetcast_job_wait_seconds",
        "fleetcast_postgres_up_sum",
    ],
)
def test_what_there_is_not_is_seen(spoilt: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        labels(spoilt)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"fleetcast_\w+", json.dumps(DASHBOARD))}
    assert METRICS.keys() - shown == set()


def test_panels_lie_beside_each_other_and_have_ids_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + column, panel["gridPos"]["y"] + row)
        for panel in panels
        for column in range(panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    """Said in the same words, and by the same expression."""
    assert {rule["annotations"]["summary"]: [rule["expr"]] for rule in RULES} == RUNBOOKS
    for rule in RULES:
        heading = rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == "docs/operations.md#" + re.sub(r"\W+", "-", heading.lower())
        assert rule["alert"] == "Fleetcast" + "".join(word.capitalize() for word in re.findall(r"\w+", heading))
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_rules_are_such_as_prometheus_takes() -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("needs promtool, which comes with Prometheus")
    done = subprocess.run([tool, "check", "rules", str(RULES_FILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
