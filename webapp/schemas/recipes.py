"""Recipes on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from webapp.schemas.fields import Out
from webapp.schemas.shapes import shaped


class RecipeNeed(Out):
    """One thing that a recipe asks of the data."""

    name = fields.String()
    of = fields.String(validate=validate.OneOf(("target", "covariates")))
    measure = fields.String(validate=validate.OneOf(("rows", "days", "coverage")))
    minimum = fields.Float()
    group = fields.List(fields.String(), metadata={"description": "The covariates it speaks of; empty: all of them."})


class RecipeGate(Out):
    """What a version must reach to become active by itself."""

    min_skill = fields.Float()
    incumbent_tolerance = fields.Float(metadata={"description": "How much worse than the active version it may be: 0.05 is five percent."})
    production_r2 = fields.Float(allow_none=True)
    production_mape = fields.Float(allow_none=True)


class Recipe(Out):
    """A preset: model spec, data requirements, gate."""

    name = fields.String()
    title = fields.String()
    targets = fields.List(fields.String(), metadata={"description": "Empty: any channel."})
    covariates = fields.List(fields.String())
    joint = fields.Boolean(metadata={"description": "One network forecasts all its targets that an entity has, unless one is named."})
    available = fields.String(
        allow_none=True, metadata={"description": "Channel that is taken for `spec.available` where an entity has it; null: none."}
    )
    spec = fields.Dict(metadata=shaped("RecipeSpec", description="Every field's default in this recipe."))
    needs = fields.List(fields.Dict(metadata=shaped("RecipeNeed")))
    gate = fields.Dict(metadata=shaped("RecipeGate"))
    look_back_hours = fields.Float(allow_none=True)
    floor = fields.Float(
        allow_none=True,
        metadata={"description": "Forecasts of its targets are not below it, where an entity's own rows are not; null: no floor."},
    )


class RecipeList(Out):
    """Every preset."""

    data = fields.List(fields.Nested(Recipe))
    detectors = fields.List(fields.Nested("Watching"), metadata={"description": "Those of `POST /anomalies/train`."})
