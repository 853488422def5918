"""The mind's chorus: one window for each of many networks of one shape, answered in one pass on the processor.

A small LSTM by itself waits for its own calls: fifty rows are a hundred of them, each of a few microseconds' arithmetic. Here every row is
one call for all networks. E networks, L rows, F inputs, N hidden, K targets, H steps, A numbers known of each step ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ml.features import Inputs, View
from ml.networks import DirectLstm, Network, Seq2Seq, in_units
from ml.series import Floats

#: Bytes of recurrent weights that are gone through at once: with more, each row reads them from memory anew.
AT_ONCE = 2 * 2**20

Weights = Mapping[str, Tensor]


def alike(network: Network, view: View) -> Hashable:
    """Networks whose keys are equal can answer together: the same tensors, and windows of the same length."""
    return type(network), network.horizon, view.inputs.shape, *(tuple(tensor.shape) for tensor in network.parameters())


def forecast_together(networks: Sequence[Network], views: Sequence[View], aheads: Sequence[Inputs]) -> list[Floats]:
    """What `forecast_windows` says of each network's one window: E × (1, K, H), in each target's own unit.

    All are of one `alike`, on the CPU. Each view is of one stretch, each of the aheads (1, H, A). The same numbers but for their last bits.
    """
    room = max(1, AT_ONCE // (16 * networks[0].hidden ** 2))
    parts = [slice(first, first + room) for first in range(0, len(networks), room)]
    return [found for part in parts for found in _answered(networks[part], views[part], aheads[part])]


@torch.inference_mode()
def _answered(networks: Sequence[Network], views: Sequence[View], aheads: Sequence[Inputs]) -> list[Floats]:
    states = [dict(network.named_parameters()) for network in networks]
    weights = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    inputs, ahead = (torch.from_numpy(np.concatenate(each)) for each in ([view.inputs for view in views], aheads))
    changes = VOICES[type(networks[0])](networks[0], weights, inputs, ahead).numpy()
    return [in_units(view, change[None]) for view, change in zip(views, changes, strict=True)]


def _direct(like: Network, weights: Weights, inputs: Tensor, ahead: Tensor) -> Tensor:
    """(E, L, F), (E, H, A) -> (E, K, H), as DirectLstm.at_end."""
    read = [rows[:, -1] for rows in (inputs, *_states(like, weights, inputs))]
    if "plan.weight" in weights:
        read.append(torch.tanh(_linear(weights, "plan", torch.cat([read[-1], ahead.flatten(1)], dim=1))))
    return _linear(weights, "head", torch.cat(read, dim=1)).view(len(inputs), like.targets, like.horizon)


def _seq2seq(like: Network, weights: Weights, inputs: Tensor, ahead: Tensor) -> Tensor:
    """(E, L, F), (E, H, A) -> (E, K, H), as Seq2Seq.at_end."""
    keys = _states(like, weights, inputs)[-1]  # (E, L, N)
    state = keys[:, -1]
    cell, said = torch.tanh(_linear(weights, "bridge", state)), state.new_zeros(len(inputs), like.targets)
    answers = []
    for step in ahead.unbind(1):  # (E, A)
        gates = _linear(weights, "decoder", torch.cat([said, step], dim=1), "weight_ih", "bias_ih")
        state, cell = _cell(gates + _linear(weights, "decoder", state, "weight_hh", "bias_hh"), cell)
        said = _linear(weights, "head", torch.tanh(_linear(weights, "mix", torch.cat([state, _attend(like, weights, state, keys)], dim=1))))
        answers.append(said)
    return torch.stack(answers, dim=-1)


def _attend(like: Network, weights: Weights, state: Tensor, keys: Tensor) -> Tensor:
    """(E, N) mean of each network's keys (E, L, N), weighted by how well they answer its state's query."""
    likeness = _times(keys, _times(weights["query.weight"], state)) * like.hidden**-0.5  # (E, L)
    return _times(keys.transpose(1, 2), torch.softmax(likeness, dim=1))


def _states(like: Network, weights: Weights, inputs: Tensor) -> list[Tensor]:
    """(E, L, N) of each layer, the lowest first."""
    states, read = [], inputs
    for depth in range(len(like.layers)):
        w_ih, w_hh, b_ih, b_hh = (weights[f"layers.{depth}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        read = _layer(w_ih, w_hh, b_ih + b_hh, read)
        states.append(read)
    return states


def _layer(w_ih: Tensor, w_hh: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
    """(E, L, F) -> (E, L, N). The inputs of all rows go in by one product for each network; only the recurrence is stepped through."""
    rows = torch.baddbmm(bias.unsqueeze(1), inputs, w_ih.transpose(1, 2)).unbind(1)  # L × (E, 4N)
    state = cell = inputs.new_zeros(len(inputs), w_hh.shape[2])
    across = torch.empty_like(rows[0])
    matrices, product = w_hh.numpy(), across.numpy()[:, :, None]
    states = []
    for row in rows:
        np.matmul(matrices, state.numpy()[:, :, None], out=product)
        state, cell = _cell(row + across, cell)
        states.append(state)
    return torch.stack(states, dim=1)


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """(E, 4N) gates in torch's order (input, forget, cell, output), (E, N) -> the next state and cell."""
    i, f, _, o = torch.sigmoid(gates).chunk(4, dim=1)  # of all at once: a call costs more than a quarter of its numbers
    cell = torch.addcmul(f * cell, i, torch.tanh(gates.chunk(4, dim=1)[2]))
    return o * torch.tanh(cell), cell


def _linear(weights: Weights, name: str, inputs: Tensor, weight: str = "weight", bias: str = "bias") -> Tensor:
    return _times(weights[f"{name}.{weight}"], inputs) + weights[f"{name}.{bias}"]


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(E, O, I), (E, I) -> (E, O). By numpy, which takes a vector for what it is: torch's product of stacks takes twice as long here."""
    return torch.from_numpy(np.matmul(matrices.numpy(), vectors.unsqueeze(2).numpy())).squeeze(2)


VOICES: Mapping[type[Network], Callable[[Network, Weights, Tensor, Tensor], Tensor]] = {DirectLstm: _direct, Seq2Seq: _seq2seq}
