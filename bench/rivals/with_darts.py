"""Darts' BlockRNNModel as an LSTM with reversible instance normalisation, standardised series, early stopping, its best weights."""

from __future__ import annotations

import logging
import tempfile

import numpy as np
from darts import TimeSeries  # type: ignore[import-not-found]
from darts.models import BlockRNNModel  # type: ignore[import-not-found]
from pytorch_lightning.callbacks import EarlyStopping  # type: ignore[import-not-found]

from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Floats, Task

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def forecasts(_: str, task: Task, watch: Stopwatch) -> Floats:
    """(N, H)."""
    with tempfile.TemporaryDirectory() as folder:
        with watch:
            seen = task.values[: task.fit_until]
            center, scale = seen.mean(), seen.std() or 1.0
            scaled = ((task.values - center) / scale).astype(np.float32)
            model = _model(task, folder)
            # The rows held back are preceded by one window, so that all of them are forecast.
            held = scaled[max(0, task.fit_until - task.window) : task.test_from]
            model.fit(_series(scaled[: task.fit_until]), val_series=_series(held))
            model = BlockRNNModel.load_from_checkpoint("bench", work_dir=folder, best=True)
        asked = [_series(scaled[row + 1 - task.window : row + 1]) for row in task.origins]
        found = model.predict(task.horizon, series=asked, batch_size=1_024, verbose=False, show_warnings=False)
    said = np.stack([each.values()[:, 0] for each in found]).astype(np.float64)
    return np.asarray(said * scale + center)


def _model(task: Task, folder: str) -> BlockRNNModel:
    stopping = EarlyStopping(monitor="val_loss", patience=task.patience)
    return BlockRNNModel(
        input_chunk_length=task.window,
        output_chunk_length=task.horizon,
        model="LSTM",
        hidden_dim=task.hidden_size,
        n_rnn_layers=task.num_layers,
        dropout=task.dropout,
        use_reversible_instance_norm=True,
        n_epochs=task.epochs,
        batch_size=32,
        random_state=0,
        save_checkpoints=True,
        model_name="bench",
        work_dir=folder,
        pl_trainer_kwargs={"accelerator": "cpu", "callbacks": [stopping], "enable_progress_bar": False, "enable_model_summary": False},
    )


def _series(values: Floats) -> TimeSeries:
    return TimeSeries.from_values(values)
