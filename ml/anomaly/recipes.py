"""The watch's presets: what is watched where nothing else is asked for, and how far back is learned. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ml.anomaly.spec import DetectorSpec
from ml.errors import SpecInvalid

#: Names of channels that one sentence lists.
LISTED = 20


@dataclass(frozen=True, slots=True)
class WatchRecipe:
    """A preset of a detector."""

    name: str
    title: str
    #: Those of them that an entity has are watched.
    channels: tuple[str, ...]
    #: Fields of DetectorSpec that differ from its defaults.
    spec: Mapping[str, Any] = field(default_factory=dict)
    #: Hours before the newest row that a training reads; None reads everything.
    look_back_hours: float | None = None

    def resolve(self, asked: Sequence[str] | None, there: Collection[str], overrides: Mapping[str, Any]) -> DetectorSpec:
        """The effective spec for an entity that has rows of the channels `there`. Raises SpecInvalid naming the field and what there is."""
        channels = tuple(name for name in self.channels if name in there) if asked is None else tuple(asked)
        if not channels:
            fix = f"the entity has none of {', '.join(self.channels)}; name some of what it has: {_listed(there)}"
            raise SpecInvalid("channels", asked, fix)
        missing = [name for name in channels if name not in there]
        if missing:
            raise SpecInvalid("channels", missing[0], f"the entity has no observations of it; it has: {_listed(there)}")
        return DetectorSpec(channels=channels).override({**self.spec, **overrides})


WATCH_RECIPES: Mapping[str, WatchRecipe] = {
    recipe.name: recipe
    for recipe in (
        WatchRecipe(
            name="device-anomaly",
            title="What is unusual of a device",
            channels=("cpu_usage", "memory_usage_percent", "disk_usage_percent", "network_total"),
            look_back_hours=168,
        ),
    )
}


def watch_recipe(name: str) -> WatchRecipe:
    """The preset of that name. Raises SpecInvalid listing the names there are."""
    if name not in WATCH_RECIPES:
        raise SpecInvalid("recipe", name, f"unknown recipe of a detector; known: {', '.join(sorted(WATCH_RECIPES))}")
    return WATCH_RECIPES[name]


def _listed(names: Collection[str]) -> str:
    shown = list(islice(sorted(names), LISTED))
    more = len(names) - len(shown)
    return (", ".join(shown) + (f" and {more} more" if more else "")) or "no channel"
