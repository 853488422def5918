"""What a worker holds besides the runtime: the device, the artefacts, the models in memory. Workers only; imports torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from db.errors import Conflict
from db.models import Version
from db.session import Sessions
from ml import artifact
from ml.anomaly.artifact import load_detector
from ml.anomaly.detector import Detector
from ml.fitted import Base, Fitted
from tasks.metrics import DEVICE_ALLOCATED, DEVICE_RESERVED, DEVICE_TOTAL
from tasks.runtime import Runtime
from tasks.settings import Settings

#: On CUDA so many models of one shape keep the card busy; on a CPU one after another is as fast.
CUDA_COHORT = 64
Loaded = TypeVar("Loaded", Fitted, Detector)


@dataclass
class Workshop:
    runtime: Runtime
    device: str
    _loaded: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @property
    def sessions(self) -> Sessions:
        return self.runtime.sessions

    @property
    def cohort_size(self) -> int:
        """How many trainings of one shape are taken up together."""
        return self.settings.cohort_size or (CUDA_COHORT if self.device == "cuda" else 1)

    def model(self, version: Version) -> Fitted:
        """The version, loaded. The least recently used ones make room. Raises ArtefactCorrupt."""
        return self._kept(version, lambda root, sha256: artifact.load(root, sha256, device="cpu"))

    def detector(self, version: Version) -> Detector:
        """The same of a detector; both share the room."""
        return self._kept(version, load_detector)

    def _kept(self, version: Version, load: Callable[[Path, str], Loaded]) -> Loaded:
        key = version.artefact_sha256
        if key not in self._loaded:
            self._loaded[key] = load(self.settings.model_dir, key)
            while len(self._loaded) > self.settings.loaded_models:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        found: Loaded = self._loaded[key]
        return found

    def base(self, version: Version) -> Base:
        """The version's network, for a training to start from. Raises Conflict where it was pruned, ArtefactCorrupt."""
        if version.pruned_at is not None:
            raise Conflict("version_pruned", f"Version {version.semver} was pruned; its artefact is gone.")
        return artifact.load_base(self.settings.model_dir, version.artefact_sha256)


def open_workshop(runtime: Runtime) -> Workshop:
    """One thread per process: many small LSTMs side by side beat one spread over cores."""
    torch.set_num_threads(1)
    device = runtime.settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        _tell_memory(runtime)
    return Workshop(runtime, device)


def _tell_memory(runtime: Runtime) -> None:
    """The card's memory, and what of it this process takes."""
    card = torch.cuda.current_device()
    labels = (runtime.settings.host, f"cuda:{card}")
    total = torch.cuda.get_device_properties(card).total_memory
    runtime.meter.follow(DEVICE_ALLOCATED, lambda: torch.cuda.memory_allocated(card), *labels)
    runtime.meter.follow(DEVICE_RESERVED, lambda: torch.cuda.memory_reserved(card), *labels)
    runtime.meter.follow(DEVICE_TOTAL, lambda: total, *labels)
