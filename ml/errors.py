"""What can be wrong with data or a model: nouns that carry their numbers and write their own sentence.

ModelError
├── SpecInvalid            a field of a spec is out of its bounds
├── WeightsInvalid         tensors from outside are not as their spec declares
├── UnusableData           this history cannot be learned from (never retried)
│   ├── InsufficientData   too little of something; carries every requirement
│   ├── InsufficientRecentData  the window before the forecast is not there
│   ├── FlatLine           the target never moves
│   └── FeatureMissing     a channel the model reads is absent
├── ScenarioOutOfBounds    a what-if asks for what never happened
├── TrainingDiverged       the loss left the numbers
├── ArtefactCorrupt        the stored model is not what was saved
└── StorageFull            the disk takes no artefact: tried again

NewerRelease               not of the tree: nothing is wrong, and no job fails of it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml.requirement import Requirement


class ModelError(Exception):
    """Root of the tree. `code` is the problem code clients see; `extra` joins the problem object."""

    code = "internal"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class SpecInvalid(ModelError):
    code = "validation_failed"

    def __init__(self, field: str, value: object, fix: str) -> None:
        pointer = "/spec/" + field.replace(".", "/")
        super().__init__(f"{field} = {value!r}: {fix}", errors=[{"pointer": pointer, "code": "out_of_bounds", "detail": fix}])
        self.field = field


class WeightsInvalid(ModelError):
    """`tensor` is its name as it was sent; None speaks of the whole file."""

    code = "validation_failed"

    def __init__(self, tensor: str | None, fault: str) -> None:
        named = None if tensor is None else tensor[:200].encode("ascii", "backslashreplace").decode()
        pointer = "/weights.safetensors" + ("" if named is None else "/" + named.replace("~", "~0").replace("/", "~1"))
        detail = f"weights.safetensors: {fault}." if named is None else f"Tensor {named}: {fault}."
        super().__init__(detail, errors=[{"pointer": pointer, "code": "invalid", "detail": detail}])


class UnusableData(ModelError):
    code = "insufficient_data"


class InsufficientData(UnusableData):
    """Too little history. Carries every requirement, met or not, so that a client can say what is missing.

    `sought` says where rows were looked for, when not one was found.
    """

    def __init__(self, requirements: Sequence[Requirement], look_back_hours: float | None = None, sought: str | None = None) -> None:
        detail = "; ".join(str(r) for r in requirements if not r.met)
        span = "" if look_back_hours is None else f" Counted are the {look_back_hours:g} hours before the newest row (look_back_hours)."
        where = "" if sought is None else f" {sought}"
        super().__init__(f"{detail}.{span}{where}", requirements=[r.as_dict() for r in requirements])
        self.requirements = tuple(requirements)


class InsufficientRecentData(UnusableData):
    code = "insufficient_recent_data"


class FlatLine(UnusableData):
    code = "flatline_detected"


class FeatureMissing(UnusableData):
    code = "feature_missing"


class ScenarioOutOfBounds(ModelError):
    code = "scenario_out_of_bounds"


class TrainingDiverged(ModelError):
    code = "training_diverged"


class ArtefactCorrupt(ModelError):
    code = "artefact_corrupt"


class StorageFull(ModelError):
    code = "storage_full"


class NewerRelease(Exception):
    """It was written in a format that this release does not know: a job that meets it goes back, for a worker of a newer one."""

    def __init__(self, what: str, found: int, newest: int) -> None:
        super().__init__(f"{what} was written by a newer release, in format {found}; this one reads up to {newest}.")
