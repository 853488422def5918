"""Recipes: the presets as this operator set them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ml.recipes import Recipe
from ml.spec import ModelSpec
from webapp.context import runtime
from webapp.contract import Blueprint
from webapp.schemas import models as wire

blp = Blueprint("recipes", __name__, description="Named presets: model spec, data requirements, gate")


@blp.route("/recipes")
@blp.response(200, wire.RecipeList)
def list_recipes() -> dict[str, Any]:
    """List every preset with its requirements, defaults and gate"""
    return {"data": [_document(recipe) for recipe in runtime().recipes.values()]}


def _document(recipe: Recipe) -> dict[str, Any]:
    defaults = ModelSpec(targets=recipe.targets[:1] or ("any",)).override(recipe.spec).as_dict()
    del defaults["targets"], defaults["covariates"]  # the entity's data decide
    return asdict(recipe) | {"spec": defaults}
