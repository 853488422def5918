"""ETTh1 by the protocol of the literature: seven channels, twelve months to learn from, four to choose by, four to be tested on.

    python -m bench.etth1 [--horizons 24 96] [--window 96]

Rows 0 to 8,639 are learned from, 8,640 to 11,519 validate, 11,520 to 14,399 test (Zhou et al. 2021). MSE and MAE are means over every
origin whose whole horizon lies in the test part, over steps and channels, each channel scaled by the mean and deviation of the first part.
Once with a network per channel, which reads that channel alone, and once with one network for all seven. Published beside it: Zeng et al.
2023 (DLinear, look-back 336), Nie et al. 2023 (PatchTST/64, 512).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.ours import Loud
from bench.tables import figure, markdown
from ml.answers import origins_of, served
from ml.fitted import Case, Fitted
from ml.series import Floats, RawChannels
from ml.spec import ModelSpec, Split
from ml.trainer import fit, prepare
from ml.windows import futures

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
LEARNED, ROWS = 8_640, 14_400
SPLIT = Split(fit=0.6, stop=0.1, calibrate=0.1, test=0.2)
#: horizon -> MSE / MAE as published.
PUBLISHED = {96: {"DLinear": "0.375 / 0.399", "PatchTST": "0.370 / 0.400"}}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    raw = _raw()
    heads = ["horizon", "a network per channel", "one network for all", "last value", "DLinear", "PatchTST"]
    print("MSE / MAE in units of the first part's deviation\n")
    print(markdown(heads, [_line(raw, horizon, options.window) for horizon in options.horizons]))


def _line(raw: RawChannels, horizon: int, window: int) -> list[str]:
    lone = [_errors(raw, (channel,), horizon, window) for channel in CHANNELS]
    joint = _errors(raw, CHANNELS, horizon, window)
    published = PUBLISHED.get(horizon, {})
    shown = [_told([ours for ours, _ in lone]), _told([joint[0]]), _told([joint[1]])]
    return [str(horizon), *shown, published.get("DLinear", "–"), published.get("PatchTST", "–")]


def _errors(raw: RawChannels, targets: tuple[str, ...], horizon: int, window: int) -> tuple[Floats, Floats]:
    """(2, K) MSE and MAE of what is served per target, and of the last value."""
    spec = ModelSpec(targets=targets, window=window, horizon=horizon, split=SPLIT, cadence_s=3_600)
    case = prepare("ETTh1", raw, spec)
    [fitted] = fit([case], spec, Loud())
    assert fitted is not None
    return _scaled(case, fitted, last=False), _scaled(case, fitted, last=True)


def _scaled(case: Case, fitted: Sequence[Fitted], *, last: bool) -> Floats:
    found = origins_of(case, case.parts.test)
    rows = found.rows[found.counted.all(axis=(1, 2))]
    truth = futures(case.targets, rows, case.spec.horizon)  # (N, K, H)
    said = [case.targets[rows, k][:, None] if last else served(one, case, rows) for k, one in enumerate(fitted)]
    deviations = case.targets[:LEARNED].std(axis=0)
    errors = [(truth[:, k] - guess) / deviations[k] for k, guess in enumerate(said)]
    return np.array([[np.mean(each**2) for each in errors], [np.mean(np.abs(each)) for each in errors]])


def _told(errors: Sequence[Floats]) -> str:
    mse, mae = np.concatenate(errors, axis=1).mean(axis=1)
    return f"{figure(float(mse))} / {figure(float(mae))}"


def _raw() -> RawChannels:
    folder = os.environ.get("FLEETCAST_TEST_DATA")
    if not folder:
        raise SystemExit("FLEETCAST_TEST_DATA must name the folder that holds etth1.")
    found = pd.read_parquet(Path(folder) / "etth1" / "series.parquet").head(ROWS)
    stamps = found["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return {name: (stamps, found[name].to_numpy(dtype=np.float64)) for name in CHANNELS}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=[24, 96])
    parser.add_argument("--window", type=int, default=96)
    return parser.parse_args()


if __name__ == "__main__":
    main()
