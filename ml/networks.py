"""The mind's nerve: a stacked LSTM whose head forecasts all steps at once, as change from the last value."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ml.features import View, input_width
from ml.series import Floats
from ml.spec import ModelSpec


class DirectLstm(nn.Module):
    """(B, L, F) inputs -> (B, L, H) change from the last value, in running deviations.

    The head starts at zero, so that an untrained network IS the last value. Random numbers come from the generator handed in,
    never from the global one: a network trained alone or among others is the same.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, horizon: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        # The constructors draw from the global random stream; it is put back, and `start` draws anew from the member's own.
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.ModuleList(nn.LSTM(hidden if depth else inputs, hidden, batch_first=True) for depth in range(layers))
            self.head = nn.Linear(hidden, horizon)

    @classmethod
    def of(cls, spec: ModelSpec) -> DirectLstm:
        return cls(input_width(len(spec.inputs)), spec.hidden_size, spec.num_layers, spec.horizon, spec.dropout)

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√hidden as nn.LSTM does; the forget gate opened by a bias of 1 (Jozefowicz et al. 2015); the head zero."""
        bound = self.head.in_features**-0.5
        for name, parameter in self.layers.named_parameters():
            parameter.uniform_(-bound, bound, generator=generator)
            if name.endswith("bias_hh_l0"):
                parameter.chunk(4)[1].fill_(1.0)
        self.head.weight.zero_()
        self.head.bias.zero_()

    def forward(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        change: Tensor = self.head(self._hidden(inputs, generator))
        return change  # (B, L, H)

    def at_end(self, inputs: Tensor) -> Tensor:
        """(B, H): the head at the last row only, as served."""
        change: Tensor = self.head(self._hidden(inputs, None)[:, -1])
        return change

    def _hidden(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        state = inputs
        for layer in self.layers:
            state, _ = layer(state)  # (B, L, hidden)
            if generator is not None and self.dropout:
                state = _drop(state, self.dropout, generator)
        return state


@torch.inference_mode()
def forecast_windows(network: DirectLstm, view: View) -> Floats:
    """(N, H) forecasts of N windows, in the target's own unit.

    The one road from a window to a forecast: early stopping, scores and serving all take it.
    """
    device = next(network.parameters()).device
    change = network.at_end(torch.from_numpy(view.inputs).to(device)).cpu().numpy().astype(np.float64)
    return view.last[:, -1:] + view.deviation[:, -1:] * change


def _drop(state: Tensor, share: float, generator: torch.Generator) -> Tensor:
    keep = torch.empty_like(state).bernoulli_(1 - share, generator=generator)
    return state * keep / (1 - share)
