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
    #: All its targets that an entity has are forecast by one network, unless the request names one.
    joint: bool = False
    #: Channel that says which rows count; taken where an entity has it.
    available: str | None = None
    needs: tuple[Need, ...] = ()
    gate: Gate = Gate()
    #: Default look-back in hours of a training; None reads everything.
    look_back_hours: float | None = None
    #: Below which its targets cannot lie, and are not forecast; None: anywhere.
    floor: float | None = None

    def resolve(self, target: str | None, coverage: Mapping[str, Coverage], overrides: Mapping[str, Any]) -> ModelSpec:
        """The effective spec for one entity: defaults, the covariates it has, the request's overrides.

        Covariates named in `overrides` are taken as given, so that a missing one is reported rather than skipped.
        Raises SpecInvalid naming the field.
        """
        given = {field: tuple(overrides.get(field, ())) for field in ("covariates", "future_covariates")}
        targets = self._targets(target, coverage, taken=given["covariates"] + given["future_covariates"])
        present = self._present(targets, coverage, besides=given["future_covariates"])
        available = self.available if self.available in coverage else None
        return ModelSpec.of({"targets": targets, "covariates": present, "available": available, **self.spec, **overrides})

    def floor_of(self, target: str) -> float | None:
        """A request may name a target that the recipe does not know: of that nothing is said."""
        return self.floor if not self.targets or target in self.targets else None

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same preset with an operator's changes."""
        rows = changes.get("min_rows")
        needs = tuple(replace(n, minimum=rows) if rows is not None and n.measure == "rows" else n for n in self.needs)
        fields = {name: value for name, value in changes.items() if name != "min_rows"}
        return replace(self, spec={**self.spec, **fields}, needs=needs)

    def _targets(self, target: str | None, coverage: Mapping[str, Coverage], taken: tuple[str, ...]) -> tuple[str, ...]:
        if target is not None:
            return (target,)
        if not self.targets:
            raise SpecInvalid("target", None, f"recipe {self.name} forecasts any channel; name one")
        joint = tuple(name for name in self.targets if name in coverage and name not in taken) if self.joint else ()
        return joint or self.targets[:1]

    def _present(self, targets: tuple[str, ...], coverage: Mapping[str, Coverage], besides: tuple[str, ...]) -> tuple[str, ...]:
        """Covariates with rows on at least 80 % of the target's days: fewer would cost more origins than they explain."""
        least = 0.8 * max(coverage.get(targets[0], Coverage(0, 0)).days, 1)
        candidates = [name for name in self.covariates if name not in targets + besides]
        return tuple(name for name in candidates if name in coverage and coverage[name].days >= least)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="pv-power",
            title="Next-step power of a PV plant",
            spec={"window": 24, "horizon": 1, "hidden_size": 128, "num_layers": 3, "epochs": 10, "learning_rate": 2e-2},
            targets=("P",),
            covariates=("U", "I", "Temp", "Irr"),
            needs=(Need("rows", "target", "rows", 200),),
            floor=0.0,
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
                "epochs": 30,
                "patience": 10,
                "learning_rate": 1e-2,
                "cadence_s": 86_400,
                "rolling": (7,),
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
            spec={"window": 50, "horizon": 12, "hidden_size": 64, "num_layers": 2, "epochs": 14, "patience": 8},
            needs=(Need("rows", "target", "rows", 100),),
            look_back_hours=168,
        ),
        Recipe(
            name="sensor-climate",
            title="Temperature and humidity of a room, from one network",
            spec={"window": 24, "horizon": 12, "hidden_size": 64, "num_layers": 2, "epochs": 14, "patience": 8},
            targets=("temperature", "humidity"),
            covariates=("temperature", "humidity"),
            joint=True,
            needs=(Need("rows", "target", "rows", 100),),
        ),
        Recipe(
            name="price-week",
            title="A price, the next seven days",
            spec={
                "network": "seq2seq",
                "window": 30,
                "horizon": 7,
                "hidden_size": 128,
                "num_layers": 2,
                "epochs": 10,
                "batch_size": 64,
                "learning_rate": 3e-3,
                "positive": True,
            },
            targets=("price",),
            available="is_available",
            needs=(Need("rows", "target", "rows", 37),),
            look_back_hours=60 * 24,
            floor=0.0,
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
