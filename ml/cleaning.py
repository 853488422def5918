"""The mind's sieve: raw points of a channel become sorted, distinct, believable ones; what was wrong with them is written down."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import UnusableData
from ml.series import Bools, Floats, Notice, Rows, notice
from ml.spec import ModelSpec

#: Magnitude above which a value is a sentinel or a fault (float32's largest is 3.4e38) and no measurement; its square still fits a float64.
IMPLAUSIBLE = 1e30


def clean(name: str, times: npt.NDArray[Any], values: npt.NDArray[Any], notices: list[Notice]) -> tuple[Rows, Floats]:
    """Sorted, distinct milliseconds and finite values. NaN is a missing value and no news; infinities and sentinels are."""
    stamps = np.asarray(times).astype("datetime64[ms]")
    numbers = np.asarray(values, dtype=np.float64)
    if len(stamps) != len(numbers):
        raise UnusableData(f"{name} has {len(stamps)} timestamps and {len(numbers)} values.", channel=name)
    usable = np.isfinite(numbers) & (np.abs(np.nan_to_num(numbers)) <= IMPLAUSIBLE) & ~np.isnat(stamps)
    faults = int((~usable & ~np.isnan(numbers)).sum())
    if faults:
        notices.append(
            notice("unusable_values", f"{faults} values of {name} are infinite or beyond 1e30: missing.", channel=name, rows=faults)
        )
    return _sorted(name, stamps[usable].astype(np.int64), numbers[usable], notices)


def counting(name: str, channels: Mapping[str, tuple[Rows, Floats]], spec: ModelSpec, notices: list[Notice]) -> tuple[Rows, Floats]:
    """A target's rows without those that say nothing: not available then, or not above 0 where that is no value."""
    stamps, numbers = channels[name]
    counts = numbers > 0 if spec.positive else np.ones(len(numbers), dtype=np.bool_)
    if spec.available is not None:
        counts &= ~_told_gone(stamps, *channels[spec.available])
    dropped = int((~counts).sum())
    if dropped and not counts.any():
        why = "not above 0" if spec.available is None else f"not above 0, or {spec.available} is 0 then"
        raise UnusableData(f"None of the {dropped} rows of {name} counts: {why}.", channel=name, rows=dropped)
    if dropped:
        detail = f"{dropped} rows of {name} do not count (not available, or not above 0): dropped."
        notices.append(notice("rows_dropped", detail, channel=name, rows=dropped))
    return stamps[counts], numbers[counts]


def _told_gone(stamps: Rows, at: Rows, available: Floats) -> Bools:
    """(T,) True where the nearest row of `available`, no further than half a row away, is 0: clocks of two channels differ by a little."""
    if len(stamps) < 2 or not len(at):
        return np.isin(stamps, at[available == 0])
    after = np.searchsorted(at, stamps)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(at) - 1)
    nearest = np.where(np.abs(at[after] - stamps) < np.abs(at[before] - stamps), after, before)
    gone: Bools = (np.abs(at[nearest] - stamps) <= np.median(np.diff(stamps)) / 2) & (available[nearest] == 0)
    return gone


def _sorted(name: str, stamps: Rows, numbers: Floats, notices: list[Notice]) -> tuple[Rows, Floats]:
    backwards = int((np.diff(stamps) < 0).sum())
    order = np.argsort(stamps, kind="stable")
    stamps, numbers = stamps[order], numbers[order]
    last = np.append(np.diff(stamps) > 0, True)[: len(stamps)]
    doubled = int((~last).sum())
    if backwards:
        notices.append(
            notice("out_of_order", f"The clock of {name} runs backwards {backwards} times: sorted.", channel=name, rows=backwards)
        )
    if doubled:
        notices.append(notice("duplicates", f"{doubled} rows of {name} repeat a timestamp: the last was kept.", channel=name, rows=doubled))
    return stamps[last], numbers[last]


def without_strays(name: str, stamps: Rows, numbers: Floats, step: int, notices: list[Notice]) -> tuple[Rows, Floats]:
    """Drop rows parted from the bulk by a hole longer than ten times all rows end to end: a clock that said 1970.

    Without this one such row would stretch the grid over decades of nothing.
    """
    apart = np.diff(stamps)
    usual = max(step, float(np.median(apart))) if len(apart) else step
    holes = np.flatnonzero(apart > 10 * (len(stamps) + 100) * usual) + 1
    if not len(holes):
        return stamps, numbers
    edges = [0, *holes.tolist(), len(stamps)]
    low, high = max(pairwise(edges), key=lambda edge: (edge[1] - edge[0], edge[1]))
    strays = len(stamps) - (high - low)
    notices.append(
        notice("stray_timestamps", f"{strays} rows of {name} lie far from all others in time: dropped.", channel=name, rows=strays)
    )
    return stamps[low:high], numbers[low:high]
