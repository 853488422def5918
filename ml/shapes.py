"""The mind's measures: how wide the inputs of a spec's network are, and which tensors it has. Imports no numeric library.

`ml.networks.build` makes what is declared here, and a test holds the two together: the edge can tell whether a file fits without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml.spec import ModelSpec

#: Tensor by tensor, by its name in the state dict.
Shapes = dict[str, tuple[int, ...]]


def input_width(spec: ModelSpec) -> int:
    """F: value, change and missing mark of each channel, rolling means of the covariates, sine and cosine of the season."""
    covariates = len(spec.inputs) - len(spec.targets)
    return 3 * len(spec.inputs) + len(spec.rolling) * covariates + 2


def ahead_width(spec: ModelSpec) -> int:
    """A: of each step ahead, sine and cosine of the season, value and missing mark of each known-future covariate."""
    return 2 + 2 * len(spec.future_covariates)


def declared(spec: ModelSpec) -> Shapes:
    """Name and shape of every tensor of the spec's network; all are float32."""
    return _stack(spec) | _ABOVE[spec.network](spec)


def _stack(spec: ModelSpec) -> Shapes:
    """The LSTM layers, which both families share. The four gates stand below each other."""
    found: Shapes = {}
    for layer in range(spec.num_layers):
        width = spec.hidden_size if layer else input_width(spec)
        found |= _cell(f"layers.{layer}.", "_l0", width, spec.hidden_size)
    return found


def _cell(prefix: str, suffix: str, width: int, hidden: int) -> Shapes:
    gates = 4 * hidden
    sizes = {"weight_ih": (gates, width), "weight_hh": (gates, hidden), "bias_ih": (gates,), "bias_hh": (gates,)}
    return {f"{prefix}{name}{suffix}": size for name, size in sizes.items()}


def _direct(spec: ModelSpec) -> Shapes:
    """The head reads the inputs, the states of every layer and, where there is one, the plan's, side by side in this order."""
    hidden = spec.hidden_size
    plan = _linear("plan", hidden + spec.horizon * ahead_width(spec), hidden) if spec.future_covariates else {}
    states = spec.num_layers + bool(plan)
    return plan | _linear("head", input_width(spec) + states * hidden, len(spec.targets) * spec.horizon)


def _seq2seq(spec: ModelSpec) -> Shapes:
    hidden, targets = spec.hidden_size, len(spec.targets)
    return {
        **_linear("bridge", hidden, hidden),
        **_cell("decoder.", "", targets + ahead_width(spec), hidden),
        "query.weight": (hidden, hidden),
        **_linear("mix", 2 * hidden, hidden),
        **_linear("head", hidden, targets),
    }


def _linear(name: str, width: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


_ABOVE: Mapping[str, Callable[[ModelSpec], Shapes]] = {"lstm": _direct, "seq2seq": _seq2seq}
