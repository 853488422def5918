"""A scrape for tests: the page of metrics, read as Prometheus reads it."""

from __future__ import annotations

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from db.readings import Metric
from tasks.runtime import Runtime

#: Samples by name and values of their labels.
Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def scrape(client: Client | FlaskClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


def counted(runtime: Runtime, metric: Metric, *labels: str) -> float:
    """Of a counter its total, of a histogram how many values it was given."""
    reading = runtime.meter.read()
    assert reading is not None
    cells = reading.counted[metric].get(labels, metric.empty())
    return sum(cells[:-1]) if metric.kind == "histogram" else cells[0]
