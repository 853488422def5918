"""The mind's memory on disk: a fitted model as tensors, numbers and text, named by its own hash. No file of it can run code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from ml.errors import ArtefactCorrupt, SpecInvalid
from ml.features import Scaler, Season
from ml.fitted import Epoch, Fitted
from ml.intervals import IntervalTable
from ml.metrics import Scores
from ml.networks import DirectLstm
from ml.spec import ModelSpec

#: Raised when a reader of the older form could not read the newer one.
FORMAT = 1
WEIGHTS, MANIFEST, HISTORY, SUMMARY = "weights.safetensors", "manifest.json", "history.json", "summary.txt"
ADDRESS = re.compile(r"[0-9a-f]{64}")
#: A manifest is a few hundred kilobytes at the longest horizon; more is none of ours.
LARGEST_MANIFEST = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Saved:
    #: Hash of the manifest, which holds the hash of every other file.
    sha256: str
    #: Of all files together.
    bytes: int
    path: Path


def save(fitted: Fitted, root: Path) -> Saved:
    """Write root/<aa>/<sha256>/ so that it is whole or not there at all, whatever dies when.

    Temp folder inside `root`, every file synced, then renamed, then the parent synced. Saving the same model again changes nothing.
    """
    files = _files(fitted)
    manifest = _json(_manifest(fitted, files))
    files[MANIFEST] = manifest
    address = hashlib.sha256(manifest).hexdigest()
    folder = _folder(root, address)
    try:
        os.utime(folder)  # there already: taken up again, which whoever collects abandoned folders can tell by its time
    except FileNotFoundError:
        _write(files, root, folder)
    return Saved(address, sum(len(content) for content in files.values()), folder)


def load(root: Path, sha256: str, device: str = "cpu") -> Fitted:
    """Read a model back, every byte of it checked before use. Raises ArtefactCorrupt saying what differs."""
    if not ADDRESS.fullmatch(sha256):
        raise ArtefactCorrupt(f"{sha256!r} is no artefact's address.")
    folder = _folder(root, sha256)
    manifest = _parsed(_checked(folder / MANIFEST, sha256, None))
    try:
        return _restored(manifest, folder, device)
    except (KeyError, TypeError, ValueError, AttributeError, SpecInvalid) as error:
        raise ArtefactCorrupt(f"The manifest of {sha256[:12]} cannot be understood: {error!r}.") from error


def _folder(root: Path, address: str) -> Path:
    return root / address[:2] / address


def _files(fitted: Fitted) -> dict[str, bytes]:
    weights = {name: tensor.detach().to("cpu").contiguous() for name, tensor in fitted.network.state_dict().items()}
    return {
        WEIGHTS: safetensors.torch.save(weights),
        HISTORY: _json([epoch.as_dict() for epoch in fitted.history]),
        SUMMARY: summary(fitted).encode(),
    }


def _json(value: object) -> bytes:
    """Sorted, and refusing NaN, which is no JSON. Floats are written so that they read back to the bit."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()


def _manifest(fitted: Fitted, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "entity": fitted.entity,
        "spec": fitted.spec.as_dict(),
        "served_by": fitted.served_by,
        "scaler": _scaler_out(fitted.scaler),
        "season": {"period_s": fitted.season.period_s, "steps": fitted.season.steps},
        "step_ms": round(fitted.step_s * 1000),
        "intervals": fitted.intervals.as_dict(),
        "metrics": {name: {part: found.as_dict() for part, found in parts.items()} for name, parts in fitted.scores.items()},
        "data": {
            "from": fitted.data_from.isoformat(),
            "until": fitted.data_until.isoformat(),
            "fit_until": fitted.fit_until.isoformat(),
            "rows": fitted.rows,
        },
        "warnings": list(fitted.warnings),
        "libraries": _libraries(),
        "files": {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()},
    }


def _libraries() -> dict[str, str]:
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def summary(fitted: Fitted) -> str:
    """A page a person can read."""
    spec = fitted.spec
    lines = [
        f"{fitted.entity} · {fitted.target}: {spec.network} {spec.hidden_size}×{spec.num_layers}, {spec.window} → {spec.horizon}",
        f"inputs: {', '.join(spec.inputs)}",
        f"data: {fitted.rows} rows every {fitted.step_s:g} s, {fitted.data_from:%Y-%m-%d %H:%M} to {fitted.data_until:%Y-%m-%d %H:%M} UTC",
        f"served by: {fitted.served_by}",
        f"epochs: {len(fitted.history)}, best {fitted.history[-1].best}",
        "",
        f"{'':16}{'part':12}{'MAE':>12}{'RMSE':>12}{'R2':>8}{'MASE':>8}{'skill':>8}{'pairs':>8}",
    ]
    for name, parts in fitted.scores.items():
        for part, found in parts.items():
            numbers = (found.mae, found.rmse, found.r2, found.mase, found.skill)
            cells = (("—" if x is None else f"{x:.4g}").rjust(width) for x, width in zip(numbers, (12, 12, 8, 8, 8), strict=True))
            lines.append(f"{name:16}{part:12}{''.join(cells)}{found.n:>8}")
    lines += ["", *(f"warning {found['code']}: {found['detail']}" for found in fitted.warnings)]
    return "\n".join(lines) + "\n"


def _write(files: Mapping[str, bytes], root: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=root))
    try:
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _sync_folder(temporary)
        temporary.rename(folder)
    except OSError:
        # A twin that renamed first wrote the same bytes; anything else is a real failure.
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(folder.parent)
    _sync_folder(root)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checked(path: Path, sha256: str, size: int | None) -> bytes:
    """The file's bytes, once their number and hash are as written down."""
    try:
        have = path.stat().st_size
        if have != size if size is not None else have > LARGEST_MANIFEST:
            raise ArtefactCorrupt(f"{path.name} has {have} bytes, not {size or f'up to {LARGEST_MANIFEST}'}.", file=path.name)
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactCorrupt(f"{path.name} of {path.parent.name[:12]} cannot be read: {error.strerror}.", file=path.name) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ArtefactCorrupt(f"{path.name} has hash {found[:12]}…, not {sha256[:12]}….", file=path.name)
    return content


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise ArtefactCorrupt("The manifest is no JSON.", file=MANIFEST) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtefactCorrupt(f"The manifest is not of format {FORMAT}.", file=MANIFEST)
    return manifest


def _restored(manifest: Mapping[str, Any], folder: Path, device: str) -> Fitted:
    spec = ModelSpec.from_dict(manifest["spec"])
    files = {name: _checked(folder / name, stated["sha256"], stated["bytes"]) for name, stated in manifest["files"].items()}
    data = manifest["data"]
    return Fitted(
        entity=manifest["entity"],
        spec=spec,
        network=_network(spec, files[WEIGHTS]).to(device),
        scaler=_scaler_in(manifest["scaler"], len(spec.inputs)),
        season=Season(float(manifest["season"]["period_s"]), int(manifest["season"]["steps"])),
        step=np.timedelta64(int(manifest["step_ms"]), "ms"),
        intervals=_intervals_in(manifest["intervals"], spec),
        scores={name: {part: Scores(**found) for part, found in parts.items()} for name, parts in manifest["metrics"].items()},
        served_by=manifest["served_by"],
        history=tuple(Epoch(**epoch) for epoch in json.loads(files[HISTORY])),
        warnings=tuple(manifest["warnings"]),
        data_from=datetime.fromisoformat(data["from"]),
        data_until=datetime.fromisoformat(data["until"]),
        fit_until=datetime.fromisoformat(data["fit_until"]),
        rows=int(data["rows"]),
    )


def _network(spec: ModelSpec, content: bytes) -> DirectLstm:
    """The network the spec declares, holding these tensors. Raises ArtefactCorrupt for a name, shape, type or number that does not fit."""
    try:
        stored = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ArtefactCorrupt(f"{WEIGHTS} is no safetensors file: {error}.", file=WEIGHTS) from error
    network = DirectLstm.of(spec)
    declared = network.state_dict()
    if stored.keys() != declared.keys():
        raise ArtefactCorrupt(f"Tensors {sorted(stored.keys() ^ declared.keys())} are not as the spec declares.", file=WEIGHTS)
    for name, tensor in stored.items():
        _require_alike(name, tensor, declared[name])
    network.load_state_dict(stored)
    return network.eval()


def _require_alike(name: str, tensor: torch.Tensor, declared: torch.Tensor) -> None:
    if tensor.shape != declared.shape or tensor.dtype != declared.dtype:
        have, need = f"{tuple(tensor.shape)} {tensor.dtype}", f"{tuple(declared.shape)} {declared.dtype}"
        raise ArtefactCorrupt(f"Tensor {name} is {have}; the spec declares {need}.", file=WEIGHTS, tensor=name)
    if not bool(torch.isfinite(tensor).all()):
        raise ArtefactCorrupt(f"Tensor {name} holds numbers that are not finite.", file=WEIGHTS, tensor=name)


def _scaler_out(scaler: Scaler) -> dict[str, Any]:
    arrays = {name: getattr(scaler, name).tolist() for name in ("center", "scale", "change", "low", "high")}
    return {**arrays, "spread": scaler.spread}


def _scaler_in(stored: Mapping[str, Any], channels: int) -> Scaler:
    arrays = {name: np.array(stored[name], dtype=np.float64) for name in ("center", "scale", "change", "low", "high")}
    for name, array in arrays.items():
        if array.shape != (channels,) or not np.isfinite(array).all():
            raise ArtefactCorrupt(f"The scaler's {name} does not hold {channels} finite numbers.", file=MANIFEST)
    return Scaler(**arrays, spread=float(stored["spread"]))


def _intervals_in(stored: dict[str, Any], spec: ModelSpec) -> IntervalTable:
    table = IntervalTable.from_dict(stored)
    if table.half.shape[1:] != (spec.horizon,) or not np.isfinite(table.half).all():
        raise ArtefactCorrupt(f"The interval table does not hold {spec.horizon} finite steps.", file=MANIFEST)
    return table
