"""What a worker holds besides the runtime: the device, the artefacts, the models in memory. Workers only; imports torch."""

from __future__ import annotations

import errno
import gc
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
import torch
from threadpoolctl import threadpool_limits

from db.errors import Conflict, SinkRefused
from db.models import Job, Version
from db.session import Sessions
from db.sinks.writer import Writer, open_writer
from ml import artifact
from ml.anomaly.artifact import load_detector
from ml.anomaly.detector import Detector
from ml.errors import ArtefactCorrupt
from ml.fitted import Base, Fitted
from tasks.jobs import PredictJob
from tasks.metrics import ARTEFACTS_CORRUPT, DEVICE_ALLOCATED, DEVICE_RESERVED, DEVICE_TOTAL, STORAGE_FREE, STORAGE_TOTAL
from tasks.runtime import Runtime
from tasks.settings import Settings

log = structlog.get_logger()

#: On CUDA so many models of one shape keep the card busy; on a CPU one after another is as fast.
CUDA_COHORT = 64
#: What allocators say that raise no error of their own: torch's on a CPU, CUDA outside torch's pool, cuBLAS.
_NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
Loaded = TypeVar("Loaded", Fitted, Detector)


@dataclass
class Workshop:
    runtime: Runtime
    device: str
    _loaded: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    _writers: dict[str, Writer] = field(default_factory=dict)

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

    def cohort_of(self, job: Job) -> int:
        """How many jobs like this one are taken up together."""
        if job.shape_key is None:
            return 1
        return self.settings.prediction_cohort if job.kind == PredictJob.kind else self.cohort_size

    def model(self, version: Version) -> Fitted:
        """The version, loaded. The least recently used ones make room. Raises ArtefactCorrupt."""
        return self._kept(version, lambda root, sha256: artifact.load(root, sha256, device="cpu"))

    def detector(self, version: Version) -> Detector:
        """The same of a detector; both share the room."""
        return self._kept(version, load_detector)

    def _kept(self, version: Version, load: Callable[[Path, str], Loaded]) -> Loaded:
        key = version.artefact_sha256
        if key not in self._loaded:
            with self._refusing(version):
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
        with self._refusing(version):
            return artifact.load_base(self.settings.model_dir, version.artefact_sha256)

    @contextmanager
    def _refusing(self, version: Version) -> Iterator[None]:
        """Operators hear of a damaged artefact whoever meets it, and the client which model is to be rolled back or trained again."""
        try:
            yield
        except ArtefactCorrupt as error:
            about = {"tenant": version.tenant_id, "model": version.model_id, "version": version.semver}
            log.error("artefact_corrupt", **about, artefact=version.artefact_sha256, file=error.extra.get("file"))
            self.runtime.meter.count(ARTEFACTS_CORRUPT)
            error.extra["hint"] = f"Version {version.semver}: roll back with POST /models/{version.model_id}/rollback, or train again."
            raise

    def sink(self, name: str) -> Writer:
        """Opened at its first forecast, and kept. Raises SinkUnavailable, SinkRefused."""
        if name not in self._writers:
            if name not in self.runtime.sinks:
                raise SinkRefused(f"Sink {name} is not among the worker's; it was when the job was asked for.")
            self._writers[name] = open_writer(self.runtime.sinks[name])
        return self._writers[name]

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self.runtime.close()

    def clear_memory(self) -> None:
        """Give back what nothing holds any more, the device's memory too."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def open_workshop(runtime: Runtime) -> Workshop:
    """One thread per process: many small LSTMs side by side beat one spread over cores, and numpy's products are so small that a second
    thread takes a third more CPU time and wins nothing."""
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")
    device = runtime.settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        _tell_memory(runtime)
    _tell_storage(runtime)
    return Workshop(runtime, device)


def no_memory_left(error: BaseException) -> bool:
    """Whether the error says that memory, the device's or the machine's, was not enough."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_MEMORY)


def _tell_storage(runtime: Runtime) -> None:
    """The disk that artefacts are kept on."""
    folder = runtime.settings.model_dir
    runtime.meter.follow(STORAGE_FREE, lambda: _storage(folder)[0], runtime.settings.host)
    runtime.meter.follow(STORAGE_TOTAL, lambda: _storage(folder)[1], runtime.settings.host)


def _storage(folder: Path) -> tuple[float, float]:
    """Bytes left to us, and of the whole disk; none of one that is silent. A folder still to be made will be on its nearest parent's."""
    try:
        disk = os.statvfs(next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()))
    except OSError:
        return 0.0, 0.0
    free = 0 if disk.f_flag & os.ST_RDONLY else disk.f_bavail * disk.f_frsize
    return free, disk.f_blocks * disk.f_frsize


def _tell_memory(runtime: Runtime) -> None:
    """The card's memory, and what of it this process takes."""
    card = torch.cuda.current_device()
    labels = (runtime.settings.host, f"cuda:{card}")
    total = torch.cuda.get_device_properties(card).total_memory
    runtime.meter.follow(DEVICE_ALLOCATED, lambda: torch.cuda.memory_allocated(card), *labels)
    runtime.meter.follow(DEVICE_RESERVED, lambda: torch.cuda.memory_reserved(card), *labels)
    runtime.meter.follow(DEVICE_TOTAL, lambda: total, *labels)
