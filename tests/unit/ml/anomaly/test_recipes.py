"""The watch's presets: which channels are taken, and what is said where there are none."""

from __future__ import annotations

import pytest

from ml.anomaly.recipes import LISTED, WATCH_RECIPES, WatchRecipe, watch_recipe
from ml.anomaly.spec import DetectorSpec
from ml.errors import SpecInvalid

DEVICE = watch_recipe("device-anomaly")


def test_those_of_its_channels_that_are_there_are_watched_in_the_recipes_order() -> None:
    spec = DEVICE.resolve(None, {"network_total", "cpu_usage", "fan"}, {"trees": 50})
    assert spec == DetectorSpec(("cpu_usage", "network_total"), trees=50)


def test_any_others_may_be_named() -> None:
    assert DEVICE.resolve(["fan"], {"cpu_usage", "fan"}, {}).channels == ("fan",)


@pytest.mark.parametrize(
    ("asked", "there", "said"),
    [
        (None, ["fan"], "none of cpu_usage, memory_usage_percent, disk_usage_percent, network_total; name some of what it has: fan"),
        (None, [], "no channel"),
        (["fan", "gone"], ["fan"], "channels = 'gone': the entity has no observations of it; it has: fan"),
        (["fan", "fan"], ["fan"], "name each channel once"),
        (["x"], [f"c{n:02}" for n in range(LISTED + 3)], "and 3 more"),
    ],
)
def test_what_is_missing_is_named_beside_what_is_there(asked: list[str] | None, there: list[str], said: str) -> None:
    with pytest.raises(SpecInvalid, match=said) as refused:
        DEVICE.resolve(asked, there, {})
    assert refused.value.field == "channels"


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(SpecInvalid, match="known: device-anomaly"):
        watch_recipe("device-metric")


@pytest.mark.parametrize("recipe", WATCH_RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_preset_is_a_spec_within_its_bounds(recipe: WatchRecipe) -> None:
    assert recipe.resolve(None, recipe.channels, {}).channels == recipe.channels
