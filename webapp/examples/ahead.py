"""What is known ahead: a training that reads the days off, and questions about a week that has others."""

from __future__ import annotations

from webapp.examples.bases import BASE_SPEC
from webapp.examples.cast import FORECAST_AHEAD, TRAINING_AHEAD, WHAT_IF_AHEAD
from webapp.examples.example import Example
from webapp.examples.jobs import job
from webapp.examples.trainings import TRAIN_SPEC

_SPEC = BASE_SPEC | {"future_covariates": ["day_off"]}
DAYS_OFF = {"day_off": [0, 0, 0, 1, 1, 1, 1]}
DAYS_OFF_SCENARIO = {"name": "away", "changes": [{"channel": "day_off", "op": "set", "value": 1.0, "steps": {"future": 3}}]}

CHAPTER: tuple[Example, ...] = (
    Example(
        "train",
        "With what is known ahead: whether a day is off",
        body={"entity": "user-43", "recipe": "health-daily", "target": "rhr", "spec": {"future_covariates": ["day_off"]}},
        status=202,
        answer=job(
            TRAINING_AHEAD,
            kind="train",
            entity="user-43",
            spec=TRAIN_SPEC | {"entity": "user-43", "spec": _SPEC},
            queue={"name": "train", "position": 0},
        ),
    ),
    Example(
        "predict",
        "What if the coming week were otherwise off than was stored: its days are brought along",
        body={"entity": "user-43", "target": "rhr", "future": DAYS_OFF},
        status=202,
        answer=job(
            FORECAST_AHEAD,
            entity="user-43",
            spec={"entity": "user-43", "target": "rhr", "horizon": 7, "level": 0.9, "version": None, "future": DAYS_OFF},
        ),
    ),
    Example(
        "what_if",
        "The next three days off, beside the week as it is stored; without the baseline in the answer",
        body={"entity": "user-43", "target": "rhr", "scenarios": [DAYS_OFF_SCENARIO], "include_baseline": False},
        status=202,
        answer=job(
            WHAT_IF_AHEAD,
            kind="what_if",
            entity="user-43",
            spec={
                "entity": "user-43",
                "target": "rhr",
                "horizon": 7,
                "level": 0.9,
                "version": None,
                "future": None,
                "scenarios": [DAYS_OFF_SCENARIO],
                "bounds": "warn",
                "include_baseline": False,
            },
        ),
    ),
)
