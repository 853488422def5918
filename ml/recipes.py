"""Named presets: model spec, data requirements, gate. Data, not code paths; imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ml.errors import SpecInvalid
from ml.readiness import Coverage, Need
from ml.spec import ModelSpec

#: Channels that count as nutrition in `health-daily`: asked for 21 days when they are inputs.
NUTRITION = ("calories_in", "protein_g", "carbs_g", "fat_g", "fiber_g", "sugar_g", "caffeine_mg", "alcohol_g", "water_ml")
ACTIVITY = ("steps", "calories_burned", "sedentary_min", "light_min", "moderate_min", "vigorous_min")
SLEEP = ("asleep_min", "awake_min", "sleep_efficiency", "nightly_temp", "breathing_rate", "stress_score")


@dataclass(frozen=True, slots=True)
class Gate:
    """What a version must reach to become active by itself."""

    #: Least skill of the serving forecaster on the calibrate part; 0 means no worse than the best naive baseline.
    min_skill: float = 0.0
    #: How much worse than the incumbent on the same rows a new version may be (0.05: five percent), so that fresh data wins near-ties.
    incumbent_tolerance: float = 0.05
    #: R² and MAPE that earn the label `production_ready`; None for recipes whose target is not positive.
    production_r2: float | None = None
    production_mape: float | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A preset. `targets` empty means: any channel, named by the request."""

    name: str
    title: str
    #: Fields of ModelSpec that differ from its defaults.
    spec: Mapping[str, Any]
    #: Target channels it knows; the first is the default.
    targets: tuple[str, ...] = ()
    #: Past covariates it would read; those present with enough rows are taken.
    covariates: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    gate: Gate = Gate()
    #: Default look-back in hours of a training; None reads everything.
    look_back_hours: float | None = None

    def resolve(self, target: str | None, coverage: Mapping[str, Coverage], overrides: Mapping[str, Any]) -> ModelSpec:
        """The effective spec for one entity: defaults, the covariates it has, the request's overrides.

        Covariates named in `overrides` are taken as given, so that a missing one is reported rather than skipped.
        Raises SpecInvalid naming the field.
        """
        chosen = target or (self.targets[0] if self.targets else None)
        if chosen is None:
            raise SpecInvalid("target", None, f"recipe {self.name} forecasts any channel; name one")
        present = self._present(chosen, coverage)
        return ModelSpec(targets=(chosen,), covariates=present).override({**self.spec, **overrides})

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same preset with an operator's changes."""
        rows = changes.get("min_rows")
        needs = tuple(replace(n, minimum=rows) if rows is not None and n.measure == "rows" else n for n in self.needs)
        fields = {name: value for name, value in changes.items() if name != "min_rows"}
        return replace(self, spec={**self.spec, **fields}, needs=needs)

    def _present(self, target: str, coverage: Mapping[str, Coverage]) -> tuple[str, ...]:
        """Covariates with rows on at least 80 % of the target's days: fewer would cost more origins than they explain."""
        days = coverage.get(target, Coverage(0, 0)).days
        return tuple(c for c in self.covariates if c != target and c in coverage and coverage[c].days >= 0.8 * max(days, 1))


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="pv-power",
            title="Next-step power of a PV plant",
            spec={"window": 24, "horizon": 1, "hidden_size": 128, "num_layers": 3, "dropout": 0.2, "epochs": 30, "patience": 8},
            targets=("P",),
            covariates=("U", "I", "Temp", "Irr"),
            needs=(Need("rows", "target", "rows", 200),),
        ),
        Recipe(
            name="health-daily",
            title="A person's resting heart rate or heart-rate variability, day by day",
            spec={
                "window": 30,
                "horizon": 7,
                "hidden_size": 128,
                "num_layers": 2,
                "dropout": 0.2,
                "epochs": 100,
                "patience": 10,
                "learning_rate": 3e-3,
                "cadence_s": 86_400,
            },
            targets=("rhr", "hrv_rmssd", "hrv"),
            covariates=ACTIVITY + SLEEP + NUTRITION,
            needs=(
                Need("days", "target", "days", 30),
                Need("days", "covariates", "days", 21, group=NUTRITION),
                Need("coverage", "covariates", "coverage", 0.5, group=ACTIVITY + SLEEP),
            ),
            gate=Gate(production_r2=0.5, production_mape=15.0),
        ),
        Recipe(
            name="device-metric",
            title="Any metric of a device, twelve steps ahead",
            spec={"window": 50, "horizon": 12, "hidden_size": 64, "num_layers": 2, "epochs": 50, "patience": 8},
            needs=(Need("rows", "target", "rows", 100),),
            look_back_hours=168,
        ),
    )
}


def presets(changes: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Recipe]:
    """The presets with an operator's changes: `{"device-metric": {"window": 50, "min_rows": 100}}`.

    `min_rows` moves the recipe's need of rows; every other field is one of ModelSpec's.
    """
    return {name: preset.changed(changes.get(name, {})) for name, preset in RECIPES.items()}


def recipe(name: str, among: Mapping[str, Recipe] = RECIPES) -> Recipe:
    """The preset of that name. Raises SpecInvalid listing the names there are."""
    if name not in among:
        raise SpecInvalid("recipe", name, f"unknown recipe; known: {', '.join(sorted(among))}")
    return among[name]
