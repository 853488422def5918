"""Predictions and what-ifs on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validates_schema

from tasks.jobs import WhatIfJob
from tasks.submit import PredictOrder
from webapp.schemas.fields import Flag, In, Name, Out, Real, Several, Text, Whole, Word
from webapp.schemas.jobs import Asked, Submission
from webapp.schemas.models import Selection, Whom

#: Least and most of what ModelSpec allows.
HORIZON = (1, 168)
LEVEL = (0.5, 0.99)


class PredictIn(Submission):
    """What is left out is filled in from the version that answers."""

    entity = Name(required=True)
    target = Name(required=True)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True)
    level = Real(*LEVEL, load_default=None, allow_none=True)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata={"description": "The active one by default."})

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[PredictOrder]:
        metadata, entity, target = (data.pop(name) for name in ("metadata", "entity", "target"))
        return Asked(PredictOrder((entity,), (target,), **data), metadata)


@dataclass(frozen=True, slots=True)
class BatchAsked(Asked[PredictOrder]):
    """A batch whose entities are still to be found."""

    whom: Selection


class PredictBatchIn(Whom):
    """Every target of every entity is one item."""

    targets = Several(Name(), 1, 50, required=True)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True)
    level = Real(*LEVEL, load_default=None, allow_none=True)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> BatchAsked:
        metadata, targets, whom = data.pop("metadata"), data.pop("targets"), self.selection(data)
        order = PredictOrder(whom.names, tuple(dict.fromkeys(targets)), batch=True, **data)
        return BatchAsked(order, metadata, whom)


_STEPS = 'Not a valid choice of steps: send "all" or {"last": n} with n from 1 to 512.'
_FUTURE = 'Not supported: {"future": n} would change inputs after the last observation, and no model of today reads any.'


class Steps(fields.Field[Any]):
    """`"all"`, or `{"last": n}`: the last n steps of the history that the model reads."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if value == "all":
            return value
        if not isinstance(value, dict) or len(value) != 1:
            raise ValidationError(_STEPS)
        [(word, steps)] = value.items()
        if word == "future":
            raise ValidationError(_FUTURE)
        if word != "last" or type(steps) is not int or not 1 <= steps <= 512:
            raise ValidationError(_STEPS)
        return value


class ChangeIn(In):
    """One channel, changed over some steps."""

    channel = Name(required=True)
    op = Word("set", "add", "multiply", required=True)
    value = Real(required=True)
    steps = Steps(
        load_default="all",
        metadata={
            "description": '"all", or {"last": n}: the last n steps of the history that the model reads.',
            "oneOf": [
                {"const": "all"},
                {"type": "object", "properties": {"last": {"type": "integer", "minimum": 1, "maximum": 512}}, "required": ["last"]},
            ],
        },
    )


class ScenarioIn(In):
    name = Name(required=True)
    changes = Several(fields.Nested(ChangeIn), 1, 50, required=True)


class WhatIfIn(Submission):
    """Named scenarios, answered beside a baseline in one pass."""

    entity = Name(required=True)
    target = Name(required=True)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True)
    level = Real(*LEVEL, load_default=None, allow_none=True)
    version = Text(low=1, high=40, load_default=None, allow_none=True)
    scenarios = Several(fields.Nested(ScenarioIn), 1, 20, required=True)
    bounds = Word("clamp", "reject", "warn", load_default="warn", metadata={"description": "For values that were never observed."})
    include_baseline = Flag(load_default=True, metadata={"description": "Always true today: the baseline is what deltas are told against."})

    @validates_schema
    def distinct(self, data: dict[str, Any], **_: Any) -> None:
        names = [scenario["name"] for scenario in data.get("scenarios", ())]
        if len(set(names)) != len(names):
            raise ValidationError("Two scenarios have the same name.", "scenarios")
        if data.get("include_baseline") is False:
            raise ValidationError("Must be true: the baseline is what deltas are told against.", "include_baseline")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[WhatIfJob]:
        metadata, scenarios = data.pop("metadata"), tuple(data.pop("scenarios"))
        del data["include_baseline"]
        return Asked(WhatIfJob(scenarios=scenarios, **data), metadata)


class ServedBy(Out):
    kind = fields.String(metadata={"description": "lstm, or the baseline that the network did not beat."})
    model = fields.String()
    version = fields.String()


class Point(Out):
    at = fields.String()
    value = fields.Float()
    lower = fields.Float(allow_none=True)
    upper = fields.Float(allow_none=True)


class Forecast(Out):
    """Values with intervals over a horizon."""

    entity = fields.String()
    target = fields.String()
    unit = fields.String(allow_none=True)
    made_at = fields.String()
    data_until = fields.String()
    horizon = fields.Integer()
    step = fields.String()
    served_by = fields.Nested(ServedBy)
    skill = fields.Float(allow_none=True)
    points = fields.List(fields.Nested(Point))
    level = fields.Float()
    measured_coverage = fields.Float(allow_none=True)
    history = fields.Dict(allow_none=True)
    interpretation = fields.String(allow_none=True)
    warnings = fields.List(fields.Dict())
    cached = fields.Boolean()
    cache_expires_at = fields.String(allow_none=True)
