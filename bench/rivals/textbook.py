"""The loop that tutorials teach: scaled once, every overlapping window, batches of 32, Adam at 1e-3, squared error, patience 10."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Floats, Task

BATCH = 32
Pair = tuple[Tensor, Tensor]


class Textbook(nn.Module):
    """nn.LSTM, the last row's state, a linear layer."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        dropout = task.dropout if task.num_layers > 1 else 0.0
        self.lstm = nn.LSTM(1, task.hidden_size, task.num_layers, batch_first=True, dropout=dropout)
        self.head = nn.Linear(task.hidden_size, task.horizon)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(windows)  # (B, W, hidden)
        forecast: Tensor = self.head(states[:, -1])
        return forecast  # (B, H)


def forecasts(_: str, task: Task, watch: Stopwatch) -> Floats:
    """(N, H). Standardised by the mean and deviation of the rows learned from."""
    with watch:
        seen = task.values[: task.fit_until]
        center, scale = seen.mean(), seen.std() or 1.0
        learn = _pairs(task, center, scale, task.window - 1, task.fit_until)
        check = _pairs(task, center, scale, max(task.window, task.fit_until) - 1, task.test_from)
        network = _learned(task, learn, check)
    windows = _tensor((task.windows(task.origins) - center) / scale)[:, :, None]
    with torch.inference_mode():
        said = torch.cat([network(some) for some in torch.split(windows, 1_024)]).numpy().astype(np.float64)
    return np.asarray(said * scale + center)


def _pairs(task: Task, center: float, scale: float, first: int, until: int) -> Pair:
    """(N, W, 1) and (N, H) of every origin from `first` whose whole horizon lies before `until`."""
    rows = np.arange(first, until - task.horizon)
    return _tensor((task.windows(rows) - center) / scale)[:, :, None], _tensor((task.futures(rows) - center) / scale)


def _learned(task: Task, learn: Pair, check: Pair) -> Textbook:
    torch.manual_seed(0)
    network, loss_of = Textbook(task), nn.MSELoss()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    best, best_weights, waited = float("inf"), network.state_dict(), 0
    for _ in range(task.epochs):
        _epoch(network, optimiser, learn)
        network.eval()
        with torch.no_grad():
            loss = float(loss_of(network(check[0]), check[1]))
        waited = 0 if loss < best else waited + 1
        if loss < best:
            best, best_weights = loss, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if waited == task.patience:
            break
    network.load_state_dict(best_weights)
    return network.eval()


def _epoch(network: Textbook, optimiser: torch.optim.Optimizer, learn: Pair) -> None:
    network.train()
    for batch in torch.split(torch.randperm(len(learn[0])), BATCH):
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.mse_loss(network(learn[0][batch]), learn[1][batch]))
        optimiser.step()


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
