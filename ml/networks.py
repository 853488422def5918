"""The mind's nerve: networks that forecast all steps of all targets as change from the last value. `build` makes what a spec declares.

Shapes: B stretches, L rows, F inputs, K targets, H steps, A numbers known of each step ahead.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ml.features import Inputs, View
from ml.series import Floats
from ml.shapes import ahead_width, input_width
from ml.spec import ModelSpec


class Network(nn.Module, ABC):
    """A stacked LSTM over the rows, and a head that begins at zero, so that an untrained network IS the last value.

    Random numbers come from the generator handed in, never from the global one: a network trained alone or among others is the same.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.hidden, self.targets, self.horizon = spec.hidden_size, len(spec.targets), spec.horizon
        self.dropout = spec.dropout
        sizes = [input_width(spec)] + [spec.hidden_size] * (spec.num_layers - 1)
        # The constructors draw from the global random stream; it is put back, and `start` draws anew from the member's own.
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.ModuleList(nn.LSTM(size, spec.hidden_size, batch_first=True) for size in sizes)
            self.head = self._head(spec)

    @abstractmethod
    def _head(self, spec: ModelSpec) -> nn.Linear:
        """What stands above the stack; other parts of it are made here too. The Linear handed back is the one that begins at zero."""

    @abstractmethod
    def forward(self, inputs: Tensor, ahead: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, L, F), (B, L, H, A) -> (B, L, K, H) change from the last value at each row, in running deviations."""

    @abstractmethod
    def at_end(self, inputs: Tensor, ahead: Tensor) -> Tensor:
        """(B, L, F), (B, H, A) -> (B, K, H): the same at the last row only, as served."""

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√hidden as nn.LSTM does; forget gates opened by a bias of 1 (Jozefowicz et al. 2015); the head zero."""
        bound = self.hidden**-0.5
        for name, parameter in self.named_parameters():
            parameter.uniform_(-bound, bound, generator=generator)
            if "bias_hh" in name:
                parameter.chunk(4)[1].fill_(1.0)
        self.head.weight.zero_()
        self.head.bias.zero_()

    def _states(self, inputs: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        """(B, L, hidden) of each layer, the lowest first."""
        states, state = [], inputs
        for layer in self.layers:
            state, _ = layer(state)
            if generator is not None and self.dropout:
                state = _drop(state, self.dropout, generator)
            states.append(state)
        return states


class DirectLstm(Network):
    """All steps at once. The head reads the inputs and the states of every layer side by side: what is simple is learned straight from the
    inputs while the deep layers are still random, so a training takes half the updates.

    Where covariates are known ahead, a layer of its own reads the top state and what they say of the horizon, and the head reads that too.
    """

    def _head(self, spec: ModelSpec) -> nn.Linear:
        # The calendar ahead is a turn of the calendar now, which the inputs hold: only covariates earn a layer.
        width = spec.hidden_size + spec.horizon * ahead_width(spec)
        self.plan = nn.Linear(width, spec.hidden_size) if spec.future_covariates else None
        read = input_width(spec) + (spec.num_layers + (self.plan is not None)) * spec.hidden_size
        return nn.Linear(read, len(spec.targets) * spec.horizon)

    def forward(self, inputs: Tensor, ahead: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self._changes([inputs, *self._states(inputs, generator)], ahead)

    def at_end(self, inputs: Tensor, ahead: Tensor) -> Tensor:
        return self._changes([rows[:, -1] for rows in (inputs, *self._states(inputs, None))], ahead)

    def _changes(self, read: list[Tensor], ahead: Tensor) -> Tensor:
        """(..., F) and (..., hidden) of each layer, (..., H, A) -> (..., K, H)"""
        if self.plan is not None:
            read = [*read, torch.tanh(self.plan(torch.cat([read[-1], ahead.flatten(-2)], dim=-1)))]
        change: Tensor = self.head(torch.cat(read, dim=-1))
        return change.view(*change.shape[:-1], self.targets, self.horizon)


class Seq2Seq(Network):
    """Encoder and decoder with attention to the rows of the window (Luong et al. 2015, dot product with a learned query).

    The decoder goes step by step: it reads its own last answer and what is known of the next step.
    """

    def _head(self, spec: ModelSpec) -> nn.Linear:
        hidden = spec.hidden_size
        self.window = spec.window
        self.bridge = nn.Linear(hidden, hidden)
        self.decoder = nn.LSTMCell(len(spec.targets) + ahead_width(spec), hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.mix = nn.Linear(2 * hidden, hidden)
        return nn.Linear(hidden, len(spec.targets))

    def forward(self, inputs: Tensor, ahead: Tensor, generator: torch.Generator | None = None) -> Tensor:
        states = self._states(inputs, generator)[-1]
        rows = torch.arange(states.shape[1], device=states.device)
        age = rows[:, None] - rows[None, :]
        return self._decode(states, states, (age < 0) | (age >= self.window), ahead)

    def at_end(self, inputs: Tensor, ahead: Tensor) -> Tensor:
        states = self._states(inputs, None)[-1]
        seen = torch.zeros(1, states.shape[1], dtype=torch.bool, device=states.device)
        return self._decode(states[:, -1:], states, seen, ahead.unsqueeze(1))[:, 0]

    def _decode(self, start: Tensor, keys: Tensor, hidden_rows: Tensor, ahead: Tensor) -> Tensor:
        """(B, Q, hidden) states to go on from, (B, L, hidden) states to attend to, (Q, L) True where not -> (B, Q, K, H)."""
        shape = start.shape
        state = start.flatten(0, 1)  # (B·Q, hidden)
        cell, said = torch.tanh(self.bridge(state)), state.new_zeros(len(state), self.targets)
        answers = []
        for step in ahead.flatten(0, 1).unbind(1):  # (B·Q, A)
            state, cell = self.decoder(torch.cat([said, step], dim=1), (state, cell))
            seen = self._attend(state.view(shape), keys, hidden_rows).flatten(0, 1)
            said = self.head(torch.tanh(self.mix(torch.cat([state, seen], dim=1))))
            answers.append(said)
        return torch.stack(answers, dim=-1).view(*shape[:2], self.targets, self.horizon)

    def _attend(self, state: Tensor, keys: Tensor, hidden_rows: Tensor) -> Tensor:
        """(B, Q, hidden) mean of the keys, weighted by how well they answer each state's query."""
        likeness = self.query(state) @ keys.transpose(1, 2) * self.hidden**-0.5  # (B, Q, L)
        weights = torch.softmax(likeness.masked_fill(hidden_rows, float("-inf")), dim=-1)
        return weights @ keys


NETWORKS: Mapping[str, type[Network]] = {"lstm": DirectLstm, "seq2seq": Seq2Seq}


def build(spec: ModelSpec) -> Network:
    """The network a spec declares; its weights are the constructor's until `start` or a state dict sets them."""
    return NETWORKS[spec.network](spec)


@lru_cache(maxsize=256)
def declared(spec: ModelSpec) -> Network:
    """The network a spec declares, without a number in it: the names, shapes and types of its tensors."""
    with torch.device("meta"):
        return build(spec)


def holding(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Network:
    """The network a spec declares, with these tensors, which become its own. A constructor would draw numbers that nobody wants, for
    half of what it takes to load a model. Raises KeyError for a tensor that is missing."""
    return cast("Network", _like(declared(spec), tensors, ""))


def _like(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> nn.Module:
    made = copy.copy(module)
    vars(made).update(_parameters=dict(module._parameters), _modules={})
    if isinstance(made, nn.RNNBase):  # which keeps a second list of its parameters
        made._flat_weights = list(made._flat_weights)
    for name, _ in module.named_parameters(recurse=False):
        setattr(made, name, nn.Parameter(tensors[prefix + name]))
    for name, part in module.named_children():
        setattr(made, name, _like(part, tensors, f"{prefix}{name}."))
    return made


@torch.inference_mode()
def forecast_windows(network: Network, view: View, ahead: Inputs) -> Floats:
    """(N, K, H) forecasts of N windows, in each target's own unit. `ahead` is (N, H, A).

    The one road from a window to a forecast: early stopping, scores and serving all take it (many at once by `ml/chorus.py`).
    """
    device = next(network.parameters()).device
    change = network.at_end(torch.from_numpy(view.inputs).to(device), torch.from_numpy(ahead).to(device))
    return in_units(view, change.cpu().numpy())


def in_units(view: View, change: Inputs) -> Floats:
    """(N, K, H) of changes in running deviations, as values in each target's own unit."""
    return view.last[:, -1, :, None] + view.deviation[:, -1, :, None] * change.astype(np.float64)


def _drop(state: Tensor, share: float, generator: torch.Generator) -> Tensor:
    # By shape and not like the state, whose layout in memory would order the random numbers.
    keep = torch.empty(state.shape, device=state.device).bernoulli_(1 - share, generator=generator)
    return state * keep / (1 - share)
