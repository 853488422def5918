"""Job specs survive their way through JSON, and know their queue."""

from __future__ import annotations

import json

import pytest

from ml.spec import ModelSpec
from tasks.jobs import QUEUES, SERVES, JobSpec, PredictJob, TrainJob, WhatIfJob, digest

SCENARIO = {"name": "more sleep", "changes": [{"channel": "asleep_min", "op": "add", "value": 60, "steps": {"last": 3}}]}
JOBS: list[JobSpec] = [
    TrainJob("user-42", "health-daily", ModelSpec(("rhr",), ("steps",), window=30, seed=4), "rhr", "always", 168.0),
    PredictJob("user-42", "rhr", 7, 0.9, "1.0.2"),
    PredictJob("user-42", "rhr"),
    WhatIfJob("user-42", "rhr", 7, 0.9, scenarios=[SCENARIO], bounds="clamp"),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_is_the_same_after_json(job: JobSpec) -> None:
    assert type(job).from_dict(json.loads(json.dumps(job.as_dict()))) == job


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_goes_to_a_queue_that_some_worker_serves(job: JobSpec) -> None:
    assert job.queue in QUEUES
    assert any(job.queue in queues for queues in SERVES.values())


def test_operators_read_entity_and_target() -> None:
    assert [job.label for job in JOBS] == ["user-42 rhr"] * 4


def test_every_queue_is_served_once() -> None:
    served = [queue for queues in SERVES.values() for queue in queues]
    assert sorted(served) == sorted(QUEUES)


def test_the_same_parts_have_the_same_digest_whatever_the_order_of_members() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}, "v1") != digest({"a": 1}, "v2")
