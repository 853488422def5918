"""The broker's settings that reliability stands on: changing one is a decision, not a slip."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.environment import load
from tasks.jobs import QUEUES
from tasks.queue import make_celery

APP = make_celery(load({"REDIS_URL": "redis://127.0.0.1:1/0"}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("task_ignore_result", True),
        ("result_backend", None),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("worker_prefetch_multiplier", 1),
        ("worker_disable_prefetch", True),
        ("broker_connection_max_retries", None),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("task_create_missing_queues", False),
        ("task_time_limit", 3900),
    ],
)
def test_the_setting_stands(setting: str, value: object) -> None:
    assert APP.conf[setting] == value


@pytest.mark.parametrize("option", ["socket_timeout", "socket_connect_timeout", "health_check_interval"])
def test_no_connection_can_hang_for_good(option: str) -> None:
    assert 0 < APP.conf.broker_transport_options[option] <= 5


def test_the_queues_are_those_of_the_jobs() -> None:
    assert [queue.name for queue in APP.conf.task_queues] == list(QUEUES)


LIGHT = ("tasks.dispatcher", "tasks.submit", "tasks.celery", "ops.run", "ops.house")
#: A worker needs torch; what it does not need would take half as long again to load.
UNNEEDED = {name: {"torch", "numpy", "pandas", "sklearn", "safetensors", "pyarrow"} for name in LIGHT} | {
    "tasks.worker": {"pandas", "sklearn", "scipy", "pyarrow", "matplotlib"}
}


@pytest.mark.parametrize("module", UNNEEDED)
def test_processes_start_without_the_numeric_libraries_that_they_do_not_need(module: str) -> None:
    heavy = repr(UNNEEDED[module])
    program = f"import sys, {module}; found = {heavy} & set(sys.modules); sys.exit(', '.join(found) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_the_broker_is_reached_by_a_transport_that_outlives_garbage(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:1/0" + ("?ssl_cert_reqs=required" if scheme == "rediss" else "")
    connection = make_celery(load({"REDIS_URL": url})).connection_for_read()
    assert connection.get_transport_cls().__module__ == "tasks.broker"
    assert bool(connection.ssl) is (scheme == "rediss")
