"""The mind's choir: many networks of one shape computed as one, for a device that a single small LSTM leaves idle.

E networks, B stretches each, L rows, H hidden, K targets. Weights are stacked under the names that one network's state dict gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ml.networks import DirectLstm, Network

Weights = dict[str, Tensor]


def stacked(networks: Sequence[Network]) -> Weights:
    """name -> (E, ...), on the networks' device, learning."""
    states = [network.state_dict() for network in networks]
    return {name: torch.stack([state[name] for state in states]).requires_grad_() for name in states[0]}


def unstacked(weights: Mapping[str, Tensor], member: int) -> Weights:
    """One network's state dict."""
    return {name: tensor[member].detach().clone() for name, tensor in weights.items()}


def changes(like: DirectLstm, weights: Weights, inputs: Tensor, ahead: Tensor, keep: Sequence[Tensor] = ()) -> Tensor:
    """(E, B, L, F), (E, B, L, Hz, A) -> (E, B, L, K, Hz): what each network says at every row of its own stretches.

    `keep` is a dropout mask per layer, (E, B, L, H), already scaled. `like` is one of the networks: it tells the shape.
    """
    read = [inputs]
    for depth in range(len(like.layers)):
        state = _layer(weights, depth, read[-1])
        read.append(state * keep[depth] if keep else state)
    if like.plan is not None:
        read.append(torch.tanh(_linear(weights, "plan", torch.cat([read[-1], ahead.flatten(-2)], dim=-1))))
    change = _linear(weights, "head", torch.cat(read, dim=-1))
    return change.view(*change.shape[:-1], like.targets, like.horizon)


def _layer(weights: Weights, depth: int, inputs: Tensor) -> Tensor:
    """(E, B, L, F) -> (E, B, L, H). The inputs of all rows go in by one product; only the recurrence is stepped through."""
    w_ih, w_hh, b_ih, b_hh = (weights[f"layers.{depth}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    e, b, rows, width = inputs.shape
    flat = inputs.permute(0, 2, 1, 3).reshape(e, rows * b, width)
    gates = torch.baddbmm((b_ih + b_hh).unsqueeze(1), flat, w_ih.transpose(1, 2))  # (E, L·B, 4H)
    steps = gates.view(e, rows, b, -1).transpose(0, 1).contiguous()  # (L, E, B, 4H)
    states: Tensor = Recurrence.apply(steps, w_hh)  # type: ignore[no-untyped-call]
    return states.permute(1, 2, 0, 3)


def _linear(weights: Weights, name: str, inputs: Tensor) -> Tensor:
    e = inputs.shape[0]
    flat = torch.baddbmm(
        weights[f"{name}.bias"].unsqueeze(1), inputs.reshape(e, -1, inputs.shape[-1]), weights[f"{name}.weight"].transpose(1, 2)
    )
    return flat.view(*inputs.shape[:-1], -1)


class Recurrence(torch.autograd.Function):
    """E LSTM recurrences at once: (L, E, B, 4H) of the inputs and (E, 4H, H) weights -> (L, E, B, H) states.

    Gates in torch's order: input, forget, cell, output.

    The backward is by hand: the weights' gradient is one product after the loop instead of one per step.
    """

    @staticmethod
    def forward(ctx: Any, steps: Tensor, w_hh: Tensor) -> Tensor:
        rows, e, b, width = steps.shape
        hidden = width // 4
        across = w_hh.transpose(1, 2)
        gates = torch.empty_like(steps)
        cells = steps.new_zeros(rows + 1, e, b, hidden)
        states = steps.new_zeros(rows + 1, e, b, hidden)
        for t in range(rows):
            raw = torch.baddbmm(steps[t], states[t], across)
            gates[t] = torch.sigmoid(raw)
            gates[t, ..., 2 * hidden : 3 * hidden] = torch.tanh(raw[..., 2 * hidden : 3 * hidden])
            i, f, g, o = gates[t].chunk(4, dim=-1)
            torch.addcmul(f * cells[t], i, g, out=cells[t + 1])
            torch.mul(o, torch.tanh(cells[t + 1]), out=states[t + 1])
        ctx.save_for_backward(gates, cells, states, w_hh)
        return states[1:].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        [grad] = grads
        gates, cells, states, w_hh = ctx.saved_tensors
        rows, e, b, width = gates.shape
        slopes = torch.empty_like(gates)
        back_h, back_c = torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
        for t in range(rows - 1, -1, -1):
            i, f, g, o = gates[t].chunk(4, dim=-1)
            squashed = torch.tanh(cells[t + 1])
            dh = grad[t] + back_h
            dc = torch.addcmul(back_c, dh * o, 1 - squashed * squashed)
            slopes[t] = torch.cat(
                [dc * g * i * (1 - i), dc * cells[t] * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o)], dim=-1
            )
            back_h, back_c = torch.bmm(slopes[t], w_hh), dc * f
        flat = slopes.permute(1, 3, 0, 2).reshape(e, width, rows * b)
        before = states[:-1].permute(1, 0, 2, 3).reshape(e, rows * b, -1)
        return slopes, torch.bmm(flat, before)
