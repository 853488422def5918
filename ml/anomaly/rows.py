"""The watch's ear: raw points of several channels, none of which leads, laid on one grid that stays where it is when more rows come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.anomaly.spec import LEAST_ROWS, DetectorSpec
from ml.cleaning import IMPLAUSIBLE
from ml.errors import FeatureMissing, InsufficientData, UnusableData
from ml.grid import regularise
from ml.requirement import Requirement
from ml.series import Bools, Notice, RawChannels, Series, Times, notice
from ml.spec import ModelSpec

#: The clock all channels are laid by; no channel of a caller's has this name.
CLOCK = "\x00clock"
#: Most cells, rows times channels, that are looked through at once: some 340 bytes for each are held at the peak (measured with 400,000).
MOST_CELLS = 4_000_000


def present(raw: RawChannels, channels: Sequence[str]) -> tuple[tuple[str, ...], list[Notice]]:
    """The channels that have a usable row, and what is said of the others. Raises FeatureMissing when there is none."""
    there = tuple(name for name in channels if name in raw and _usable(raw, name).any())
    absent = [name for name in channels if name not in there]
    if not there:
        names = sorted(raw)
        detail = f"No rows of {', '.join(absent)}; there are {', '.join(names) or 'no channels'}."
        raise FeatureMissing(detail, channels=absent, available=names)
    return there, [notice("channel_absent", f"{name} has no usable row: it is not watched.", channel=name) for name in absent]


def require_all(raw: RawChannels, channels: Sequence[str]) -> None:
    """Raises FeatureMissing naming the channels without a usable row."""
    there, _ = present(raw, channels)
    absent = [name for name in channels if name not in there]
    if absent:
        detail = f"No usable row of {', '.join(absent)}, which the detector learned from; there are {', '.join(there)}."
        raise FeatureMissing(detail, channels=absent, available=list(there))


def beat(entity: str, raw: RawChannels, channels: Sequence[str], spec: DetectorSpec) -> tuple[np.datetime64, np.timedelta64]:
    """A moment of the grid and its step, from the channel with most rows. Raises InsufficientData (one row tells no cadence)."""
    rows = {name: int(_usable(raw, name).sum()) for name in channels}
    densest = max(channels, key=rows.__getitem__)
    if rows[densest] < 2:
        raise InsufficientData([Requirement(f"{densest}.rows", rows[densest], LEAST_ROWS, "row", False)])
    asked = ModelSpec(targets=(densest,), fill_limit=spec.fill_limit, cadence_s=spec.cadence_s)
    series, _ = regularise(entity, raw, asked)
    return series.start, series.step


def lay(
    entity: str, raw: RawChannels, channels: tuple[str, ...], fill_limit: int, anchor: np.datetime64, step: np.timedelta64
) -> tuple[Series, list[Notice]]:
    """All channels on the grid through `anchor`, from the first row of any to the last of any.

    Where a row falls does not depend on the rows after it. The one exception is a clock that said 1970: rows parted from the bulk
    by a hole ten times as long as all of them are dropped. Raises UnusableData where the grid would be too wide.
    """
    cells = np.unique(np.concatenate([_cells(raw, name, anchor, step) for name in channels]))
    clock = {CLOCK: (anchor + cells * step, np.ones(len(cells)))}
    spec = ModelSpec(targets=(CLOCK,), covariates=channels, fill_limit=fill_limit, cadence_s=float(step / np.timedelta64(1, "ms")) / 1000)
    series, notices = regularise(entity, {**raw, **clock}, spec)
    _require_bounded(series, channels)
    return series, [found for found in notices if found.get("channel") != CLOCK]


def _require_bounded(series: Series, channels: Sequence[str]) -> None:
    """Few rows can still span a wide grid: seconds now and then over years."""
    if len(series) * len(channels) > MOST_CELLS:
        raise UnusableData(
            f"{len(series)} rows every {series.step_s:g} s of {len(channels)} channels are too many to look through at once (at most "
            f"{MOST_CELLS} values): take a shorter time, fewer channels, or a longer cadence_s."
        )


def _usable(raw: RawChannels, name: str) -> Bools:
    times, values = raw[name]
    numbers = np.asarray(values, dtype=np.float64)
    return np.isfinite(numbers) & (np.abs(np.nan_to_num(numbers)) <= IMPLAUSIBLE) & ~np.isnat(_stamps(times))


def _cells(raw: RawChannels, name: str, anchor: np.datetime64, step: np.timedelta64) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    stamps = _stamps(raw[name][0])[_usable(raw, name)]
    return np.asarray((stamps - anchor + step // 2) // step, dtype=np.int64)


def _stamps(times: object) -> Times:
    return np.asarray(times).astype("datetime64[ms]")
