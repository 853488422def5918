"""First: what this operator has presets for."""

from __future__ import annotations

from webapp.examples.example import Example

RECIPE_SPEC = {
    "rolling": [7],
    "positive": False,
    "network": "lstm",
    "window": 30,
    "horizon": 7,
    "hidden_size": 128,
    "num_layers": 2,
    "dropout": 0.2,
    "epochs": 100,
    "patience": 10,
    "batch_size": 32,
    "learning_rate": 0.003,
    "loss": "mae",
    "split": {"fit": 0.64, "stop": 0.08, "calibrate": 0.08, "test": 0.2},
    "level": 0.9,
    "fill_limit": 3,
    "cadence_s": 86400,
    "seed": 0,
}
RECIPE = {
    "name": "health-daily",
    "title": "A person's resting heart rate or heart-rate variability, day by day",
    "targets": ["rhr", "hrv_rmssd", "hrv"],
    "covariates": ["steps", "asleep_min", "stress_score"],
    "joint": False,
    "available": None,
    "spec": RECIPE_SPEC,
    "needs": [{"name": "days", "of": "target", "measure": "days", "minimum": 30, "group": []}],
    "gate": {"min_skill": 0.0, "incumbent_tolerance": 0.05, "production_r2": 0.5, "production_mape": 15.0},
    "look_back_hours": None,
    "floor": None,
}
DETECTOR_DEFAULTS = {
    "trees": 100,
    "sample_size": 256,
    "alarm_rate": 0.001,
    "critical_rate": 0.00001,
    "held_back": 0.3,
    "memory": None,
    "short": 6,
    "medium": 36,
    "long": 288,
    "seasons": 7,
    "quiet": 36,
    "fill_limit": 3,
    "cadence_s": None,
    "seed": 0,
}
DETECTOR_RECIPE = {
    "name": "device-anomaly",
    "title": "What is unusual of a device",
    "channels": ["cpu_usage", "memory_usage_percent", "disk_usage_percent", "network_total"],
    "spec": DETECTOR_DEFAULTS,
    "least_rows": 100,
    "look_back_hours": 168,
}

CHAPTER: tuple[Example, ...] = (
    Example("list_recipes", "The presets of this operator", answer={"data": [RECIPE], "detectors": [DETECTOR_RECIPE]}),
)
