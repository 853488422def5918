"""Answers as frozen values: nothing that the service tells is lost, and nothing that it adds does harm."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetcast_client.answers.anomalies import DetectorSpec
from fleetcast_client.answers.entities import Channel, Entity, EntityRow, Observation
from fleetcast_client.answers.forecasts import Notice
from fleetcast_client.answers.jobs import JobStatus, Progress
from fleetcast_client.answers.models import TrainResult, Version
from fleetcast_client.answers.problems import ProblemDetails
from fleetcast_client.answers.specs import Spec
from fleetcast_client.reading import Answer
from fleetcast_client.watching import heard
from tests.support.listening import events
from tests.unit.client.test_document import kinds
from webapp.examples import EXAMPLES
from webapp.examples.example import Example
from webapp.examples.problems import PROBLEMS

#: These bring the numbers of their sentence.
OPEN = (ProblemDetails, Notice)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")
#: What the examples show of each operation, by the kind of answer.
SHOWN = {
    "get_entity": "Entity", "put_entity": "Entity", "list_entities": "EntityRow", "list_observations": "Observation",
    "post_observations": "Delivered", "post_fleet_observations": "FleetDelivered",
    "get_readiness": "Readiness", "get_erasure": "Erasure", "list_erasures": "Erasure",
    "get_model": "Model", "list_models": "Model", "get_version": "Version", "list_versions": "Version", "activate": "Version",
    "rollback": "Version", "import_base": "Version", "list_activations": "Activation", "get_forecast": "StoredForecast",
    "get_accuracy": "ModelAccuracy", "list_anomalies": "Anomaly", "create_schedule": "ScheduleInFull", "get_schedule": "ScheduleInFull",
    "change_schedule": "ScheduleInFull", "list_schedules": "Schedule", "list_schedule_runs": "ScheduleRun", "list_recipes": "RecipeList",
    "create_webhook": "WebhookWithSecret", "rotate_secret": "WebhookWithSecret", "get_webhook": "Webhook", "list_webhooks": "Webhook",
    "list_deliveries": "Delivery", "test_webhook": "Delivery", "replay_delivery": "Delivery", "readyz": "Ready", "get_problem": "Cause",
    "list_jobs": "JobStatus", "list_items": "JobStatus", "get_job": "JobStatus", "cancel_job": "JobStatus", "retry_job": "JobStatus",
    "train": "JobStatus", "pretrain": "JobStatus", "predict": "JobStatus", "predict_batch": "JobStatus", "what_if": "JobStatus",
    "backtest": "JobStatus", "train_detector": "JobStatus", "detect_anomalies": "JobStatus", "queues": "Depth", "list_problems": "Cause",
    "get_result": "JobStatus",
    "list_audit": "AuditEntry",
}  # fmt: skip


def shown(example: Example) -> Iterator[Mapping[str, Any]]:
    if example.operation == "get_result":
        yield {"result": example.answer["result"]}
    elif isinstance(example.answer, dict) and example.operation in SHOWN:
        paged = "data" in example.answer and example.operation != "list_recipes"
        yield from example.answer["data"] if paged else [example.answer]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.operation}: {example.summary}")
def test_every_answer_that_the_document_shows_is_read_whole(example: Example) -> None:
    for told in shown(example):
        assert plain(written(kinds()[SHOWN[example.operation]].read(told))) == plain(told)


def test_the_examples_show_most_kinds() -> None:
    read = {
        type(answer).__name__
        for example in EXAMPLES
        for told in shown(example)
        for answer in within(kinds()[SHOWN[example.operation]].read(told))
    }
    assert len(read) > 60
    assert {"TrainResult", "WhatIfResult", "BacktestResult", "AnomalyDetectResult"} <= read


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.operation == "watch_job"], ids=lambda example: str(example.summary))
def test_every_event_that_the_document_shows_is_read_whole(example: Example) -> None:
    read = [each for each in heard([example.answer.encode()]) if each is not None]
    told = [each for each in events([example.answer.encode()]) if each is not None]
    assert [(each.id, each.type) for each in read] == [(each.id, each.event) for each in told]
    assert [plain(written(each.data)) for each in read] == [plain(each.data) for each in told]


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_that_the_document_shows_is_read_whole(code: str) -> None:
    assert plain(written(ProblemDetails.read(PROBLEMS[code]))) == plain(PROBLEMS[code])


def written(answer: Any) -> Any:
    """Back to JSON."""
    if isinstance(answer, Answer):
        assert not answer.more or isinstance(answer, OPEN), f"{type(answer).__name__} does not know {sorted(answer.more)}"
        told = dict(answer.more) | {each.name.rstrip("_"): getattr(answer, each.name) for each in fields(answer) if each.name != "more"}
        return {name: written(value) for name, value in told.items()}
    if isinstance(answer, tuple | list):
        return [written(each) for each in answer]
    return {name: written(value) for name, value in answer.items()} if isinstance(answer, Mapping) else answer


def plain(told: Any) -> Any:
    """For comparing: without nulls, and moments as moments."""
    if isinstance(told, Mapping):
        return {name: plain(value) for name, value in told.items() if value is not None}
    if isinstance(told, list | tuple):
        return [plain(each) for each in told]
    return datetime.fromisoformat(told) if isinstance(told, str) and MOMENT.match(told) else told


def within(answer: Any) -> Iterator[Answer]:
    """An answer, and all that it holds."""
    if isinstance(answer, Answer):
        yield answer
        for each in fields(answer):
            yield from within(getattr(answer, each.name))
    elif isinstance(answer, Mapping):
        for value in answer.values():
            yield from within(value)
    elif isinstance(answer, tuple):
        for value in answer:
            yield from within(value)


PERSON = {"entity": "u", "kind": None, "attributes": {}, "data_rev": 3, "created_at": "2026-10-11T06:01:12.382852Z"}


def test_moments_are_moments_and_lists_are_tuples() -> None:
    read = Entity.read(PERSON | {"channels": [{"name": "rhr", "unit": "bpm", "direction": None, "lower_bound": None, "upper_bound": 220}]})
    assert read.created_at == datetime(2026, 10, 11, 6, 1, 12, 382852, UTC)
    assert read.channels == (Channel(name="rhr", unit="bpm", direction=None, lower_bound=None, upper_bound=220),)
    with pytest.raises(FrozenInstanceError):
        read.entity = "v"  # type: ignore[misc]


def test_what_a_newer_service_tells_is_kept_and_what_an_older_one_does_not_is_none() -> None:
    newer = EntityRow.read(PERSON | {"mood": {"now": "good"}})
    assert newer.more == {"mood": {"now": "good"}}
    assert "mood" not in repr(newer)
    older = Observation.read({"channel": "rhr", "value": 57})
    assert older.at is None


@pytest.mark.parametrize(
    ("spec", "kind"), [({"horizon": 7, "epochs": 3, "targets": ["rhr"]}, Spec), ({"trees": 20, "channels": ["cpu"]}, DetectorSpec)]
)
def test_of_several_kinds_the_nearest_is_read_even_with_strange_members(spec: Mapping[str, Any], kind: type[Answer]) -> None:
    assert type(Version.read({"version": "1.0.0", "spec": {**spec, "mood": 1}}).spec) is kind


def test_a_result_is_of_its_kind() -> None:
    told = {"id": "job_1", "progress": {}, "result": {"target": "rhr", "model": "mdl_1", "version": "1.0.0", "active": True, "others": []}}
    read = JobStatus.read(told)
    assert isinstance(read.result, TrainResult)
    assert read.progress == Progress()
