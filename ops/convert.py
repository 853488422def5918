"""The command `convert`: a PyTorch state dict into the zip that `POST /models/import` takes. The one place that reads a pickle.

fleetcast convert model.pth --spec spec.json --to base.zip --trust-pickle
"""

from __future__ import annotations

import json
import pickle  # noqa: TID251  # for the name of its error
from collections.abc import Mapping
from pathlib import Path

import click
import safetensors.torch
import torch
from torch import Tensor

from ml import weights
from ml.errors import SpecInvalid, WeightsInvalid
from ml.shapes import declared, input_width
from ml.shelf import MANIFEST, WEIGHTS, to_json, zipped
from ml.spec import ModelSpec
from ops.telling import as_json_option, tell

#: Under which a checkpoint keeps its state dict, where it holds an optimiser's and more besides.
NESTED = ("state_dict", "model_state_dict", "model")
#: Of a textbook module, `self.lstm = nn.LSTM(...)` and `self.fc = nn.Linear(...)`: its parts, and what they are called here.
STACK, HEAD = "lstm", "fc"
_OF_A_LAYER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

_WHY = (
    "{file} is a pickle, and a pickle can run code of its maker's when it is read. PyTorch is told to take tensors alone "
    "(`weights_only=True`), and has had holes. Convert only a file whose maker you trust, and say so with --trust-pickle."
)
_TRUTH = (
    "It is a starting point, no more: this network learned from what its own program fed it. Here it reads each channel's value, "
    "change and missing mark, normalised as docs/models.md tells, and answers changes from the last value. Trainings that start from "
    "it learn the difference, and their scores say what came of it."
)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--spec", "spec_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON of its spec.")
@click.option("--to", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The zip to write.")
@click.option("--trust-pickle", is_flag=True, help="Say that the maker of FILE may run code here.")
@as_json_option
def convert_command(file: Path, spec_file: Path, target: Path, trust_pickle: bool, as_json: bool) -> None:
    """Turn FILE, a PyTorch state dict, into a zip that can be imported as a base.

    Its tensors have the names of our networks, or those of a textbook module: `lstm.weight_ih_l0` … and `fc.weight`, `fc.bias`.
    """
    if not trust_pickle:
        raise click.ClickException(_WHY.format(file=file))
    spec = _spec(spec_file)
    tensors = _renamed(_state_dict(file), spec)
    content = safetensors.torch.save({name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()})
    try:
        weights.require(content, spec)
    except WeightsInvalid as error:
        raise click.ClickException(f"{file}: {error.detail}") from error
    target.write_bytes(zipped({WEIGHTS: content, MANIFEST: to_json({"spec": spec.as_dict()})}, target.stem))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    told = {"file": target, "tensors": len(tensors), "numbers": numbers}
    tell(told, f"{target}: {len(tensors)} tensors, {numbers:,} numbers.\n{_TRUTH}", as_json=as_json)


def _spec(file: Path) -> ModelSpec:
    """The spec, alone or as the `spec` of a manifest."""
    try:
        told = json.loads(file.read_text())
        stated = told.get("spec", told)
        return ModelSpec(tuple(stated["targets"])).override(stated)
    except (ValueError, TypeError, KeyError, AttributeError, SpecInvalid) as error:
        raise click.ClickException(f"{file} is no spec: {error}. It needs `targets` at least; see `Spec` in /openapi.json.") from error


def _state_dict(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251  # asked for by name, and nowhere else
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise click.ClickException(f"{file} is no state dict that PyTorch reads with weights_only: {first[:300]}") from error
    found = next((found[name] for name in NESTED if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping) or not found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise click.ClickException(f"{file} holds no state dict. Write one with torch.save(model.state_dict(), …).")
    return dict(found)


def _renamed(found: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The tensors by our names. Raises ClickException for the first that does not fit, by its own name and shape."""
    if found.keys() == declared(spec).keys():
        return found
    wanted = _textbook(spec)
    _require_as_wide(found, spec)
    wrong = _misfits(found, wanted)
    if wrong:
        raise click.ClickException("These do not fit the spec:\n" + "\n".join(wrong))
    stack = {ours: found[theirs] for ours, theirs in _layers(spec).items()}
    return stack | {"head.weight": _widened(found[f"{HEAD}.weight"], spec), "head.bias": found[f"{HEAD}.bias"]}


def _layers(spec: ModelSpec) -> dict[str, str]:
    """Ours to theirs: PyTorch numbers the layers of one module, and we have a module for each."""
    return {f"layers.{n}.{name}_l0": f"{STACK}.{name}_l{n}" for n in range(spec.num_layers) for name in _OF_A_LAYER}


def _textbook(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the textbook module that the spec's network holds within it."""
    if spec.network != "lstm" or spec.future_covariates:
        have = f"network {spec.network!r} with future_covariates {list(spec.future_covariates)}"
        raise click.ClickException(f"A textbook LSTM has no counterpart in {have}. The spec needs network 'lstm' and none of them.")
    ours, steps = declared(spec), len(spec.targets) * spec.horizon
    stack = {theirs: ours[name] for name, theirs in _layers(spec).items()}
    return stack | {f"{HEAD}.weight": (steps, spec.hidden_size), f"{HEAD}.bias": (steps,)}


def _require_as_wide(found: Mapping[str, Tensor], spec: ModelSpec) -> None:
    first = found.get(f"{STACK}.weight_ih_l0")
    if first is not None and first.ndim == 2 and first.shape[1] != input_width(spec):
        wide = f"value, change and missing mark of {len(spec.inputs)} channels, rolling means of the covariates, two of the season"
        raise click.ClickException(
            f"The network reads {first.shape[1]} numbers a row, and this spec gives it {input_width(spec)}: {wide}. "
            "One that saw other inputs cannot start a training here; POST /models/pretrain makes a base from your own data."
        )


def _misfits(found: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, has another shape, or is not expected; by name."""
    missing = [f"  {name}: missing, {list(shape)} is wanted" for name, shape in wanted.items() if name not in found]
    others = [
        f"  {name}: {list(found[name].shape)}, {list(shape)} is wanted"
        for name, shape in wanted.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    unexpected = [f"  {name}: {list(tensor.shape)}, not expected" for name, tensor in found.items() if name not in wanted]
    return missing + others + unexpected


def _widened(head: Tensor, spec: ModelSpec) -> Tensor:
    """(K·H, hidden) of the top layer -> (K·H, all that our head reads): what it reads besides counts nothing until that is learned."""
    below = input_width(spec) + (spec.num_layers - 1) * spec.hidden_size
    return torch.cat([torch.zeros(len(head), below, dtype=head.dtype), head], dim=1)
