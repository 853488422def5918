"""What the demo shows: which series of a file, by which recipe; and the lines that do the same by hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from ml.recipes import RECIPES
from ops import frames
from ops.files import FrameError
from ops.house import House

#: Entities of a large file that are shown, and rows of each that are sent: enough to learn from, and done within minutes on two cores.
ENTITIES, ROWS = 3, 9_000
#: Covariates sent beside the target.
CHANNELS = 6
#: The demo trains on all it has sent, however old.
LOOK_BACK_HOURS = 10 * 365 * 24

Body = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is shown: which entities, which channel, by which recipe."""

    frame: pd.DataFrame
    entities: tuple[str, ...]
    recipe: str
    target: str
    #: Fields of the spec that the demo sets itself.
    spec: Body

    def training(self, entity: str) -> Body:
        asked = {"entity": entity, "recipe": self.recipe, "target": self.target, "look_back_hours": LOOK_BACK_HOURS}
        return asked | ({"spec": self.spec} if self.spec else {})

    def prediction(self, entity: str) -> Body:
        return {"entity": entity, "target": self.target}


def make_plan(frame: pd.DataFrame) -> Plan:
    """The entities with the most rows, and the recipe whose channels the file has."""
    channels = [channel for channel in frames.channels(frame) if frame[channel].notna().any()]
    if not channels:
        raise FrameError("The file holds no values.")
    recipe, target = next(
        ((name, known) for name, preset in RECIPES.items() for known in preset.targets if known in channels),
        ("device-metric", _telling(frame, channels)),
    )
    held = frame.dropna(subset=[target]).sort_values("at")
    names = tuple(held["entity"].value_counts().index[:ENTITIES])
    hourly = held[held["entity"] == names[0]]["at"].diff().median() == pd.Timedelta(hours=1)
    return Plan(frame[frame["entity"].isin(names)], names, recipe, target, {"window": 24} if hourly and recipe == "device-metric" else {})


def _telling(frame: pd.DataFrame, channels: Sequence[str]) -> str:
    """The first channel that is more than a flag."""
    return next((channel for channel in channels if frame[channel].nunique() > 2), channels[0])


def curl_lines(house: House, plan: Plan, entity: str) -> str:
    """Shell lines that do by hand what the demo did: train, wait for it, forecast, look at the models."""
    allowed = '-H "Authorization: Bearer $KEY"'
    json_body = "-H 'Content-Type: application/json'"
    return "\n".join(
        (
            f"API={house.url}/api/v1 KEY={house.key}",
            f"JOB=$(curl -s $API/models/train {allowed} {json_body} \\",
            f"  -d {shlex.quote(json.dumps(plan.training(entity)))} \\",
            "  | grep -o 'job_[0-9A-Z]*' | head -1)",
            f'until curl -s "$API/jobs/$JOB?wait=30" {allowed} | grep \'"terminal": *true\'; do sleep 1; done',
            f"curl -s -w '\\n' $API/predict {allowed} {json_body} -H 'Prefer: wait=30' \\",
            f"  -d {shlex.quote(json.dumps(plan.prediction(entity)))}",
            f"curl -s $API/models/user/{quote(entity, safe='')} {allowed}",
        )
    )
