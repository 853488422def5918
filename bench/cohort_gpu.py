"""How many models a minute does one card train? A cohort trained as one against one network after another, on the same card.

    python -m bench.cohort_gpu [--device cuda] [--members 64 256] [--hidden 64 128] [--rows 4032] [--epochs 10]

Series are generated (a daily wave, noise that lasts, shifts of level), window 50, horizon 12, two layers. Learning alone is timed, without
judging, which is the processor's work. One after another is cuDNN's LSTM; of it 4 members are timed, as each takes as long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch

from ml.cohort import learn_together
from ml.course import Course, StopPart
from ml.fitted import Case, Epoch
from ml.lessons import lesson
from ml.series import RawChannels
from ml.spec import ModelSpec
from ml.trainer import prepare

#: Members trained one after another.
ALONE = 4


class Nobody:
    """A watcher that lets everything go on."""

    def epoch(self, _: int, epoch: Epoch) -> bool:
        return epoch.number <= epoch.epochs

    def alive(self) -> None: ...


def main() -> None:
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("No CUDA card here. --device cpu checks the program, and says nothing about speed.")
    print(f"{'hidden':>8}{'members':>9}{'alone, models/min':>20}{'cohort, models/min':>20}{'ratio':>8}")
    for hidden in options.hidden:
        spec = ModelSpec(targets=("value",), window=50, horizon=12, hidden_size=hidden, epochs=options.epochs, patience=options.epochs)
        cases = list(_cases(max(options.members), options.rows, spec))
        _one_by_one(cases[:1], options.device)  # loads what is loaded once
        alone = 60 / statistics.median(_one_by_one(cases[:ALONE], options.device))
        for members in options.members:
            cohort = 60 * members / _as_one(cases[:members], options.device)
            print(f"{hidden:>8}{members:>9}{alone:>20.1f}{cohort:>20.1f}{cohort / alone:>8.1f}", flush=True)


def _one_by_one(cases: list[Case], device: str) -> list[float]:
    """Seconds of each."""
    return [_timed(partial(_learn, case, device), device) for case in cases]


def _learn(case: Case, device: str) -> None:
    Course(case.spec, lesson(case, device), [StopPart(case)], Nobody(), device).finish(0)


def _as_one(cases: list[Case], device: str) -> float:
    return _timed(lambda: list(learn_together(cases, Nobody(), device)), device)


def _timed(work: Callable[[], object], device: str) -> float:
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _cases(number: int, rows: int, spec: ModelSpec) -> Iterator[Case]:
    for seed in range(number):
        yield prepare(f"generated {seed}", _series(seed, rows), spec.override({"seed": seed}))


def _series(seed: int, rows: int) -> RawChannels:
    random = np.random.default_rng(seed)
    drift = pd.Series(random.standard_normal(rows)).ewm(halflife=20).mean().to_numpy() * 4
    level = 40 + 8 * (np.arange(rows) > rows * 0.4) - 5 * (np.arange(rows) > rows * 0.85)
    values = level + 5 * np.sin(2 * np.pi * np.arange(rows) / 288) + drift + 0.4 * random.standard_normal(rows)
    return {"value": (np.datetime64("2026-01-01", "ms") + np.arange(rows) * np.timedelta64(300_000, "ms"), values)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--members", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rows", type=int, default=4_032)
    parser.add_argument("--epochs", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
