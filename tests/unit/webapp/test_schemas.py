"""Submissions: each schema, what it refuses and where, and that it agrees with the dataclass that holds the rule."""

from __future__ import annotations

from dataclasses import fields as fields_of
from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import ValidationError

from ml.spec import BOUNDS, ModelSpec, Split
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from webapp.problems import faults_of
from webapp.schemas import shapes
from webapp.schemas.activations import ActivateIn
from webapp.schemas.backtests import BacktestIn
from webapp.schemas.entities import EntityIn
from webapp.schemas.fields import In
from webapp.schemas.predictions import PredictBatchIn, PredictIn
from webapp.schemas.selection import Selection
from webapp.schemas.specs import SpecIn, SplitIn
from webapp.schemas.trainings import PretrainIn, TrainIn
from webapp.schemas.what_ifs import WhatIfIn

TRAIN = {"entity": "u", "recipe": "health-daily"}
PRETRAIN = {"name": "hearts", "entities": ["a", "b"], "recipe": "health-daily"}
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
    (TrainIn, TRAIN | {"spec": {"targets": ["a"]}}, "/spec/targets", "not_supported"),
    (TrainIn, TRAIN | {"spec": {"rolling": [1]}}, "/spec/rolling/0", "out_of_bounds"),
    (TrainIn, TRAIN | {"spec": {"rolling": [7] * 5}}, "/spec/rolling", "wrong_length"),
    (TrainIn, TRAIN | {"spec": {"positive": 1}}, "/spec/positive", "wrong_type"),
    (TrainIn, TRAIN | {"spec": {"available": ""}}, "/spec/available", "wrong_length"),
    (TrainIn, TRAIN | {"spec": {"future_covariates": "deal"}}, "/spec/future_covariates", "wrong_type"),
    (TrainIn, TRAIN | {"base": {}}, "/base", "invalid"),
    (TrainIn, TRAIN | {"base": {"model": "mdl_1", "name": "hearts"}}, "/base", "invalid"),
    (TrainIn, TRAIN | {"base": {"version": "1.0.0"}}, "/base", "invalid"),
    (TrainIn, TRAIN | {"base": {"name": "hearts", "entity": "u"}}, "/base/entity", "unknown_field"),
    (TrainIn, TRAIN | {"base": "hearts"}, "/base", "wrong_type"),
    (PretrainIn, PRETRAIN | {"name": None}, "/name", "null"),
    (PretrainIn, {"entities": ["a", "b"], "recipe": "r"}, "/name", "required"),
    (PretrainIn, PRETRAIN | {"entities": ["a"]}, "/entities", "wrong_length"),
    (PretrainIn, PRETRAIN | {"selector": {}}, "", "invalid"),
    (PretrainIn, PRETRAIN | {"entity": "a"}, "/entity", "unknown_field"),
    (PretrainIn, PRETRAIN | {"model": "mine"}, "/model", "unknown_field"),
    (PretrainIn, PRETRAIN | {"base": {"name": "hearts"}}, "/base", "unknown_field"),
    (PretrainIn, PRETRAIN | {"spec": {"targets": ["a"]}}, "/spec/targets", "not_supported"),
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
    (PredictIn, PREDICT | {"future": [1]}, "/future", "wrong_type"),
    (PredictIn, PREDICT | {"future": {"deal": 1}}, "/future/deal", "wrong_type"),
    (PredictIn, PREDICT | {"future": {"deal": []}}, "/future/deal", "wrong_length"),
    (PredictIn, PREDICT | {"future": {"deal": [0, "1"]}}, "/future/deal/1", "wrong_type"),
    (PredictIn, PREDICT | {"future": {"a/b": [0, None]}}, "/future/a~1b/1", "null"),
    (PredictIn, PREDICT | {"future": {"a\0": [0]}}, "/future/a\0", "invalid"),
    (PredictIn, PREDICT | {"future": {f"c{n}": [0] for n in range(65)}}, "/future", "too_long"),
    (PredictBatchIn, {"entities": ["a"], "targets": ["rhr"], "future": {"deal": [0]}}, "/future", "unknown_field"),
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
    (WhatIfIn, what_if(steps={"future": 169}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps={"future": 1, "last": 1}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, what_if(steps={"past": 1}), "/scenarios/0/changes/0/steps", "wrong_type"),
    (WhatIfIn, WHAT_IF | {"bounds": "ignore"}, "/bounds", "not_allowed"),
    (WhatIfIn, WHAT_IF | {"include_baseline": 1}, "/include_baseline", "wrong_type"),
    (BacktestIn, {"entity": "u"}, "/target", "required"),
    (BacktestIn, PREDICT | {"folds": 3}, "/recipe", "required"),
    (BacktestIn, TRAIN | {"folds": 21}, "/folds", "out_of_bounds"),
    (BacktestIn, TRAIN | {"folds": 2.0}, "/folds", "wrong_type"),
    (BacktestIn, TRAIN | {"version": "1.0.0"}, "/version", "invalid"),
    (BacktestIn, TRAIN | {"to": "2026-01-01"}, "/to", "invalid"),
    (BacktestIn, PREDICT | {"from": "2026-01-02", "to": "2026-01-01"}, "/to", "out_of_bounds"),
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


def test_a_base_to_start_from_is_told_by_its_id_or_by_its_name() -> None:
    assert TrainIn().load(TRAIN).order.base is None
    assert TrainIn().load(TRAIN | {"base": {"name": "hearts"}}).order.base == BaseOrder(name="hearts")
    assert TrainIn().load(TRAIN | {"base": {"model": "mdl_1", "version": "1.0.0"}}).order.base == BaseOrder("mdl_1", version="1.0.0")


def test_pretrainings_become_orders() -> None:
    asked = PretrainIn().load(PRETRAIN | {"spec": {"epochs": 5}, "metadata": {"client": "ios"}})
    assert asked.order == PretrainOrder("hearts", "health-daily", ("a", "b"), overrides={"epochs": 5})
    assert (asked.metadata, asked.whom) == ({"client": "ios"}, Selection(("a", "b"), None, batch=True))
    selected = PretrainIn().load({"name": "hearts", "selector": {"kind": "user"}, "recipe": "r"})
    assert selected.whom == Selection((), {"kind": "user"}, batch=True)


def test_a_future_of_which_nothing_is_said_is_none() -> None:
    assert PredictIn().load(PREDICT | {"future": {}}).order == PredictIn().load(PREDICT).order
    assert PredictIn().load(PREDICT | {"future": {"deal": [0, 1]}}).order == PredictOrder(("u",), ("rhr",), future={"deal": [0.0, 1.0]})


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
    ahead = WhatIfIn().load(what_if(steps={"future": 3}) | {"include_baseline": False, "future": {"asleep_min": [1, 2.5]}}).order
    assert ahead.scenarios[0]["changes"][0]["steps"] == {"future": 3}
    assert (ahead.include_baseline, ahead.future) == (False, {"asleep_min": [1.0, 2.5]})


def test_backtests_become_orders() -> None:
    of_recipe = BacktestIn().load(TRAIN | {"spec": {"epochs": 5}, "metadata": {"client": "ios"}})
    assert of_recipe.order == BacktestOrder("u", recipe="health-daily", overrides={"epochs": 5}, folds=4)
    assert of_recipe.metadata == {"client": "ios"}
    of_version = BacktestIn().load(PREDICT | {"version": None, "from": "2026-01-02"})
    assert of_version.order == BacktestOrder("u", "rhr", begin=datetime(2026, 1, 2, tzinfo=UTC))


def test_the_wire_and_the_spec_agree() -> None:
    """One dataclass for the rule, one schema for the wire: the same fields, the targets aside, which the request names apart."""
    assert set(SpecIn().fields) == {f.name for f in fields_of(ModelSpec)} - {"targets"}
    assert set(SplitIn().fields) == {f.name for f in fields_of(Split)}
    assert BOUNDS["horizon"] == shapes.HORIZON
    assert BOUNDS["level"] == shapes.LEVEL
