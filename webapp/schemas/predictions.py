"""Predictions and what-ifs on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ml.spec import BOUNDS, MOST_INPUTS
from tasks.jobs import WhatIfJob
from tasks.orders import PredictOrder
from webapp.schemas.fields import Flag, In, Name, Out, Real, Several, Text, Whole, Word
from webapp.schemas.models import Selection, Whom
from webapp.schemas.shapes import DATE_TIME, FORECASTERS, MODEL_ID, SEMVER, SOMETIMES, shaped
from webapp.schemas.submissions import SOURCE_OF_VERSION, Asked, Submission

#: Least and most of what ModelSpec allows.
HORIZON = (1, 168)
LEVEL = (0.5, 0.99)
_ENTITY = {"description": "Whose future."}
_TARGET = {"description": "Name of the channel, which is also the name of the model that answers."}
_HORIZON = {"description": "Steps ahead; at most, and by default, those the version was trained for."}
_LEVEL = {"description": "Share of truths that the interval is to hold; the version's own by default."}
_VERSION = {"description": "Number of the version that answers; the active one by default."}
_FUTURE = {
    "description": "By channel, its values at the steps ahead, in their order and at least `horizon` of them: in the place of stored ones, "
    "for this answer alone. Only channels that the version knows ahead (`future_covariates` of its spec). Such an answer is not taken from "
    "the cache, not put there, and does not become the entity's newest forecast.",
    "maxProperties": MOST_INPUTS,
}

_SOURCE = {
    "description": f"{SOURCE_OF_VERSION['description']} An answer from another one is not taken from the cache, not put there, and does "
    "not become the entity's newest forecast."
}
_SINK = {
    "description": "Name of one of the operator's databases that the forecast is also written to. The job has not succeeded before its "
    "rows are there; rows of an earlier forecast from the same observations are replaced. Such an answer is not taken from the cache."
}


class Ahead(fields.Dict):
    """Channels and their numbers, one for each step ahead."""

    def __init__(self, **about: Any) -> None:
        self._channel, self._numbers = Name(), Several(Real(), 1, HORIZON[1])
        super().__init__(keys=self._channel, values=self._numbers, load_default=None, allow_none=True, metadata=_FUTURE, **about)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        """How many first: of a million members nobody would read what is wrong. Nothing said of any channel is no future."""
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        if len(value) > MOST_INPUTS:
            raise ValidationError(f"Longer than maximum length {MOST_INPUTS}.")
        taken, wrong = {}, {}
        for name, numbers in value.items():
            try:
                taken[self._channel.deserialize(name)] = self._numbers.deserialize(numbers)
            except ValidationError as error:
                wrong[name] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return taken or None


class PredictIn(Submission):
    """What is left out is filled in from the version that answers."""

    entity = Name(required=True, metadata=_ENTITY)
    target = Name(required=True, metadata=_TARGET)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata=_VERSION)
    future = Ahead()
    source = Name(load_default=None, allow_none=True, metadata=_SOURCE)
    sink = Name(load_default=None, allow_none=True, metadata=_SINK)

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
    source = Name(load_default=None, allow_none=True, metadata=_SOURCE)
    sink = Name(load_default=None, allow_none=True, metadata=_SINK)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> BatchAsked:
        metadata, targets, whom = data.pop("metadata"), data.pop("targets"), self.selection(data)
        order = PredictOrder(whom.names, tuple(dict.fromkeys(targets)), batch=True, **data)
        return BatchAsked(order, metadata, whom)


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


class WhatIfIn(Submission):
    """Named scenarios, answered beside a baseline in one pass."""

    entity = Name(required=True, metadata=_ENTITY)
    target = Name(required=True, metadata=_TARGET)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata=_VERSION)
    future = Ahead()
    source = Name(load_default=None, allow_none=True, metadata=_SOURCE)
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


class Shares(Out):
    """What each part of a blend weighs; together 1."""

    network = fields.Float(metadata={"description": "What was learned."})
    linear = fields.Float(metadata=SOMETIMES | {"description": "A weighted sum of the last rows; older forecasts do not tell it."})
    seasonal_change = fields.Float(metadata={"description": "The last value, and what was added to it a season ago."})
    usual_level = fields.Float(metadata={"description": "The mean of the rows learned from."})
    persistence = fields.Float(metadata={"description": "The last value."})


class ServedBy(Out):
    """Who made the forecast."""

    kind = fields.String(
        validate=validate.OneOf(FORECASTERS), metadata={"description": "The blend, or a baseline where too few rows were held back."}
    )
    shares = fields.Dict(metadata=SOMETIMES | shaped("Shares"))
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})


class Served(Out):
    """Who made the baseline; model and version stand beside it."""

    kind = fields.String(validate=validate.OneOf(FORECASTERS))
    shares = fields.Dict(metadata=SOMETIMES | shaped("Shares"))


class Point(Out):
    """One step, in the target's unit."""

    at = fields.String(metadata=DATE_TIME)
    value = fields.Float()
    lower = fields.Float()
    upper = fields.Float()


class History(Out):
    """What the forecast is compared with: the last thirty days, or those there are."""

    average = fields.Float()
    deviation = fields.Float(metadata={"description": "Standard deviation of those observations."})
    percentile = fields.Float(validate=validate.Range(0, 100), metadata={"description": "Of the mean forecast among those observations."})
    days = fields.Float(metadata={"description": "Looked back on; thirty, or as many as there are."})
    rows = fields.Integer(metadata={"description": "Observations behind these figures."})


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
    interpretation = fields.String(
        metadata={"description": "One or two plain sentences that say what `history` and the channel's `direction` say. Never advice."}
    )
    served_by = fields.Dict(metadata=shaped("ServedBy"))
    cached = fields.Boolean(metadata={"description": "It was made for an earlier request."})
    cache_expires_at = fields.String(metadata=DATE_TIME | SOMETIMES | {"description": "Until when it is served from the cache."})


class StoredForecast(Forecast):
    """The newest forecast that was made, and whether it would be made so today."""

    stale = fields.Boolean(
        metadata={"description": "Newer observations came, another version serves, or it is older than forecasts are kept for: ask anew."}
    )


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
