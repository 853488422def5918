"""Submissions: each schema, what it refuses and where, and that it agrees with the dataclass that holds the rule."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Any

import pytest
from marshmallow import ValidationError

from ml.spec import BOUNDS, ModelSpec, Split
from tasks.submit import PredictOrder, TrainOrder
from webapp.problems import faults_of
from webapp.schemas import predictions
from webapp.schemas.entities import EntityIn
from webapp.schemas.fields import In
from webapp.schemas.models import ActivateIn, Selection, SpecIn, SplitIn, TrainIn
from webapp.schemas.predictions import PredictBatchIn, PredictIn, WhatIfIn

TRAIN = {"entity": "u", "recipe": "health-daily"}
PREDICT = {"entity": "u", "target": "rhr"}
CHANGE = {"channel": "asleep_min", "op": "add", "value": 60, "steps": {"last": 3}}
WHAT_IF = {"entity": "u", "target": "rhr", "scenarios": [{"name": "more sleep", "changes": [CHANGE]}]}


def what_if(**change: Any) -> dict[str, Any]:
    return WHAT_IF | {"scenarios": [{"name": "s", "changes": [CHANGE | change]}]}


CASES: list[tuple[type[In], Any, str, str]] = [
    (TrainIn, {}, "/recipe", "required"),
    (TrainIn, {"recipe": "r"}, "", "invalid"),
    (TrainIn, TRAIN | {"entities": ["a"]}, "", "invalid"),
    (TrainIn, TRAIN | {"epochs": 5}, "/epochs", "unknown_field"),
    (TrainIn, TRAIN | {"entity": "a\0"}, "/entity", "invalid"),
    (TrainIn, TRAIN | {"spec": {"sequence_length": 1}}, "/spec/sequence_length", "unknown_field"),
    (TrainIn, TRAIN | {"spec": {"targets": ["a"]}}, "/spec/targets", "unknown_field"),
    (TrainIn, TRAIN | {"spec": {"window": True}}, "/spec/window", "wrong_type"),
    (TrainIn, TRAIN | {"spec": {"window": "50"}}, "/spec/window", "wrong_type"),
    (TrainIn, TRAIN | {"spec": {"window": 10**20}}, "/spec/window", "out_of_bounds"),
    (TrainIn, TRAIN | {"spec": {"dropout": float("inf")}}, "/spec/dropout", "out_of_bounds"),
    (TrainIn, TRAIN | {"spec": {"split": {"fit": "all"}}}, "/spec/split/fit", "wrong_type"),
    (TrainIn, TRAIN | {"spec": {"covariates": ["a", ""]}}, "/spec/covariates/1", "wrong_length"),
    (TrainIn, TRAIN | {"spec": None}, "/spec", "null"),
    (TrainIn, TRAIN | {"activation": "maybe"}, "/activation", "not_allowed"),
    (TrainIn, TRAIN | {"look_back_hours": 0}, "/look_back_hours", "out_of_bounds"),
    (TrainIn, TRAIN | {"metadata": {str(n): n for n in range(17)}}, "/metadata", "too_long"),
    (TrainIn, {"entities": [], "recipe": "r"}, "/entities", "wrong_length"),
    (TrainIn, {"entities": ["a", 7], "recipe": "r"}, "/entities/1", "wrong_type"),
    (TrainIn, {"selector": {"tag": "x"}, "recipe": "r"}, "/selector/tag", "unknown_field"),
    (TrainIn, [], "", "wrong_type"),
    (PredictIn, {"entity": "u"}, "/target", "required"),
    (PredictIn, PREDICT | {"horizon": 0}, "/horizon", "out_of_bounds"),
    (PredictIn, PREDICT | {"horizon": 169}, "/horizon", "out_of_bounds"),
    (PredictIn, PREDICT | {"level": 1}, "/level", "out_of_bounds"),
    (PredictIn, PREDICT | {"version": 1}, "/version", "wrong_type"),
    (PredictBatchIn, {"entities": ["a"]}, "/targets", "required"),
    (PredictBatchIn, {"entities": ["a"], "targets": []}, "/targets", "wrong_length"),
    (PredictBatchIn, {"targets": ["rhr"]}, "", "invalid"),
    (WhatIfIn, PREDICT | {"scenarios": []}, "/scenarios", "wrong_length"),
    (WhatIfIn, PREDICT | {"scenarios": [{"name": "s", "changes": []}]}, "/scenarios/0/changes", "wrong_length"),
    (WhatIfIn, PREDICT | {"scenarios": [{"name": "s", "changes": [CHANGE] * 51}]}, "/scenarios/0/changes", "wrong_length"),
    (WhatIfIn, PREDICT | {"scenarios": [{"name": str(n), "changes": [CHANGE]} for n in range(21)]}, "/scenarios", "wrong_length"),
    (WhatIfIn, PREDICT | {"scenarios": [{"name": "s", "changes": [CHANGE]}] * 2}, "/scenarios", "invalid"),
    (WhatIfIn, what_if(op="divide"), "/scenarios/0/changes/0/op", "not_allowed"),
    (WhatIfIn, what_if(value="60"), "/scenarios/0/changes/0/value", "wrong_type"),
    (WhatIfIn, what_if(steps={"last": 0}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps={"last": True}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps={"last": 1, "first": 1}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps="some"), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps={"future": 3}), "/scenarios/0/changes/0/steps", "not_supported"),
    (WhatIfIn, WHAT_IF | {"bounds": "ignore"}, "/bounds", "not_allowed"),
    (WhatIfIn, WHAT_IF | {"include_baseline": False}, "/include_baseline", "invalid"),
    (WhatIfIn, WHAT_IF | {"include_baseline": 1}, "/include_baseline", "wrong_type"),
    (ActivateIn, {"reason": "x"}, "/version", "required"),
    (ActivateIn, {"version": "1.0.0", "reason": "x" * 1001}, "/reason", "wrong_length"),
    (EntityIn, {"kind": 7}, "/kind", "wrong_type"),
    (EntityIn, {"attributes": []}, "/attributes", "wrong_type"),
    (EntityIn, {"channels": [{"unit": "bpm"}]}, "/channels/0/name", "required"),
    (EntityIn, {"channels": [{"name": "a", "direction": "up"}]}, "/channels/0/direction", "not_allowed"),
    (EntityIn, {"channels": [{"name": "a", "lower_bound": 2, "upper_bound": 1}]}, "/channels/0/lower_bound", "out_of_bounds"),
    (EntityIn, {"channels": [{"name": "a"}, {"name": "a"}]}, "/channels", "invalid"),
]


@pytest.mark.parametrize(("schema", "body", "pointer", "code"), CASES)
def test_refused_at_its_place(schema: type[In], body: Any, pointer: str, code: str) -> None:
    with pytest.raises(ValidationError) as error:
        schema().load(body)
    assert (pointer, code) in [(f["pointer"], f["code"]) for f in faults_of(error.value.messages)]


def test_a_training_becomes_an_order() -> None:
    asked = TrainIn().load(TRAIN | {"spec": {"epochs": 5}, "activation": "never", "metadata": {"client": "ios"}})
    assert asked.order == TrainOrder("health-daily", ("u",), overrides={"epochs": 5}, activation="never")
    assert asked.metadata == {"client": "ios"}
    assert asked.whom == Selection(("u",), None, batch=False)


def test_a_batch_is_a_batch_also_of_one() -> None:
    asked = TrainIn().load({"entities": ["a"], "recipe": "r"})
    assert asked.order.batch
    selected = TrainIn().load({"selector": {"kind": "user"}, "recipe": "r"})
    assert selected.whom == Selection((), {"kind": "user"}, batch=True)


def test_predictions_become_orders() -> None:
    assert PredictIn().load(PREDICT).order == PredictOrder(("u",), ("rhr",))
    asked = PredictBatchIn().load({"entities": ["a", "b"], "targets": ["rhr", "hrv", "rhr"], "level": 0.8})
    assert asked.order == PredictOrder(("a", "b"), ("rhr", "hrv"), level=0.8, batch=True)


def test_a_what_if_becomes_a_job_as_it_was_written() -> None:
    job = WhatIfIn().load(WHAT_IF | {"bounds": "clamp"}).order
    assert (job.entity, job.target, job.bounds) == ("u", "rhr", "clamp")
    assert [dict(s) for s in job.scenarios] == [{"name": "more sleep", "changes": [CHANGE | {"value": 60.0}]}]
    without = WhatIfIn().load(what_if() | {"scenarios": [{"name": "s", "changes": [{"channel": "a", "op": "set", "value": 1}]}]}).order
    assert without.scenarios[0]["changes"][0]["steps"] == "all"


def test_the_wire_and_the_spec_agree() -> None:
    """One dataclass for the rule, one schema for the wire: the same fields, the targets aside, which the request names apart."""
    assert set(SpecIn().fields) == {f.name for f in fields_of(ModelSpec)} - {"targets"}
    assert set(SplitIn().fields) == {f.name for f in fields_of(Split)}
    assert BOUNDS["horizon"] == predictions.HORIZON
    assert BOUNDS["level"] == predictions.LEVEL
