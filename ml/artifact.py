"""The mind's memory on disk: a fitted model as tensors, numbers and text, named by its own hash. No file of it can run code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from ml import keeper, shelf
from ml.blend import BLEND, Blend
from ml.errors import ArtefactCorrupt, SpecInvalid
from ml.features import Scaler, Season
from ml.fitted import Base, Epoch, Fitted, Pretrained
from ml.formats import known
from ml.intervals import IntervalTable
from ml.metrics import Scores
from ml.networks import Network, declared, holding
from ml.seasons import CHANGES
from ml.shelf import MANIFEST, WEIGHTS, Saved, Taken
from ml.spec import ModelSpec

HISTORY, SUMMARY = "history.json", "summary.txt"


def save(fitted: Fitted, root: Path) -> Saved:
    """Put a model on the shelf: whole or not there at all. Saving the same model again mends what was damaged of it.

    Raises StorageFull.
    """
    return keeper.keep(root, _manifest(fitted), _files(fitted))


def save_base(learned: Pretrained, root: Path) -> Saved:
    """Put a network that serves nobody on the shelf, for others to start from. Raises StorageFull."""
    # Numbers without names: an entity that is erased must not live on in a network that others start from.
    losses = sorted(learned.losses.values())
    about = {"kind": "base", "spec": learned.spec.as_dict(), "losses": losses, "libraries": _libraries()}
    history = shelf.to_json([epoch.as_dict() for epoch in learned.history])
    return keeper.keep(root, about, {WEIGHTS: _weights(learned.network), HISTORY: history})


def load_base(root: Path, sha256: str) -> Base:
    """The network of any artefact, whether it serves or not. Raises ArtefactCorrupt, NewerRelease."""
    taken = shelf.take(root, sha256)
    try:
        spec = ModelSpec.from_dict(taken.manifest["spec"])
        return Base(spec, _network(spec, taken.files[WEIGHTS]))
    except (KeyError, TypeError, ValueError, SpecInvalid) as error:
        raise ArtefactCorrupt(f"The manifest of {sha256[:12]} cannot be understood: {error!r}.") from error


def load(root: Path, sha256: str, device: str = "cpu") -> Fitted:
    """Read a model back, every byte of it checked before use. Raises ArtefactCorrupt saying what differs, NewerRelease."""
    taken = shelf.take(root, sha256)
    try:
        return _restored(taken, device)
    except (KeyError, TypeError, ValueError, AttributeError, SpecInvalid) as error:
        raise ArtefactCorrupt(f"The manifest of {sha256[:12]} cannot be understood: {error!r}.") from error


def _files(fitted: Fitted) -> dict[str, bytes]:
    return {
        WEIGHTS: _weights(fitted.network),
        HISTORY: shelf.to_json([epoch.as_dict() for epoch in fitted.history]),
        SUMMARY: summary(fitted).encode(),
    }


def _weights(network: Network) -> bytes:
    return safetensors.torch.save({name: tensor.detach().to("cpu").contiguous() for name, tensor in network.state_dict().items()})


def _manifest(fitted: Fitted) -> dict[str, Any]:
    return {
        "entity": fitted.entity,
        "target": fitted.target,
        "spec": fitted.spec.as_dict(),
        "served_by": fitted.served_by,
        "blend": fitted.blend and fitted.blend.as_dict(),
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


def _restored(taken: Taken, device: str) -> Fitted:
    manifest, files = taken.manifest, taken.files
    spec = ModelSpec.from_dict(manifest["spec"])
    if manifest["target"] not in spec.targets or manifest["served_by"] not in manifest["metrics"]:
        raise ArtefactCorrupt(f"{manifest['target']!r} served by {manifest['served_by']!r} is not of this spec.", file=MANIFEST)
    data = manifest["data"]
    return Fitted(
        entity=manifest["entity"],
        target=manifest["target"],
        spec=spec,
        network=_network(spec, files[WEIGHTS]).to(device),
        scaler=_scaler_in(manifest["scaler"], spec),
        season=Season(float(manifest["season"]["period_s"]), int(manifest["season"]["steps"])),
        step=np.timedelta64(int(manifest["step_ms"]), "ms"),
        intervals=_intervals_in(manifest["intervals"], spec),
        scores={name: _scores_in(parts) for name, parts in manifest["metrics"].items()},
        served_by=manifest["served_by"],
        blend=_blend_in(manifest, spec),
        history=tuple(Epoch(**known(Epoch, epoch)) for epoch in json.loads(files[HISTORY])),
        warnings=tuple(manifest.get("warnings", ())),
        data_from=datetime.fromisoformat(data["from"]),
        data_until=datetime.fromisoformat(data["until"]),
        fit_until=datetime.fromisoformat(data["fit_until"]),
        rows=int(data["rows"]),
    )


def _network(spec: ModelSpec, content: bytes) -> Network:
    """The network the spec declares, holding these tensors. Raises ArtefactCorrupt for a name, shape, type or number that does not fit."""
    try:
        stored = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ArtefactCorrupt(f"{WEIGHTS} is no safetensors file: {error}.", file=WEIGHTS) from error
    wanted = dict(declared(spec).named_parameters())
    if stored.keys() != wanted.keys():
        raise ArtefactCorrupt(f"Tensors {sorted(stored.keys() ^ wanted.keys())} are not as the spec declares.", file=WEIGHTS)
    for name, tensor in stored.items():
        _require_alike(name, tensor, wanted[name])
    return holding(spec, stored).eval()


def _require_alike(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> None:
    if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
        have, need = f"{tuple(tensor.shape)} {tensor.dtype}", f"{tuple(wanted.shape)} {wanted.dtype}"
        raise ArtefactCorrupt(f"Tensor {name} is {have}; the spec declares {need}.", file=WEIGHTS, tensor=name)
    if not np.isfinite(tensor.numpy()).all():  # torch's own takes ten times as long
        raise ArtefactCorrupt(f"Tensor {name} holds numbers that are not finite.", file=WEIGHTS, tensor=name)


def _scaler_out(scaler: Scaler) -> dict[str, Any]:
    return {field.name: getattr(scaler, field.name).tolist() for field in fields(Scaler)}


def _scaler_in(stored: Mapping[str, Any], spec: ModelSpec) -> Scaler:
    arrays = {field.name: np.array(stored[field.name], dtype=np.float64) for field in fields(Scaler)}
    for name, array in arrays.items():
        wanted = len(spec.targets) if name == "spread" else len(spec.inputs)
        if array.shape != (wanted,) or not np.isfinite(array).all():
            raise ArtefactCorrupt(f"The scaler's {name} does not hold {wanted} finite numbers.", file=MANIFEST)
    return Scaler(**arrays)


def _scores_in(parts: Mapping[str, Any]) -> dict[str, Scores]:
    return {part: Scores(**known(Scores, found)) for part, found in parts.items()}


def _blend_in(manifest: Mapping[str, Any], spec: ModelSpec) -> Blend | None:
    stored = manifest.get("blend")
    if (stored is None) == (manifest["served_by"] == BLEND):
        raise ArtefactCorrupt(f"{manifest['served_by']} serves, and a blend is {'not ' if stored is None else ''}there.", file=MANIFEST)
    if stored is None:
        return None
    blend = Blend.from_dict(stored)
    shares = list(blend.shares.values())
    if not np.isfinite([*shares, blend.level]).all() or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ArtefactCorrupt("The shares of the blend are no shares of 1.", file=MANIFEST)
    if not np.isfinite(blend.reach or 0.0) or not 1 <= blend.seasons <= CHANGES:
        raise ArtefactCorrupt(f"The blend's reach {blend.reach} or its {blend.seasons} seasons are none.", file=MANIFEST)
    if blend.linear is not None and not blend.linear.fits(spec.window, spec.horizon):
        raise ArtefactCorrupt(f"The linear part is none of {spec.window} rows and {spec.horizon} steps.", file=MANIFEST)
    return blend


def _intervals_in(stored: dict[str, Any], spec: ModelSpec) -> IntervalTable:
    table = IntervalTable.from_dict(stored)
    arrays = [table.half] if table.phases is None else [table.half, table.phases]
    if any(array.shape[1:] != (spec.horizon,) or not np.isfinite(array).all() for array in arrays):
        raise ArtefactCorrupt(f"The interval table does not hold {spec.horizon} finite steps.", file=MANIFEST)
    return table
