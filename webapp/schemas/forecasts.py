"""Forecasts on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from webapp.schemas.fields import Out
from webapp.schemas.shapes import DATE_TIME, FORECASTERS, HORIZON, LEVEL, MODEL_ID, SEMVER, SOMETIMES, numbered, shaped


class Shares(Out):
    """What each part of a blend weighs; together 1."""

    network = fields.Float(metadata={"description": "What was learned."})
    linear = fields.Float(metadata=SOMETIMES | {"description": "A weighted sum of the last rows; older forecasts do not tell it."})
    seasonal_change = fields.Float(metadata={"description": "The last value, and what was added there in the last seasons, on average."})
    usual_level = fields.Float(metadata={"description": "The mean of the rows learned from; far beyond them, the last value."})
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


class Sent(Out):
    """The rows of a forecast in a sink."""

    name = fields.String(metadata={"description": "Of the sink."})
    rows = fields.Integer(metadata={"description": "One for each step."})
    model_id = fields.String(metadata={"pattern": numbered("ver"), "description": "Key of the version that made them, in both tables."})


class ForecastResult(Out):
    """What a prediction brought."""

    forecast = fields.Dict(metadata=shaped("Forecast"))
    sink = fields.Dict(metadata=SOMETIMES | shaped("Sent", description="Where it was asked to go besides."))
