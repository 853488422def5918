"""What-ifs on the wire: scenarios, and each beside a baseline."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ml.spec import BOUNDS
from tasks.jobs import WhatIfJob
from webapp.schemas.fields import Flag, In, Name, Out, Real, Several, Word
from webapp.schemas.predictions import QuestionIn, QuestionSpec
from webapp.schemas.shapes import DATE_TIME, HORIZON, SOMETIMES, shaped
from webapp.schemas.submissions import Asked

#: Most steps of each kind that any version has.
_MOST_STEPS = {"last": int(BOUNDS["window"][1]), "future": HORIZON[1]}
_STEPS = 'Not a valid choice of steps: send "all", {"last": n} with n from 1 to 512, or {"future": n} with n from 1 to 168.'


class Steps(fields.Field[Any]):
    """`"all"`, `{"last": n}` of the history that the model reads, or `{"future": n}` of what it knows ahead."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if value == "all":
            return value
        if not isinstance(value, dict) or len(value) != 1:
            raise ValidationError(_STEPS)
        [(word, steps)] = value.items()
        if type(steps) is not int or not 1 <= steps <= _MOST_STEPS.get(word, 0):
            raise ValidationError(_STEPS)
        return value


def _counted(word: str, most: int) -> dict[str, Any]:
    """Schema of `{word: n}`."""
    number = {"type": "integer", "minimum": 1, "maximum": most}
    return {"type": "object", "properties": {word: number}, "required": [word], "additionalProperties": False}


class ChangeIn(In):
    """One channel, changed over some steps."""

    channel = Name(required=True, metadata={"description": "An input of the model: a target or one of its covariates."})
    op = Word("set", "add", "multiply", required=True)
    value = Real(required=True)
    steps = Steps(
        load_default="all",
        metadata={
            "description": '"all" of the history that the model reads, {"last": n} steps of it, or {"future": n}: the next n steps of a '
            "channel that the version knows ahead.",
            "oneOf": [{"const": "all"}, *(_counted(word, most) for word, most in _MOST_STEPS.items())],
        },
    )


class ScenarioIn(In):
    """Changes that are made together."""

    name = Name(required=True)
    changes = Several(fields.Nested(ChangeIn), 1, 50, required=True)


class WhatIfIn(QuestionIn):
    """Named scenarios, answered beside a baseline in one pass."""

    scenarios = Several(fields.Nested(ScenarioIn), 1, 20, required=True)
    bounds = Word("clamp", "reject", "warn", load_default="warn", metadata={"description": "For values that were never observed."})
    include_baseline = Flag(
        load_default=True, metadata={"description": "False leaves it out of the result; deltas are told against it all the same."}
    )

    @validates_schema
    def distinct(self, data: dict[str, Any], **_: Any) -> None:
        names = [scenario["name"] for scenario in data.get("scenarios", ())]
        if len(set(names)) != len(names):
            raise ValidationError("Two scenarios have the same name.", "scenarios")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[WhatIfJob]:
        metadata, scenarios = data.pop("metadata"), tuple(data.pop("scenarios"))
        return Asked(WhatIfJob(scenarios=scenarios, **data), metadata)


class WhatIfSpec(QuestionSpec):
    """A what-if, defaults filled in."""

    scenarios = fields.List(fields.Dict(metadata=shaped("ScenarioIn")))
    bounds = fields.String(validate=validate.OneOf(("clamp", "reject", "warn")))
    include_baseline = fields.Boolean(metadata={"description": "The result holds the baseline."})


class UsedValue(Out):
    """What the model read at one step, of the past or ahead; null where nothing was observed."""

    at = fields.String(metadata=DATE_TIME)
    value = fields.Float(allow_none=True)


class OutOfSupport(Out):
    """A change that asks for values the model never learned from."""

    channel = fields.String()
    low = fields.Float(metadata={"description": "Least value learned from."})
    high = fields.Float(metadata={"description": "Greatest value learned from."})
    rows = fields.Integer(metadata={"description": "Values outside."})
    farthest = fields.Float(metadata={"description": "The one farthest outside."})
    clamped = fields.Boolean(metadata={"description": "They were brought back to the range."})


class ScenarioForecast(Out):
    """One scenario beside the baseline."""

    name = fields.String()
    points = fields.List(fields.Dict(metadata=shaped("Point")))
    delta = fields.List(fields.Float(), metadata={"description": "Scenario minus baseline, for each step."})
    mean_delta = fields.Float()
    used = fields.Dict(
        values=fields.List(fields.Dict(metadata=shaped("UsedValue"))),
        metadata={"description": "By channel: the values actually read where it changed."},
    )
    out_of_support = fields.List(fields.Dict(metadata=shaped("OutOfSupport")))
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))


class WhatIfResult(Out):
    """What a what-if brought: every scenario beside the baseline, from one pass."""

    entity = fields.String()
    served_by = fields.Dict(metadata=shaped("ServedBy"))
    baseline = fields.Dict(metadata=SOMETIMES | shaped("Baseline", description="Left out with `include_baseline: false`."))
    scenarios = fields.List(fields.Dict(metadata=shaped("ScenarioForecast")))
    direction = fields.String(
        allow_none=True, validate=validate.OneOf(("higher", "lower")), metadata={"description": "Which way of the target is better."}
    )
    best = fields.String(allow_none=True, metadata={"description": "Name of a scenario; null without a direction, or where all agree."})
    worst = fields.String(allow_none=True, metadata={"description": "Name of a scenario; null without a direction, or where all agree."})
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
