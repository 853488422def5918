"""What a worker holds besides the runtime: the device, the artefacts, the models in memory. Workers only; imports torch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch

from db.models import Version
from db.session import Sessions
from ml import artifact
from ml.trainer import Fitted
from tasks.metrics import DEVICE_ALLOCATED, DEVICE_RESERVED, DEVICE_TOTAL
from tasks.runtime import Runtime
from tasks.settings import Settings

#: On CUDA so many models of one shape keep the card busy; on a CPU one after another is as fast.
CUDA_COHORT = 64


@dataclass
class Workshop:
    runtime: Runtime
    device: str
    _loaded: OrderedDict[str, Fitted] = field(default_factory=OrderedDict)

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
        key = version.artefact_sha256
        if key not in self._loaded:
            self._loaded[key] = artifact.load(self.settings.model_dir, key, device="cpu")
            while len(self._loaded) > self.settings.loaded_models:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]


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
