"""The guests' own door, run by their environment's Python: it reads questions, lets one rival learn and forecast, and writes the answers.

    python -m bench.rivals.runner textbook|darts|neuralforecast|autoets|autotheta FOLDER

FOLDER holds 0.npz, 1.npz, …; each gets an N.answer.npz beside it and a line `answered N` on standard output. Knows nothing of ours.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Floats, Task

#: Loaded by name, so that one library's faults are not another's.
MODULES = {
    "textbook": "bench.rivals.textbook",
    "darts": "bench.rivals.with_darts",
    "neuralforecast": "bench.rivals.with_neuralforecast",
    "autoets": "bench.rivals.exponential",
    "autotheta": "bench.rivals.exponential",
}


class Rival(Protocol):
    def __call__(self, name: str, task: Task, watch: Stopwatch) -> Floats: ...


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    rival: Rival = importlib.import_module(MODULES[name]).forecasts
    for number, file in enumerate(sorted(folder.glob("[0-9]*.npz"), key=lambda file: int(file.stem))):
        task = Task.read(file)
        if not number:
            # What a library loads or compiles at its first training is nobody's time.
            rival(name, replace(task.shortened(), epochs=1, steps=2), Stopwatch())
        watch = Stopwatch()
        said = rival(name, task, watch)
        np.savez(folder / f"{number}.answer.npz", allow_pickle=False, said=said, seconds=watch.seconds, cpu_seconds=watch.cpu_seconds)
        print(f"answered {number}", flush=True)


if __name__ == "__main__":
    main()
