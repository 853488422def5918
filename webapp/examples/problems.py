"""Problems: those that bring members of their own, and what is said of a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml.errors import (
    ArtefactCorrupt,
    FeatureMissing,
    FlatLine,
    InsufficientData,
    InsufficientRecentData,
    ModelError,
    ScenarioOutOfBounds,
    StorageFull,
    TrainingDiverged,
)
from ml.requirement import Requirement
from tasks.problems import CATALOGUE, problem
from webapp.examples.example import Example
from webapp.examples.what_ifs import OUT_OF_SUPPORT
from webapp.problems import Refusal, fault, invalid

_BESIDES: tuple[ModelError | Refusal, ...] = (
    invalid(
        fault("/horizon", "out_of_bounds", "Must be greater than or equal to 1 and less than or equal to 168."),
        fault("/levle", "unknown_field", "Unknown field."),
    ),
    InsufficientData(
        [
            Requirement("rhr.days", 12, 30, "day", met=False, eta="2026-10-31"),
            Requirement("window_rows", 12, 20, "row", met=False),
        ]
    ),
    InsufficientRecentData(
        "9 of the last 30 rows of rhr are known; the model reads 30 and needs half of them.",
        have=9,
        need=30,
        data_until="2026-10-12T06:00:00Z",
    ),
    FlatLine("rhr is 58 on all 42 rows.", channel="rhr"),
    FeatureMissing(
        "The model knows these ahead, and they have no value: day_off from 2026-10-13T06:00:00Z (7 of 7 steps). "
        "Store rows of them at these moments.",
        channels=["day_off"],
        available=["holiday"],
        missing={"day_off": [f"2026-10-{13 + n}T06:00:00Z" for n in range(7)]},
    ),
    ScenarioOutOfBounds(
        "Scenario 'more sleep' takes asleep_min to 520; learned from 400 to 460.", scenario="more sleep", out_of_support=[OUT_OF_SUPPORT]
    ),
    TrainingDiverged("The loss left the numbers in epoch 3; a lower learning rate may help.", epoch=3),
    ArtefactCorrupt("weights.safetensors has hash 5f1d0c2ab3e4…, not 9f2b9f2b9f2b….", file="weights.safetensors"),
    StorageFull("184320 bytes of an artefact could not be written: No space left on device.", bytes=184_320),
)
#: Problems that bring members of their own; of all others the document shows the catalogue's words.
PROBLEMS: Mapping[str, Mapping[str, Any]] = {error.code: problem(error.code, error.detail, **error.extra) for error in _BESIDES}

INSUFFICIENT = {
    "code": "insufficient_data",
    "status": 422,
    "title": "Not enough data",
    "cause": CATALOGUE["insufficient_data"].cause,
    "fix": "Send more observations; `requirements` says of what.",
    "retryable": False,
    "in_jobs_only": False,
}

CHAPTER: tuple[Example, ...] = (
    Example("list_problems", "Every code", answer={"data": [INSUFFICIENT]}),
    Example("get_problem", "One code", {"code": "insufficient_data"}, answer=INSUFFICIENT),
)
