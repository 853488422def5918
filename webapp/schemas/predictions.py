"""Predictions and what-ifs on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tasks.jobs import WhatIfJob
from tasks.submit import PredictOrder
from webapp.schemas.fields import Flag, In, Name, Out, Real, Several, Text, Whole, Word
from webapp.schemas.models import MODEL_ID, Selection, Whom
from webapp.schemas.shapes import DATE_TIME, FORECASTERS, SEMVER, SOMETIMES, shaped
from webapp.schemas.submissions import Asked, Submission

#: Least and most of what ModelSpec allows.
HORIZON = (1, 168)
LEVEL = (0.5, 0.99)
_ENTITY = {"description": "Whose future."}
_TARGET = {"description": "Name of the channel, which is also the name of the model that answers."}
_HORIZON = {"description": "Steps ahead; at most, and by default, those the version was trained for."}
_LEVEL = {"description": "Share of truths that the interval is to hold; the version's own by default."}
_VERSION = {"description": "Number of the version that answers; the active one by default."}


class PredictIn(Submission):
    """What is left out is filled in from the version that answers."""

    entity = Name(required=True, metadata=_ENTITY)
    target = Name(required=True, metadata=_TARGET)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata=_VERSION)

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

    targets = Several(Name(), 1, 50, required=True, metadata={"description": "Channels to forecast."})
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)

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

    channel = Name(required=True, metadata={"description": "An input of the model: the target or one of its covariates."})
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
    """Changes that are made together."""

    name = Name(required=True)
    changes = Several(fields.Nested(ChangeIn), 1, 50, required=True)


class WhatIfIn(Submission):
    """Named scenarios, answered beside a baseline in one pass."""

    entity = Name(required=True, metadata=_ENTITY)
    target = Name(required=True, metadata=_TARGET)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata=_VERSION)
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
    """Who made the forecast."""

    kind = fields.String(
        validate=validate.OneOf(FORECASTERS), metadata={"description": "The network, or the baseline that it did not beat."}
    )
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})


class Served(Out):
    """Who made the baseline; model and version stand beside it."""

    kind = fields.String(validate=validate.OneOf(FORECASTERS))


class Point(Out):
    """One step, in the target's unit."""

    at = fields.String(metadata=DATE_TIME)
    value = fields.Float()
    lower = fields.Float()
    upper = fields.Float()


class History(Out):
    """What the forecast is compared with: the last thirty days, or those there are."""

    average = fields.Float()
    percentile = fields.Float(validate=validate.Range(0, 100), metadata={"description": "Of the mean forecast among those observations."})
    days = fields.Float()


class Baseline(Out):
    """A forecast as the model says it."""

    target = fields.String()
    data_until = fields.String(metadata=DATE_TIME | {"description": "The last observation: the first point is one step after it."})
    horizon = fields.Integer(validate=validate.Range(*HORIZON))
    step = fields.String(metadata={"description": "Time between points (ISO 8601).", "pattern": "^P(T[0-9.]+[HMS]|[0-9]+D)$"})
    served_by = fields.Dict(metadata=shaped("Served"))
    skill = fields.Float(
        allow_none=True, metadata={"description": "1 minus the error over that of the best naive baseline, on rows never learned from."}
    )
    points = fields.List(fields.Nested(Point))
    level = fields.Float(validate=validate.Range(*LEVEL), metadata={"description": "Share of truths that the intervals are to hold."})
    measured_coverage = fields.Float(
        allow_none=True, validate=validate.Range(0, 1), metadata={"description": "Share that they did hold, on rows never learned from."}
    )
    history = fields.Dict(metadata=shaped("History"))
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))


class Forecast(Baseline):
    """Values with intervals over a horizon."""

    entity = fields.String()
    unit = fields.String(allow_none=True, metadata={"description": "Of the target, as its channel tells it."})
    made_at = fields.String(metadata=DATE_TIME)
    served_by = fields.Dict(metadata=shaped("ServedBy"))
    cached = fields.Boolean(metadata={"description": "It was made for an earlier request."})
    cache_expires_at = fields.String(metadata=DATE_TIME | SOMETIMES | {"description": "Until when it is served from the cache."})


class StoredForecast(Forecast):
    """The newest forecast that was made, and whether it would be made so today."""

    stale = fields.Boolean(
        metadata={"description": "Newer observations came, another version serves, or it is older than forecasts are kept for: ask anew."}
    )


class UsedValue(Out):
    """What the model read at one step; null where nothing was observed."""

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
    """What a what-if brought: the baseline and every scenario, from one pass."""

    entity = fields.String()
    served_by = fields.Dict(metadata=shaped("ServedBy"))
    baseline = fields.Dict(metadata=shaped("Baseline"))
    scenarios = fields.List(fields.Dict(metadata=shaped("ScenarioForecast")))
    direction = fields.String(
        allow_none=True, validate=validate.OneOf(("higher", "lower")), metadata={"description": "Which way of the target is better."}
    )
    best = fields.String(allow_none=True, metadata={"description": "Name of a scenario; null without a direction, or where all agree."})
    worst = fields.String(allow_none=True, metadata={"description": "Name of a scenario; null without a direction, or where all agree."})
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
