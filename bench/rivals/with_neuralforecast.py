"""NeuralForecast's LSTM at its defaults (absolute loss, Adam at 1e-3, 1,000 updates, windows scaled by median), early stopping."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast  # type: ignore[import-not-found]
from neuralforecast.models import LSTM  # type: ignore[import-not-found]

from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Floats, Task

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
#: Updates between two looks at the rows held back, and looks without a better loss that end a training.
LOOK_EVERY, PATIENCE = 50, 5


def forecasts(_: str, task: Task, watch: Stopwatch) -> Floats:
    """(N, H)."""
    with watch:
        library = NeuralForecast(models=[_model(task)], freq=1)
        seen = pd.DataFrame({"unique_id": 0, "ds": np.arange(task.test_from), "y": task.values[: task.test_from]})
        library.fit(seen, val_size=task.test_from - task.fit_until)
    # Each window is a series of its own, so that all origins are answered in one call.
    windows = task.windows(task.origins)  # (N, W)
    number, length = windows.shape
    names, steps = np.repeat(np.arange(number), length), np.tile(np.arange(length), number)
    asked = pd.DataFrame({"unique_id": names, "ds": steps, "y": windows.ravel()})
    found = library.predict(asked).sort_values(["unique_id", "ds"])
    said: Floats = found["LSTM"].to_numpy(dtype=np.float64).reshape(number, task.horizon)
    return said


def _model(task: Task) -> LSTM:
    return LSTM(
        h=task.horizon,
        input_size=task.window,
        encoder_hidden_size=task.hidden_size,
        encoder_n_layers=task.num_layers,
        encoder_dropout=task.dropout,
        max_steps=task.steps,
        early_stop_patience_steps=PATIENCE,
        val_check_steps=min(LOOK_EVERY, task.steps),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
