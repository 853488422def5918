"""The mind's memory of one entity: its channels on a regular grid, and the parts into which training cuts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.spec import Split

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Times = npt.NDArray[np.datetime64]
Rows = npt.NDArray[np.int64]

#: channel -> (datetime64[ms] UTC, float64); any order, duplicates possible.
RawChannels = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
#: One thing a client should know about the data or the model: `code`, `detail`, and the numbers behind them. JSON.
Notice = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One entity on a regular grid, from its first target row to its last."""

    entity: str
    start: np.datetime64
    step: np.timedelta64
    #: (T,) per channel: real rows, short gaps filled forward, NaN elsewhere.
    channels: dict[str, Floats]
    #: (T,) per channel: True where a real row fell, False where filled or missing.
    observed: dict[str, Bools]
    #: (H,) per known-future covariate: the rows after the last target row, none of them filled.
    ahead: dict[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.channels.values())))

    @property
    def times(self) -> Times:
        """(T,) datetime64[ms], UTC."""
        return self.until(0)

    def until(self, ahead: int) -> Times:
        """(T + ahead,): the same, and so many steps beyond the last row."""
        return self.start + np.arange(len(self) + ahead) * self.step

    @property
    def step_s(self) -> float:
        return float(self.step / np.timedelta64(1, "ms")) / 1000

    def matrix(self, names: tuple[str, ...]) -> Floats:
        """(T, C) in the order of `names`."""
        return np.stack([self.channels[name] for name in names], axis=1)


@dataclass(frozen=True, slots=True)
class Parts:
    """Row ranges of the four parts of a chronological split; they touch, and together are the whole series."""

    fit: slice
    stop: slice
    calibrate: slice
    test: slice


def notice(code: str, detail: str, **numbers: Any) -> Notice:
    return {"code": code, "detail": detail, **numbers}


def moment(stamp: np.datetime64) -> datetime:
    """numpy's UTC instant as an aware datetime."""
    return datetime.fromtimestamp(int(stamp.astype("datetime64[ms]").astype(np.int64)) / 1000, tz=UTC)


def instant(at: datetime) -> np.datetime64:
    """An aware datetime as numpy's UTC instant, to the millisecond."""
    return np.datetime64(round(at.timestamp() * 1000), "ms")


def split(observed: Bools, shares: Split) -> Parts:
    """Cut the rows chronologically, in shares of the OBSERVED target rows, so that a hole of months is not a part. At least one each."""
    rows = np.flatnonzero(observed)
    total = len(rows)
    cuts: list[int] = []
    for left, share in zip((3, 2, 1), np.cumsum([shares.fit, shares.stop, shares.calibrate]), strict=True):
        at_least = cuts[-1] + 1 if cuts else 1
        cuts.append(min(max(round(total * float(share)), at_least), total - left))
    first, second, third = (int(rows[cut]) for cut in cuts)
    return Parts(slice(0, first), slice(first, second), slice(second, third), slice(third, len(observed)))


def fill_forward(values: Floats, limit: int) -> Floats:
    """(T,) with each NaN replaced by the value at most `limit` rows before it."""
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isfinite(values), rows, -1))
    reachable = (last >= 0) & (rows - last <= limit)
    return np.where(reachable, values[np.maximum(last, 0)], np.nan)


def is_flat(values: Floats) -> bool:
    """True when the known values never move by more than the rounding of a float."""
    known = values[np.isfinite(values)]
    return not known.size or float(np.ptp(known)) <= 1e-9 * float(np.abs(known).max())
