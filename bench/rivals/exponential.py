"""statsforecast's AutoETS and AutoTheta: chosen and fitted once on the rows before the test part, then carried over each origin.

The form and its parameters stay; level, trend and season are brought up to the origin (`forward`).
"""

from __future__ import annotations

import numpy as np
from statsforecast.models import AutoETS, AutoTheta  # type: ignore[import-not-found]

from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Floats, Task

#: Longest season an exponential smoothing holds in statsforecast: above it AutoETS spends a minute to find that it has none.
LONGEST_SEASON = 24
MODELS = {"autoets": AutoETS, "autotheta": AutoTheta}
#: Rows that AutoTheta is carried over: over all of a long history each origin takes up to half a second. AutoETS is carried over all.
CARRIED = {"autoets": 10**9, "autotheta": 1_500}


def forecasts(name: str, task: Task, watch: Stopwatch) -> Floats:
    """(N, H)."""
    season = task.season if name == "autotheta" or task.season <= LONGEST_SEASON else 1
    with watch:
        model = MODELS[name](season_length=season).fit(task.values[: task.test_from])
    starts = np.maximum(0, task.origins + 1 - CARRIED[name])
    stretches = (task.values[start : row + 1] for start, row in zip(starts, task.origins, strict=True))
    return np.stack([model.forward(y=stretch, h=task.horizon)["mean"] for stretch in stretches]).astype(np.float64)
