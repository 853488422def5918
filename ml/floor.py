"""The floor: what cannot lie below a value is not forecast below it, in points or intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ml.series import RawChannels
from ml.telling import HISTORY_DAYS, Forecast, Point, percentile


def floored(made: Forecast, floor: float | None, raw: RawChannels) -> Forecast:
    """The forecast on its floor, where the rows that it was made from keep to that; compared with the last 30 days from there."""
    if floor is None or not kept(raw, made.target, floor):
        return made
    points = raised(made.points, floor)
    return made if points == made.points else _compared(replace(made, points=points), raw)


def _compared(made: Forecast, raw: RawChannels) -> Forecast:
    times, values = raw[made.target]
    values = np.asarray(values, dtype=np.float64)
    seen = np.isfinite(values)
    if not seen.any():
        return made
    seen &= times > times[seen][-1] - np.timedelta64(HISTORY_DAYS, "D")
    return replace(made, history=replace(made.history, percentile=percentile(values[seen], made.mean)))


def kept(raw: RawChannels, target: str, floor: float) -> bool:
    """A row that lies lower proves the floor wrong for this entity: an inverter that draws power at night. Nothing is cut there."""
    _, values = raw[target]
    return not (np.asarray(values, dtype=np.float64) < floor).any()


def raised(points: Sequence[Point], floor: float) -> tuple[Point, ...]:
    """Truths never lie below the floor, so no interval covers fewer of them for this."""
    return tuple(replace(p, value=max(p.value, floor), lower=max(p.lower, floor), upper=max(p.upper, floor)) for p in points)
