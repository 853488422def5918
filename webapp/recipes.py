"""Recipes: the presets as this operator set them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ml.anomaly.recipes import WATCH_RECIPES, WatchRecipe
from ml.anomaly.spec import LEAST_ROWS
from ml.recipes import Recipe
from ml.spec import ModelSpec
from webapp.context import runtime
from webapp.contract import Blueprint
from webapp.schemas.recipes import RecipeList

blp = Blueprint("recipes", __name__, description="Named presets: model spec, data requirements, gate")


@blp.route("/recipes")
@blp.response(200, RecipeList)
def list_recipes() -> dict[str, Any]:
    """List every preset with its requirements, defaults and gate"""
    watched = [_watching(recipe) for recipe in WATCH_RECIPES.values()]
    return {"data": [_document(recipe) for recipe in runtime().recipes.values()], "detectors": watched}


def _document(recipe: Recipe) -> dict[str, Any]:
    defaults = ModelSpec(targets=recipe.targets[:1] or ("any",)).override(recipe.spec).as_dict()
    for name in ("targets", "covariates", "future_covariates", "available"):
        del defaults[name]  # the request and the entity's data decide
    return asdict(recipe) | {"spec": defaults}


def _watching(recipe: WatchRecipe) -> dict[str, Any]:
    defaults = recipe.resolve(None, recipe.channels, {}).as_dict()
    del defaults["channels"]  # the request and the entity's data decide
    return asdict(recipe) | {"spec": defaults, "least_rows": LEAST_ROWS}
