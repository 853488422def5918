"""Specs on the wire: what decides how a network is made and trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, pre_load, validate

from ml.spec import BOUNDS, CHOICES, MOST_INPUTS, MOST_ROLLING, MOST_TARGETS, ROLLING_ROWS
from webapp.schemas.fields import Flag, In, Name, Out, Real, Several, Text, Whole
from webapp.schemas.shapes import bounded, shaped

_bounded = partial(bounded, BOUNDS)
_SHARE = {"minimum": 0.01, "maximum": 0.97}
_ABOUT: Mapping[str, Mapping[str, Any]] = {
    "covariates": {
        "description": "Channels read beside the target, known up to the last observation only. With the targets and the "
        f"known-future ones, {MOST_INPUTS} at most."
    },
    "future_covariates": {
        "description": "Channels whose values over the horizon are known when a forecast is made, as a promotion or a "
        "holiday is: stored ahead as observations, or brought by the request as `future`."
    },
    "rolling": {"description": f"Rows of the rolling means that are read of each covariate besides; {MOST_ROLLING} at most."},
    "available": {
        "description": "Channel that is 0 where the targets' rows do not count, as the price of what is not on sale; null: all do."
    },
    "positive": {"description": "Rows of the targets that are not above 0 do not count."},
    "network": {
        "enum": list(CHOICES["network"]),
        "description": "`lstm` forecasts all steps at once, `seq2seq` one after the other, with attention.",
    },
    "window": _bounded("window", "Steps of history that the network reads."),
    "horizon": _bounded("horizon", "Steps that it forecasts."),
    "hidden_size": _bounded("hidden_size", "Width of a layer."),
    "num_layers": _bounded("num_layers", "Layers."),
    "dropout": _bounded("dropout", "Share of a layer left out at random while learning."),
    "epochs": _bounded("epochs", "Most passes over the rows learned from."),
    "patience": _bounded("patience", "Epochs without a better loss on held-back rows before training ends."),
    "batch_size": _bounded("batch_size", "Windows' worth of rows per update."),
    "learning_rate": _bounded("learning_rate", "Peak of the one-cycle rate."),
    "loss": {"enum": list(CHOICES["loss"]), "description": "What training makes small."},
    "split": {"description": "Chronological shares of the rows; they add up to 1."},
    "level": _bounded("level", "Level of the intervals, for requests that name none."),
    "fill_limit": _bounded("fill_limit", "Longest run of missing steps that is filled forward."),
    "cadence_s": {"minimum": 1, "maximum": 31 * 86_400, "description": "Seconds between rows; null finds them from the data."},
    "seed": _bounded("seed", "The same seed on the same data gives the same model."),
}


class SplitIn(In):
    """Chronological shares; they add up to 1."""

    fit = Real(metadata=_SHARE | {"default": 0.64, "description": "Weights and scaler are learned from these."})
    stop = Real(metadata=_SHARE | {"default": 0.08, "description": "Say when to stop."})
    calibrate = Real(metadata=_SHARE | {"default": 0.08, "description": "Give the intervals, and decide who serves."})
    test = Real(metadata=_SHARE | {"default": 0.2, "description": "Decide nothing: the reported figures are theirs."})


class _SpecIn(In):
    """What a spec holds besides what is forecast. The bounds are ModelSpec's, which checks them."""

    covariates = Several(Name(), 0, MOST_INPUTS - 1, metadata=_ABOUT["covariates"])
    future_covariates = Several(Name(), 0, MOST_INPUTS - 1, metadata=_ABOUT["future_covariates"])
    rolling = Several(Whole(*ROLLING_ROWS), 0, MOST_ROLLING, metadata=_ABOUT["rolling"])
    available = Name(allow_none=True, metadata=_ABOUT["available"])
    positive = Flag(metadata=_ABOUT["positive"])
    network = Text(high=50, metadata=_ABOUT["network"])
    window = Whole(metadata=_ABOUT["window"])
    horizon = Whole(metadata=_ABOUT["horizon"])
    hidden_size = Whole(metadata=_ABOUT["hidden_size"])
    num_layers = Whole(metadata=_ABOUT["num_layers"])
    dropout = Real(metadata=_ABOUT["dropout"])
    epochs = Whole(metadata=_ABOUT["epochs"])
    patience = Whole(metadata=_ABOUT["patience"])
    batch_size = Whole(metadata=_ABOUT["batch_size"])
    learning_rate = Real(metadata=_ABOUT["learning_rate"])
    loss = Text(high=50, metadata=_ABOUT["loss"])
    split = fields.Nested(SplitIn, metadata=_ABOUT["split"])
    level = Real(metadata=_ABOUT["level"])
    fill_limit = Whole(metadata=_ABOUT["fill_limit"])
    cadence_s = Real(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = Whole(metadata=_ABOUT["seed"])


class SpecIn(_SpecIn):
    """Fields of the recipe's spec to change. Their bounds are ModelSpec's, which checks them.

    What is forecast stands beside it: the request's `target`, or what the recipe says.
    """

    def __init__(self, **about: Any) -> None:
        """Partial: a field that was not sent is passed over at once, instead of being asked for its default; none has one."""
        super().__init__(**about | {"partial": True})

    @pre_load
    def without_targets(self, data: Any, **_: Any) -> Any:
        if isinstance(data, Mapping) and "targets" in data:
            raise ValidationError("Not supported: the request's `target` and the recipe say what is forecast.", "targets")
        return data


class ImportedSpec(_SpecIn):
    """The spec of an imported network; what is left out is as `Spec` describes it and as ModelSpec has it by default."""

    targets = Several(Name(), 1, MOST_TARGETS, required=True)


class Split(Out):
    """Chronological shares of the rows."""

    fit = fields.Float()
    stop = fields.Float()
    calibrate = fields.Float()
    test = fields.Float()


class RecipeSpec(Out):
    """Every field of a spec that a recipe decides."""

    rolling = fields.List(fields.Integer(), metadata=_ABOUT["rolling"])
    positive = fields.Boolean(metadata=_ABOUT["positive"])
    network = fields.String(validate=validate.OneOf(CHOICES["network"]))
    window = fields.Integer(metadata=_ABOUT["window"])
    horizon = fields.Integer(metadata=_ABOUT["horizon"])
    hidden_size = fields.Integer(metadata=_ABOUT["hidden_size"])
    num_layers = fields.Integer(metadata=_ABOUT["num_layers"])
    dropout = fields.Float(metadata=_ABOUT["dropout"])
    epochs = fields.Integer(metadata=_ABOUT["epochs"])
    patience = fields.Integer(metadata=_ABOUT["patience"])
    batch_size = fields.Integer(metadata=_ABOUT["batch_size"])
    learning_rate = fields.Float(metadata=_ABOUT["learning_rate"])
    loss = fields.String(validate=validate.OneOf(CHOICES["loss"]))
    split = fields.Dict(metadata=shaped("Split"))
    level = fields.Float(metadata=_ABOUT["level"])
    fill_limit = fields.Integer(metadata=_ABOUT["fill_limit"])
    cadence_s = fields.Float(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = fields.Integer(metadata=_ABOUT["seed"])


class Spec(RecipeSpec):
    """Everything that decides what a training does, apart from the data."""

    targets = fields.List(
        fields.String(), validate=validate.Length(1, MOST_TARGETS), metadata={"description": "Channels forecast, by one network."}
    )
    covariates = fields.List(fields.String(), metadata=_ABOUT["covariates"])
    future_covariates = fields.List(fields.String(), metadata=_ABOUT["future_covariates"])
    available = fields.String(allow_none=True, metadata=_ABOUT["available"])
