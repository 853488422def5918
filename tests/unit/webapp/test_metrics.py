"""The page of metrics as Prometheus reads it, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine

from db.census import Census, Unfinished
from db.deliveries import Backlog
from db.readings import Metric
from tasks import metrics
from tests.support.web import House, make_house, make_runtime
from webapp.metrics import _counted, _gauges, _of_postgres, render


@pytest.fixture(scope="module")
def lost() -> House:
    """Both servers away."""
    return make_house(make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0", max_queue=500))


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each line by its name and its labels' values."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_with_both_servers_away_it_says_so_and_nothing_else(lost: House) -> None:
    answer = lost.app.test_client().get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert samples(answer.data) == {("fleetcast_postgres_up", ()): 0, ("fleetcast_redis_up", ()): 0}


def test_a_histogram_is_added_up_from_below() -> None:
    metric = Metric("t_seconds", "histogram", "Times.", {"kind": ("train",)}, (0.1, 1.0))
    found = samples(render([_counted(metric, {("train",): [2, 3, 1, 9.5]})]))
    assert found == {
        ("t_seconds_bucket", ("train", "0.1")): 2,
        ("t_seconds_bucket", ("train", "1.0")): 5,
        ("t_seconds_bucket", ("train", "+Inf")): 6,
        ("t_seconds_count", ("train",)): 6,
        ("t_seconds_sum", ("train",)): 9.5,
    }


def test_labels_are_escaped() -> None:
    metric = Metric("t_total", "counter", 'With "quotes" and \\.', {"route": None})
    assert samples(render([_counted(metric, {('/"\n\\',): [1]})])) == {("t_total", ('/"\n\\',)): 1}


def test_every_metric_of_the_catalogue_can_be_shown() -> None:
    empty = [_counted(m, {tuple("x" * len(m.labels)): m.empty()}) for m in metrics.CATALOGUE if m.kind != "gauge"]
    gauges = _gauges({m: {tuple("x" * len(m.labels)): 1.0} for m in metrics.CATALOGUE if m.kind == "gauge"})
    families = list(text_string_to_metric_families(render([*empty, *gauges]).decode()))
    told = {f.name + ("_total" if f.type == "counter" else ""): (f.type, f.documentation) for f in families}
    assert told == {m.name: (m.kind, m.help) for m in metrics.CATALOGUE}


def waiting(**changes: Any) -> Unfinished:
    given: Mapping[str, Any] = {
        "kind": "train", "queue": "train", "state": "queued", "batch": False, "jobs": 1,
        "oldest_due_s": None, "lease_left_s": None, "lapsed": 0,
    }  # fmt: skip
    return Unfinished(**given | changes)


def test_what_postgres_holds(lost: House) -> None:
    found = Census(
        unfinished=[
            waiting(jobs=7, oldest_due_s=90.0),
            waiting(kind="predict", queue="batch", jobs=2, oldest_due_s=5.0),
            waiting(kind="what_if", queue="batch", jobs=1, oldest_due_s=50.0),
            waiting(state="running", jobs=2, lease_left_s=-10.0, lapsed=1),
            waiting(kind="predict", queue="interactive", state="running", lease_left_s=25.0),
            waiting(state="running", batch=True, jobs=3),
        ],
        schedules_behind_s=12.0,
        database_bytes=1000,
        table_bytes={"jobs": 400},
        deliveries=Backlog(5, 12.0),
        connections={"fleetcast-web": 3, "psql of somebody": 1, "": 2},
        max_connections=100,
    )
    shown = samples(render(_gauges(_of_postgres(found, lost.runtime))))
    assert {key: value for key, value in shown.items() if value} == {
        ("fleetcast_jobs", ("train", "queued")): 7,
        ("fleetcast_jobs", ("predict", "queued")): 2,
        ("fleetcast_jobs", ("what_if", "queued")): 1,
        ("fleetcast_jobs", ("train", "running")): 2,
        ("fleetcast_jobs", ("predict", "running")): 1,
        ("fleetcast_batches", ()): 3,
        ("fleetcast_queue_jobs", ("train", "queued")): 7,
        ("fleetcast_queue_jobs", ("batch", "queued")): 3,
        ("fleetcast_queue_jobs", ("train", "running")): 2,
        ("fleetcast_queue_jobs", ("interactive", "running")): 1,
        ("fleetcast_queue_oldest_due_seconds", ("train",)): 90,
        ("fleetcast_queue_oldest_due_seconds", ("batch",)): 50,
        ("fleetcast_queue_limit_jobs", ()): 500,
        ("fleetcast_lease_age_seconds", ()): 40,
        ("fleetcast_leases_lapsed", ()): 1,
        ("fleetcast_webhook_deliveries_pending", ()): 5,
        ("fleetcast_webhook_oldest_pending_seconds", ()): 12,
        ("fleetcast_schedules_behind_seconds", ()): 12,
        ("fleetcast_database_bytes", ()): 1000,
        ("fleetcast_table_bytes", ("jobs",)): 400,
        ("fleetcast_postgres_connections", ("fleetcast-web",)): 3,
        ("fleetcast_postgres_connections", ("other",)): 3,
        ("fleetcast_postgres_connections_limit", ()): 100,
    }
    assert ("fleetcast_queue_jobs", ("interactive", "queued")) in shown, "an empty queue is shown as empty"


def test_an_idle_house_has_no_lease_and_nothing_due(lost: House) -> None:
    found = Census(
        unfinished=[],
        schedules_behind_s=0.0,
        database_bytes=1,
        table_bytes={},
        deliveries=Backlog(0, 0.0),
        connections={},
        max_connections=100,
    )
    shown = samples(render(_gauges(_of_postgres(found, lost.runtime))))
    assert shown["fleetcast_lease_age_seconds", ()] == 0
    assert shown["fleetcast_queue_oldest_due_seconds", ("train",)] == 0
