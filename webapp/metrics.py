"""Metrics: what operators see of the house, as Prometheus reads it. No key, and no tenant's data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from flask import Flask, Response, current_app, g
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from db import census
from db.census import Census
from db.readings import OTHER, Cells, Labels, Metric
from tasks import metrics
from tasks.runtime import Runtime
from webapp.context import asked
from webapp.contract import Blueprint
from webapp.problems import MEDIA_TYPE
from webapp.sight import Sight

blp = Blueprint("metrics", __name__, description="For load balancers and operators")

EXTENSION = "fleetcast.metrics"
#: A page is shown again for so long: however many ask, Postgres and Redis are asked so often.
FRESH_S = 3.0
#: The route of a request that met none.
NOWHERE = "none"

Gauges = Mapping[Metric, Mapping[Labels, float]]


@blp.route("/metrics")
@blp.response(200, {"type": "string"}, content_type="text/plain")
def get_metrics() -> Response:
    """Metrics for Prometheus, a few seconds old at most"""
    page: Sight[bytes] = current_app.extensions[EXTENSION]
    return Response(page.seen(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class Page:
    """The page, made anew each time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._postgres = census.side_door(runtime.engine.url)

    def text(self) -> bytes:
        return render(self._families())

    def _families(self) -> Iterator[Family]:
        """What Postgres and Redis tell; of one that is away only that it is."""
        counted = self._census()
        yield _family(metrics.POSTGRES_UP, {(): float(counted is not None)})
        if counted is not None:
            yield from _gauges(_of_postgres(counted, self._runtime))
        reading = self._runtime.meter.read()
        yield _family(metrics.REDIS_UP, {(): float(reading is not None)})
        if reading is not None:
            # A role that nobody has is told as such, for whoever wants to be called when the last one died.
            alive = {**_empty(metrics.PROCESSES), **reading.held.get(metrics.PROCESSES, {})}
            yield from _gauges({**reading.held, metrics.PROCESSES: alive})
            yield from (_counted(metric, series) for metric, series in reading.counted.items())

    def _census(self) -> Census | None:
        try:
            with self._postgres.connect() as connection:
                return census.take(connection)
        except DBAPIError:
            return None


def _of_postgres(found: Census, runtime: Runtime) -> Gauges:
    jobs = [row for row in found.unfinished if not row.batch]
    oldest = _empty(metrics.QUEUE_OLDEST)
    for row in jobs:
        oldest[(row.queue,)] = max(oldest.get((row.queue,), 0.0), row.oldest_due_s or 0.0)
    lease_left = [row.lease_left_s for row in jobs if row.lease_left_s is not None]
    return {
        metrics.JOBS: _added_up(metrics.JOBS, (((row.kind, row.state), row.jobs) for row in jobs)),
        metrics.BATCHES: {(): sum(row.jobs for row in found.unfinished if row.batch)},
        metrics.QUEUE_JOBS: _added_up(metrics.QUEUE_JOBS, (((row.queue, row.state), row.jobs) for row in jobs)),
        metrics.QUEUE_OLDEST: oldest,
        metrics.QUEUE_LIMIT: {(): runtime.settings.max_queue},
        metrics.LEASE_AGE: {(): max(0.0, runtime.settings.lease_s - min(lease_left, default=runtime.settings.lease_s))},
        metrics.LEASES_LAPSED: {(): sum(row.lapsed for row in jobs)},
        metrics.DELIVERIES_PENDING: {(): found.deliveries.pending},
        metrics.DELIVERIES_OLDEST: {(): found.deliveries.oldest_s},
        metrics.SCHEDULES_BEHIND: {(): found.schedules_behind_s},
        metrics.DATABASE_BYTES: {(): found.database_bytes},
        metrics.TABLE_BYTES: {(name,): size for name, size in found.table_bytes.items()},
        metrics.CONNECTIONS: _connections(found.connections),
        metrics.CONNECTIONS_LIMIT: {(): found.max_connections},
    }


def _connections(found: Mapping[str, int]) -> dict[Labels, float]:
    """A client can call itself anything, so only our own names are told."""
    named = ((name if name in metrics.APPLICATIONS else OTHER, count) for name, count in found.items())
    return _added_up(metrics.CONNECTIONS, (((name,), count) for name, count in named))


def _added_up(metric: Metric, found: Iterable[tuple[Labels, float]]) -> dict[Labels, float]:
    series = _empty(metric)
    for labels, value in found:
        series[labels] = series.get(labels, 0.0) + value
    return series


def _empty(metric: Metric) -> dict[Labels, float]:
    return dict.fromkeys(metric.series(), 0.0)


def render(families: Iterable[Family]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(families)))
    return generate_latest(registry)


class _Once(Collector):
    """Families as they were made."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families

    def describe(self) -> list[Family]:
        return []


def _gauges(found: Gauges) -> Iterator[Family]:
    return (_family(metric, series) for metric, series in found.items())


def _family(metric: Metric, series: Mapping[Labels, float]) -> Family:
    gauge = GaugeMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    for labels, value in series.items():
        gauge.add_metric(labels, value)
    return gauge


def _counted(metric: Metric, series: Mapping[Labels, Cells]) -> Family:
    if metric.kind == "histogram":
        return _histogram(metric, series)
    counter = CounterMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    for labels, [total] in series.items():
        counter.add_metric(labels, total)
    return counter


def _histogram(metric: Metric, series: Mapping[Labels, Cells]) -> Family:
    """Prometheus wants in each bucket all that is below its bound."""
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    bounds = [*map(str, metric.buckets), "+Inf"]
    for labels, [*buckets, total] in series.items():
        histogram.add_metric(labels, list(zip(bounds, accumulate(buckets), strict=True)), total)
    return histogram


def watch(app: Flask, runtime: Runtime) -> None:
    """Count each request by its route, never by its path: a path names entities, and anybody can send a new one."""
    app.extensions[EXTENSION] = Sight(Page(runtime).text, FRESH_S)
    meter = runtime.meter

    @app.after_request
    def count(response: Response) -> Response:
        request = asked()
        route = NOWHERE if request.url_rule is None else request.url_rule.rule
        meter.count(metrics.REQUESTS, request.method, route, str(response.status_code))
        meter.observe(metrics.REQUEST_TIME, time.perf_counter() - g.began, request.method, route)
        if response.status_code >= 400 and response.content_type == MEDIA_TYPE:
            meter.count(metrics.REFUSED, response.get_json()["code"])
        return response
