"""Backtests on the wire: of a recipe, trained anew for each fold, or of a version."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tasks.orders import FOLDS, BacktestOrder
from webapp.schemas.fields import Moment, Name, Out, Real, Text, Whole
from webapp.schemas.shapes import DATE_TIME, FORECASTERS, MODEL_ID, SEMVER, SOMETIMES, shaped
from webapp.schemas.specs import SpecIn
from webapp.schemas.submissions import SOURCE_OF_VERSION, SOURCE_TOLD, Asked, Submission

MOST_FOLDS = 20
#: Members that only a backtest of a recipe has, and only one of a version, as the body names them.
_OF_RECIPE = {"overrides": "spec", "folds": "folds", "look_back_hours": "look_back_hours"}
_OF_VERSION = {"version": "version", "begin": "from", "end": "to"}


class BacktestIn(Submission):
    """With `recipe`: what it would have forecast, trained anew for each fold. Without: what a version says of rows known by now."""

    entity = Name(required=True, metadata={"description": "Whose past."})
    target = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "Channel to forecast; the recipe's first by default, of a `joint` one all. Required without a recipe."},
    )
    recipe = Name(load_default=None, allow_none=True, metadata={"description": "Name of a preset; `GET /recipes` lists them."})
    overrides = fields.Nested(SpecIn, data_key="spec", metadata={"description": "Of a recipe: fields of its spec to change."})
    folds = Whole(
        1,
        MOST_FOLDS,
        metadata={
            "description": "Of a recipe: parts of the later half of the rows. Each is forecast by a training on all before it.",
            "default": FOLDS,
        },
    )
    look_back_hours = Real(
        1,
        1_000_000,
        allow_none=True,
        metadata={"description": "Of a recipe: only rows of so many hours before the newest one; the recipe's by default."},
    )
    version = Text(
        low=1, high=40, allow_none=True, metadata={"description": "Number of the version, without a recipe; the active one by default."}
    )
    begin = Moment(
        data_key="from",
        allow_none=True,
        metadata={"description": "Of a version: forecast rows from here on. By default those that came after its training's."},
    )
    end = Moment(data_key="to", allow_none=True, metadata={"description": "Of a version: and before this. By default all."})
    source = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": f"{SOURCE_OF_VERSION['description']} Of a recipe, by default our own."},
    )

    @validates_schema
    def one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("recipe") is None:
            if data.get("target") is None:
                raise ValidationError("Missing data for required field: a version forecasts one channel; or name a recipe.", "target")
            given = [word for name, word in _OF_RECIPE.items() if name in data]
            if given:
                raise ValidationError(f"Missing data for required field: {', '.join(given)} are of a recipe.", "recipe")
            return
        for name, word in _OF_VERSION.items():
            if data.get(name) is not None:
                raise ValidationError("Must be left out beside `recipe`: it is of a backtest of a version.", word)

    @validates_schema
    def in_order(self, data: dict[str, Any], **_: Any) -> None:
        begin, end = data.get("begin"), data.get("end")
        if begin is not None and end is not None and begin >= end:
            raise ValidationError("Must be greater than `from`.", "to")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[BacktestOrder]:
        metadata = data.pop("metadata")
        return Asked(BacktestOrder(**data), metadata)


class BacktestSpec(Out):
    """A backtest, defaults filled in: of a recipe, or, where that is null, of a version."""

    entity = fields.String()
    target = fields.String(metadata={"description": "Of several, the first of `spec.targets`."})
    recipe = fields.String(allow_none=True)
    spec = fields.Dict(allow_none=True, metadata=shaped("Spec", description="What is trained for each fold."))
    folds = fields.Integer(allow_none=True)
    look_back_hours = fields.Float(allow_none=True)
    version = fields.String(
        allow_none=True, metadata={"description": "The one that was active when it was asked for, where none was named."}
    )
    begin = fields.String(data_key="from", allow_none=True, metadata=DATE_TIME)
    end = fields.String(data_key="to", allow_none=True, metadata=DATE_TIME)
    source = fields.String(metadata=SOURCE_TOLD)


def _numbers(about: str, **more: Any) -> fields.List[Any]:
    return fields.List(fields.Float(allow_none=True), metadata={"description": about}, **more)


def _steps(about: str) -> fields.List[Any]:
    return _numbers(about, allow_none=True)


class BacktestSteps(Out):
    """The same of each step of the horizon; null for a step without such a number, and in place of a list of nothing but those."""

    n = fields.List(fields.Integer(), metadata={"description": "Pairs."})
    mae = _steps("Mean absolute error.")
    rmse = _steps("Root of the mean squared error.")
    mase = _steps("In units of the seasonal naive forecast's error on the rows learned from.")
    skill = _steps("Against the baseline that is best at that step.")
    coverage = _steps("Share of truths inside the interval; of `served` alone.")
    winkler = _steps("Interval score: less is better; of `served` alone.")


class BacktestScores(Out):
    """Errors of one forecaster over all steps; null where there is no such number."""

    n = fields.Integer(metadata={"description": "Pairs of origin and step."})
    mae = fields.Float(allow_none=True)
    rmse = fields.Float(allow_none=True)
    mase = fields.Float(allow_none=True)
    skill = fields.Float(allow_none=True, metadata={"description": "1 minus the error over that of the best naive baseline."})
    coverage = fields.Float(allow_none=True, metadata={"description": "Share of truths inside the interval; of `served` alone."})
    winkler = fields.Float(allow_none=True, metadata={"description": "Interval score: less is better; of `served` alone."})
    metrics_per_step = fields.Dict(metadata=shaped("BacktestSteps"))


class BacktestForecasters(Out):
    """The network under its family's name, the naive baselines, and what would have been served, on the same pairs."""

    lstm = fields.Dict(metadata=SOMETIMES | shaped("BacktestScores"))
    seq2seq = fields.Dict(metadata=SOMETIMES | shaped("BacktestScores"))
    persistence = fields.Dict(metadata=shaped("BacktestScores"))
    seasonal_naive = fields.Dict(metadata=shaped("BacktestScores"))
    served = fields.Dict(metadata=shaped("BacktestScores"))


class BacktestFold(Out):
    """Rows that one training forecast, or that the version did."""

    fold = fields.Integer()
    learned_until = fields.String(metadata=DATE_TIME | {"description": "The last row that the training had."})
    begin = fields.String(data_key="from", metadata=DATE_TIME | {"description": "The first row forecast."})
    end = fields.String(data_key="to", metadata=DATE_TIME | {"description": "The last row forecast."})
    origins = fields.Integer(metadata={"description": "Rows after which a forecast was made."})
    seen_in_training = fields.Boolean(metadata={"description": "The version's training had these rows: they are no part of `overall`."})
    served_by = fields.String(validate=validate.OneOf(FORECASTERS), metadata={"description": "Who would have answered."})
    scores = fields.Dict(metadata=shaped("BacktestForecasters"))


class BacktestOverall(Out):
    """All folds together, but for rows that the training had."""

    folds = fields.Integer()
    origins = fields.Integer()
    scores = fields.Dict(metadata=shaped("BacktestForecasters"))


class BacktestTrace(Out):
    """The end of the last fold, row by row: what happened, and what was served. Null where there is none of it."""

    at = fields.List(fields.String(metadata=DATE_TIME))
    truth = _numbers("What was observed.")
    forecast = _numbers("What was served: a forecast of all steps, then the one made where that ends.")
    lower = _numbers("Of its interval.")
    upper = _numbers("Of its interval.")


class BacktestTarget(Out):
    """What the backtest says of one target."""

    target = fields.String()
    folds = fields.List(fields.Dict(metadata=shaped("BacktestFold")))
    overall = fields.Dict(metadata=shaped("BacktestOverall"))
    trace = fields.Dict(metadata=shaped("BacktestTrace"))


class BacktestResult(BacktestTarget):
    """What a backtest brought: of the first target, and in `others` of those that the same network forecasts."""

    entity = fields.String()
    recipe = fields.String(allow_none=True)
    model = fields.String(allow_none=True, metadata=MODEL_ID | {"description": "Null of a recipe: what was trained was not kept."})
    version = fields.String(allow_none=True, metadata={"pattern": SEMVER})
    horizon = fields.Integer()
    step = fields.String(metadata={"description": "Time between rows (ISO 8601)."})
    level = fields.Float(metadata={"description": "Share of truths that the intervals are to hold."})
    others = fields.List(fields.Dict(metadata=shaped("BacktestTarget")))
