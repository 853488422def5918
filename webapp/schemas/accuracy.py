"""Accuracy and drift on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from ml.drift import VERDICTS
from webapp.schemas.fields import Moment, Out
from webapp.schemas.shapes import FORECASTERS, MODEL_ID, SEMVER

_VERDICT = {
    "description": "`unknown`: too little came since the version was made to say anything, or a release made it that kept nothing to "
    "compare with."
}
_CHANCE = {"description": "How often chance alone would bring about as much, were nothing different."}
_INDEPENDENT = {"description": "How many of them tell something of their own: neighbours resemble each other."}


def _verdict() -> fields.String:
    return fields.String(validate=validate.OneOf(VERDICTS), metadata=_VERDICT)


class Realised(Out):
    """Errors over pairs of forecast and observation; null where there is no such number."""

    n = fields.Integer(metadata={"description": "Pairs of origin and step whose moment has been observed."})
    mae = fields.Float(allow_none=True, metadata={"description": "Mean absolute error, in the target's unit."})
    usual_mae = fields.Float(
        allow_none=True, metadata={"description": "The same of these steps on the rows held back from the version's training."}
    )
    last_value_mae = fields.Float(allow_none=True, metadata={"description": "The same of the last value known at the origin."})
    season_mae = fields.Float(
        allow_none=True,
        metadata={"description": "The same of the value a season before; of the last value where there was none."},
    )
    skill = fields.Float(allow_none=True, metadata={"description": "1 minus the error over that of the better of these two."})
    coverage = fields.Float(allow_none=True, metadata={"description": "Share of observations inside the interval."})
    level = fields.Float(allow_none=True, metadata={"description": "What it should be: the mean of the levels that were asked for."})


class RealisedStep(Realised):
    """The same of one step of the horizon."""

    step = fields.Integer(metadata={"minimum": 1})


class RealisedVersion(Realised):
    """What the forecasts of one version were worth."""

    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "It is the one that serves."})
    served_by = fields.String(validate=validate.OneOf(FORECASTERS))
    begin = Moment(
        data_key="from", attribute="from", allow_none=True, metadata={"description": "First moment that was forecast and observed."}
    )
    end = Moment(data_key="to", attribute="to", allow_none=True, metadata={"description": "The last one."})
    origins = fields.Integer(metadata={"description": "Forecasts: one for each last row that one was made from."})
    steps = fields.List(fields.Nested(RealisedStep))


class InputDrift(Out):
    """The newest rows of one channel beside those that the version learned from."""

    channel = fields.String()
    verdict = _verdict()
    rows = fields.Integer(metadata={"description": "Newest rows compared, in whole weeks or seasons, all of them newer than the version."})
    independent = fields.Float(metadata=_INDEPENDENT)
    psi = fields.Float(
        allow_none=True, metadata={"description": "Population stability index: from 0.1 on some, from 0.25 on much changed."}
    )
    ks = fields.Float(allow_none=True, metadata={"description": "Kolmogorov–Smirnov distance of the two, 0 to 1."})
    chance = fields.Float(allow_none=True, metadata=_CHANCE)


class ErrorDrift(Out):
    """The latest errors beside those on the rows held back from training."""

    verdict = _verdict()
    origins = fields.Integer(metadata={"description": "Latest forecasts compared."})
    independent = fields.Float(metadata=_INDEPENDENT)
    ratio = fields.Float(allow_none=True, metadata={"description": "How many times as large they are."})
    chance = fields.Float(allow_none=True, metadata=_CHANCE)


class CoverageDrift(Out):
    """The share of observations inside the interval beside its level."""

    verdict = _verdict()
    origins = fields.Integer(metadata={"description": "Latest forecasts looked at."})
    independent = fields.Float(metadata=_INDEPENDENT)
    have = fields.Float(allow_none=True)
    need = fields.Float(allow_none=True)
    chance = fields.Float(allow_none=True, metadata=_CHANCE)


class Drift(Out):
    """Whether the present is still what the version was made for: the gravest verdict of any test."""

    version = fields.String(metadata={"pattern": SEMVER})
    verdict = _verdict()
    inputs = fields.List(fields.Nested(InputDrift))
    errors = fields.Nested(ErrorDrift, allow_none=True)
    coverage = fields.Nested(CoverageDrift, allow_none=True)


class DriftBrief(Out):
    """The last verdict about the version that serves."""

    verdict = _verdict()
    error_ratio = fields.Float(allow_none=True, metadata={"description": "Recent errors over the version's usual ones."})
    since = Moment(metadata={"description": "When this version was first given this verdict."})
    judged_at = Moment()


class ModelAccuracy(Out):
    """What the forecasts of a model were worth."""

    entity = fields.String()
    target = fields.String()
    model = fields.String(metadata=MODEL_ID)
    days = fields.Integer(metadata={"description": "Only forecasts of so many days before the newest observation count."})
    versions = fields.List(
        fields.Nested(RealisedVersion),
        metadata={"description": "Newest first: those that forecast something since observed, and the active one."},
    )
    drift = fields.Nested(Drift, allow_none=True, metadata={"description": "Null where no version is active."})
