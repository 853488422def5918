"""How long does one model take to train, and how good is it? Ours against the loop that tutorials teach, on the same rows.

    python -m bench.training [--series 3] [--rows 4032] [--epochs 100]

Series are NAB's AWS metrics where FLEETCAST_TEST_DATA names the folder that holds them, else generated ones. One core. Both are scored on
the same (origin, step) pairs of the last 20 % of the rows; MASE is against the in-sample seasonal naive error.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ml.errors import ModelError
from ml.evaluation import origins_of
from ml.fitted import Case, Epoch, Fitted
from ml.metrics import mase_scale, score
from ml.series import Floats, RawChannels
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from ml.windows import futures, gather

SPEC = ModelSpec(targets=("value",), window=50, horizon=12, hidden_size=64, num_layers=2, epochs=50, patience=8)
#: Six CPU loads of NAB's realAWSCloudwatch.
AWS = ("ec2_cpu_utilization_24ae8d", "ec2_cpu_utilization_53ea38", "ec2_cpu_utilization_fe7f93", "ec2_cpu_utilization_c6585a")
RDS = ("rds_cpu_utilization_cc0c53", "rds_cpu_utilization_e47b3b")


class Textbook(nn.Module):
    """nn.LSTM, the last row's state, a linear layer."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, spec.hidden_size, spec.num_layers, batch_first=True)
        self.head = nn.Linear(spec.hidden_size, spec.horizon)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(windows)  # (B, W, hidden)
        forecast: Tensor = self.head(states[:, -1])
        return forecast  # (B, H)


class Silent:
    """A reporter that remembers the last it heard and tells nobody."""

    heard: tuple[int, object] | None = None

    def epoch(self, member: int, epoch: Epoch) -> bool:
        self.heard = (member, epoch)
        return True

    def alive(self) -> None: ...

    def fitted(self, member: int, fitted: Fitted) -> None: ...

    def failed(self, member: int, error: ModelError) -> None:
        self.heard = (member, error)


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    _warm_up()
    print(f"{'series':32}{'textbook':>10}{'ours':>8}{'ratio':>8}   {'MASE':>9}{'ours':>8}{'served':>8}{'last':>8}")
    ratios = []
    for name, raw in _series(options.series, options.rows):
        case = prepare(name, raw, SPEC)
        seconds, mase = _textbook(case, options.epochs)
        began = time.perf_counter()
        [fitted] = fit([case], SPEC, Silent())
        ours = time.perf_counter() - began
        assert fitted is not None
        ratios.append(seconds / ours)
        found = [fitted.scores[by]["test"].mase or 0.0 for by in ("lstm", fitted.served_by, "persistence")]
        cells = "".join(f"{number:8.3f}" for number in found)
        print(f"{name:32}{seconds:9.1f}s{ours:7.1f}s{ratios[-1]:7.1f}×   {mase:9.3f}{cells}", flush=True)
    print(f"median ratio {statistics.median(ratios):.1f}×")


def _textbook(case: Case, epochs: int) -> tuple[float, float]:
    """Seconds and test MASE of the loop that tutorials teach: scaled once, overlapping windows, batch 32, Adam 1e-3, MSE, patience 10."""
    began = time.perf_counter()
    held_back = slice(case.parts.stop.start, case.parts.test.start)
    windows, goals = _overlapping(case, case.parts.fit)
    network = _fit_textbook((windows, goals), _overlapping(case, held_back), epochs)
    seconds = time.perf_counter() - began
    rows = origins_of(case, case.parts.test)
    with torch.inference_mode():
        said = network(_windows(case, rows.rows)).numpy().astype(np.float64) * case.scaler.scale[0] + case.scaler.center[0]
    scale = mase_scale(case.target, case.observed, case.parts.test.start, case.season.steps)
    mase = score(futures(case.target, rows.rows, SPEC.horizon), said, rows.counted, scale).mase
    assert mase is not None
    return seconds, mase


def _fit_textbook(learn: tuple[Tensor, Tensor], check: tuple[Tensor, Tensor], epochs: int, patience: int = 10) -> Textbook:
    torch.manual_seed(0)
    network = Textbook(SPEC)
    optimiser, loss_of = torch.optim.Adam(network.parameters(), lr=1e-3), nn.MSELoss()
    best, best_weights, waited = float("inf"), network.state_dict(), 0
    for _ in range(epochs):
        network.train()
        for batch in torch.tensor_split(torch.randperm(len(learn[0])), max(1, len(learn[0]) // 32)):
            optimiser.zero_grad()
            torch.autograd.backward(loss_of(network(learn[0][batch]), learn[1][batch]))
            optimiser.step()
        network.eval()
        with torch.no_grad():
            loss = float(loss_of(network(check[0]), check[1]))
        waited = 0 if loss < best else waited + 1
        if loss < best:
            best, best_weights = loss, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if waited == patience:
            break
    network.load_state_dict(best_weights)
    return network


def _overlapping(case: Case, part: slice) -> tuple[Tensor, Tensor]:
    """(N, W, 1) and (N, H), scaled by the fit part, for every origin whose whole horizon lies in the part."""
    found = origins_of(case, part)
    rows = found.rows[found.counted.all(axis=1)]
    goals = (futures(case.target, rows, SPEC.horizon) - case.scaler.center[0]) / case.scaler.scale[0]
    return _windows(case, rows), torch.from_numpy(goals.astype(np.float32))


def _windows(case: Case, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    stretches = gather(case.values, rows - case.spec.window + 1, case.spec.window)
    scaled: Floats = (stretches - case.scaler.center) / case.scaler.scale
    return torch.from_numpy(np.nan_to_num(scaled).astype(np.float32))


def _series(number: int, rows: int) -> Iterator[tuple[str, RawChannels]]:
    folder = os.environ.get("FLEETCAST_TEST_DATA")
    for seed, name in enumerate((AWS + RDS)[:number]):
        yield (name, _real(Path(folder), name, rows)) if folder else (f"generated {seed}", _generated(seed, rows))


def _real(folder: Path, name: str, rows: int) -> RawChannels:
    wanted = [("series", "==", f"realAWSCloudwatch/{name}")]
    found = pd.read_parquet(folder / "nab" / "series.parquet", filters=wanted).tail(rows)
    stamps = found["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return {"value": (stamps, found["value"].to_numpy(dtype=np.float64))}


def _generated(seed: int, rows: int) -> RawChannels:
    """Every five minutes: a daily wave, noise that lasts, a level that shifts twice."""
    random = np.random.default_rng(seed)
    drift = pd.Series(random.standard_normal(rows)).ewm(halflife=20).mean().to_numpy() * 4
    level = 40 + 8 * (np.arange(rows) > rows * 0.4) - 5 * (np.arange(rows) > rows * 0.85)
    values = level + 5 * np.sin(2 * np.pi * np.arange(rows) / 288) + drift + 0.4 * random.standard_normal(rows)
    return {"value": (np.datetime64("2026-01-01", "ms") + np.arange(rows) * np.timedelta64(300_000, "ms"), values)}


def _warm_up() -> None:
    """Load what torch loads at its first update, so that it is nobody's time."""
    case = prepare("warm-up", _generated(0, 200), SPEC)
    _textbook(case, 1)
    fit([case], SPEC.override({"epochs": 1}), Silent())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=3, help="how many series, at most 6")
    parser.add_argument("--rows", type=int, default=4_032)
    parser.add_argument("--epochs", type=int, default=100, help="most epochs of the textbook loop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
