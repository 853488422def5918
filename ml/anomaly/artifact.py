"""The watch's memory on disk: a detector as arrays, numbers and text, named by its own hash. No file of it can run code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ml import keeper, shelf
from ml.anomaly.detector import Detector
from ml.anomaly.features import VIEWS
from ml.anomaly.forest import restored
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.surprise import Rarity
from ml.anomaly.usual import Usual
from ml.errors import ArtefactCorrupt, SpecInvalid
from ml.shelf import Saved, Taken

ARRAYS = "detector.safetensors"
#: Says which kind of artefact this is; a forecaster's names none.
KIND = "detector"
Tensors = Mapping[str, npt.NDArray[Any]]


def save_detector(detector: Detector, root: Path) -> Saved:
    """Put a detector on the shelf: whole or not there at all. Saving the same detector again mends what was damaged of it.

    Raises StorageFull.
    """
    return keeper.keep(root, _manifest(detector), {ARRAYS: safetensors.numpy.save(_tensors(detector.usual))})


def load_detector(root: Path, sha256: str) -> Detector:
    """Read a detector back, every byte and every index of it checked before use.

    Raises ArtefactCorrupt saying what differs, NewerRelease.
    """
    taken = shelf.take(root, sha256)
    try:
        return _restored(taken)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, SpecInvalid) as error:
        raise ArtefactCorrupt(f"The manifest of {sha256[:12]} cannot be understood: {error!r}.") from error


def _manifest(detector: Detector) -> dict[str, Any]:
    return {
        "kind": KIND,
        "entity": detector.entity,
        "spec": detector.spec.as_dict(),
        "channels": list(detector.channels),
        "views": list(VIEWS),
        "grid": {"anchor_ms": int(detector.anchor.astype(np.int64)), "step_ms": round(detector.step_s * 1000)},
        "contamination": detector.contamination,
        "data": {
            "from": detector.data_from.isoformat(),
            "until": detector.data_until.isoformat(),
            "fit_until": detector.fit_until.isoformat(),
            "rows": detector.rows,
            "held_back": detector.held_back,
        },
        "warnings": list(detector.warnings),
        "libraries": _libraries(),
    }


def _libraries() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, "numpy": np.__version__, "scikit-learn": version("scikit-learn"), "safetensors": safetensors.__version__}


def _tensors(usual: Usual) -> dict[str, npt.NDArray[Any]]:
    plain = {name: getattr(usual, name) for name in ("center", "scale", "low", "high", "middle")}
    rare = usual.views.tensors("views") | usual.wood.tensors("wood") | usual.whole.tensors("whole")
    wood = {f"forest.{name}": array for name, array in usual.forest.tensors().items()}
    return {name: np.ascontiguousarray(array) for name, array in (plain | rare | wood).items()}


def _restored(taken: Taken) -> Detector:
    manifest = taken.manifest
    if manifest["kind"] != KIND or manifest["views"] != list(VIEWS):
        raise ArtefactCorrupt("The artefact is no detector, or one of other views than these.")
    spec, channels, data = DetectorSpec.from_dict(manifest["spec"]), tuple(manifest["channels"]), manifest["data"]
    if not channels or not set(channels) <= set(spec.channels) or len(set(channels)) < len(channels):
        raise ArtefactCorrupt(f"The channels {list(channels)} are not among the spec's.")
    step_ms = int(manifest["grid"]["step_ms"])
    if step_ms < 1:
        raise ArtefactCorrupt(f"The grid's step is {step_ms} ms.")
    return Detector(
        entity=manifest["entity"],
        spec=spec,
        channels=channels,
        step=np.timedelta64(step_ms, "ms"),
        anchor=np.datetime64(int(manifest["grid"]["anchor_ms"]), "ms"),
        usual=_usual(taken.files[ARRAYS], len(channels)),
        contamination=float(manifest["contamination"]),
        warnings=tuple(manifest.get("warnings", ())),
        data_from=datetime.fromisoformat(data["from"]),
        data_until=datetime.fromisoformat(data["until"]),
        fit_until=datetime.fromisoformat(data["fit_until"]),
        rows=int(data["rows"]),
        held_back=int(data["held_back"]),
    )


def _usual(content: bytes, channels: int) -> Usual:
    try:
        stored: Tensors = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ArtefactCorrupt(f"{ARRAYS} is no safetensors file: {error}.", file=ARRAYS) from error
    features = channels * len(VIEWS)
    plain = {name: _plain(stored, name, channels) for name in ("center", "scale", "low", "high")}
    if (plain["scale"] <= 0).any():
        raise ArtefactCorrupt("A channel's scale is not above 0.", file=ARRAYS, tensor="scale")
    return Usual(
        **plain,
        middle=_plain(stored, "middle", features),
        views=Rarity.restored(stored, "views", features),
        forest=restored({name.removeprefix("forest."): array for name, array in stored.items() if name.startswith("forest.")}, features),
        wood=Rarity.restored(stored, "wood", 1),
        whole=Rarity.restored(stored, "whole", 1),
    )


def _plain(stored: Tensors, name: str, length: int) -> npt.NDArray[np.float64]:
    array = stored.get(name)
    if array is None or array.shape != (length,) or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ArtefactCorrupt(f"{name} does not hold {length} finite numbers.", file=ARRAYS, tensor=name)
    return array
