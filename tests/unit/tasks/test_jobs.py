"""Job specs survive their way through JSON, and know their queue."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ml.anomaly.spec import DetectorSpec
from ml.errors import NewerRelease
from ml.spec import ModelSpec
from tasks.jobs import (
    QUEUES,
    SERVES,
    AnomalyDetectJob,
    AnomalyTrainJob,
    BacktestJob,
    BaseRef,
    ImportJob,
    JobSpec,
    PredictJob,
    PretrainJob,
    ReadinessJob,
    Stencil,
    TrainJob,
    WhatIfJob,
    digest,
    mark,
)


def _defaults(job: JobSpec) -> dict[str, Any]:
    return {field.name: field.default for field in fields(job) if field.default is not MISSING}


SCENARIO = {"name": "more sleep", "changes": [{"channel": "asleep_min", "op": "add", "value": 60, "steps": {"last": 3}}]}
JOBS: list[JobSpec] = [
    TrainJob("user-42", "health-daily", ModelSpec(("rhr",), ("steps",), window=30, seed=4), "rhr", "always", 168.0),
    PredictJob("user-42", "rhr", 7, 0.9, "1.0.2"),
    PredictJob("user-42", "rhr"),
    PredictJob("user-42", "rhr", 7, sink="warehouse"),
    WhatIfJob("user-42", "rhr", 7, 0.9, scenarios=[SCENARIO], bounds="clamp"),
    TrainJob("user-42", "health-daily", ModelSpec(("rhr",), rolling=(7,)), "rhr", base=BaseRef("mdl_1", "1.0.0")),
    PretrainJob("user-42", "health-daily", ModelSpec(("rhr",), future_covariates=("day_off",)), ("a", "b"), "never", 168.0),
    ImportJob("user-42", None, ModelSpec(("rhr",), network="seq2seq"), "ab" * 32, 4096, "always"),
    PredictJob("user-42", "rhr", 2, future={"day_off": [0.0, 1.0]}),
    WhatIfJob("user-42", "rhr", scenarios=[SCENARIO], include_baseline=False),
    BacktestJob("user-42", "rhr", "health-daily", ModelSpec(("rhr",), window=30), 4, 168.0),
    BacktestJob("user-42", "rhr", version="1.0.2", begin=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    AnomalyTrainJob("user-42", "device-anomaly", DetectorSpec(("rhr", "steps"), trees=50, cadence_s=60.0), "rhr", "never", 168.0),
    AnomalyDetectJob("user-42", "rhr", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    AnomalyDetectJob("user-42", "rhr", datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC), "1.0.2"),
    AnomalyDetectJob("user-42", "rhr", source="lake", hours=24.0),
    ReadinessJob("user-42", "health-daily", "lake", "rhr"),
]


@pytest.mark.parametrize("job", [job for job in JOBS if isinstance(job, TrainJob | PredictJob)], ids=str)
@pytest.mark.parametrize("entity", ["user-7", "", 'a "quoted" \\ é 値', '","recipe":"x'])
def test_items_of_a_batch_are_stored_and_known_as_they_would_be_alone(job: TrainJob | PredictJob, entity: str) -> None:
    alone = replace(job, entity=entity)
    own, found = Stencil(job).of(entity)
    assert (job.as_dict() | own, found) == (alone.as_dict(), digest(alone.as_dict()))
    assert mark(job) == mark(alone)
    assert mark(job) != mark(replace(job, source="lake"))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_is_the_same_after_json(job: JobSpec) -> None:
    assert type(job).from_dict(json.loads(json.dumps(job.as_dict()))) == job


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_what_a_newer_release_added_under_the_same_format_is_passed_over(job: JobSpec) -> None:
    assert type(job).from_dict(_with_a_stranger_everywhere(job.as_dict())) == job


def _with_a_stranger_everywhere(stored: Any) -> Any:
    """An unknown member in the spec and in whatever it holds, but not in what clients name as they like."""
    if not isinstance(stored, dict):
        return stored
    return {name: value if name == "future" else _with_a_stranger_everywhere(value) for name, value in stored.items()} | {"stranger": 1}


OPTIONAL = [(job, name) for job in JOBS for name in sorted(_defaults(job))]


@pytest.mark.parametrize(("job", "name"), OPTIONAL, ids=lambda given: getattr(given, "kind", given))
def test_what_an_older_release_did_not_write_takes_its_default(job: JobSpec, name: str) -> None:
    stored = job.as_dict()
    stored.pop({"begin": "from", "end": "to"}.get(name, name), None)
    assert type(job).from_dict(stored) == replace(job, **{name: _defaults(job)[name]})


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_format_that_is_not_known_is_a_newer_releases(job: JobSpec) -> None:
    newer = job.format + 1
    said = f"The {job.kind} job was written by a newer release, in format {newer}; this one reads up to {job.format}"
    with pytest.raises(NewerRelease, match=said):
        type(job).from_dict({**job.as_dict(), "v": newer, "entity": None})


def test_a_prediction_that_goes_into_a_sink_is_left_to_workers_who_know_of_sinks() -> None:
    """One of a release before would forecast, and say that all is done."""
    job = PredictJob("user-42", "rhr", 7, sink="warehouse")
    assert job.as_dict()["v"] == 2
    assert not {"v", "sink"} & replace(job, sink=None).as_dict().keys()


def test_a_detection_whose_beginning_the_worker_finds_is_left_to_those_who_can() -> None:
    job = AnomalyDetectJob("user-42", "rhr", source="lake", hours=24.0)
    assert job.as_dict()["v"] == 3
    assert replace(job, begin=datetime(2026, 1, 2, tzinfo=UTC), hours=None).as_dict()["v"] == 2


SOURCED = [replace(job, source="follower") for job in JOBS if not isinstance(job, ImportJob) and "v" not in job.as_dict()]


@pytest.mark.parametrize("job", SOURCED, ids=lambda job: job.kind)
def test_a_job_that_names_a_source_is_left_to_workers_who_know_of_sources(job: JobSpec) -> None:
    """One of a release before would read the built-in store instead. Whatever names none is written as before, and theirs as well."""
    stored = job.as_dict()
    assert (stored["v"], stored["source"]) == (2, "follower")
    assert type(job).from_dict(json.loads(json.dumps(stored))) == job
    assert not {"v", "source"} & replace(job, source=None).as_dict().keys()  # type: ignore[call-arg]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_goes_to_a_queue_that_some_worker_serves(job: JobSpec) -> None:
    assert job.queue in QUEUES
    assert any(job.queue in queues for queues in SERVES.values())


def test_operators_read_entity_and_target() -> None:
    assert [job.label for job in JOBS] == ["user-42 rhr"] * len(JOBS)


def test_every_queue_is_served_once() -> None:
    served = [queue for queues in SERVES.values() for queue in queues]
    assert sorted(served) == sorted(QUEUES)


def test_the_same_parts_have_the_same_digest_whatever_the_order_of_members() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}, "v1") != digest({"a": 1}, "v2")
