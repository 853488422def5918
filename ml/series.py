"""The mind's ear: raw points of an entity become one regular grid, with what was wrong with them written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import FeatureMissing, InsufficientData, UnusableData
from ml.readiness import least_rows
from ml.requirement import Requirement
from ml.spec import ModelSpec, Split

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Times = npt.NDArray[np.datetime64]
Rows = npt.NDArray[np.int64]

#: channel -> (datetime64[ms] UTC, float64); any order, duplicates possible.
RawChannels = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
#: One thing a client should know about the data or the model: `code`, `detail`, and the numbers behind them. JSON.
Notice = dict[str, Any]

#: Magnitude above which a value is a sentinel or a fault (float32's largest is 3.4e38) and no measurement; its square still fits a float64.
IMPLAUSIBLE = 1e30
SHORTEST_STEP_MS = 1_000
#: Units a jittered cadence is taken to be a multiple of, the greatest that fits.
ROUND_MS = (3_600_000, 900_000, 300_000, 60_000, 10_000, 5_000, 1_000)
#: Longest grid: half a year of seconds, fifty years of five minutes.
MOST_ROWS = 16_000_000
LONGEST_STEP_MS = 31 * 86_400_000
#: Calendar months come 28 to 31 days apart. Laid on a grid of the mean Gregorian month, none is further than three days from its cell.
SHORTEST_MONTH_MS, MONTH_MS = 28 * 86_400_000, 2_629_746_000
#: Share of grid rows below which a channel's gaps are worth a notice.
COMPLETE = 0.98


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


def regularise(entity: str, raw: RawChannels, spec: ModelSpec) -> tuple[Series, list[Notice]]:
    """Lay the channels of `spec.inputs` on one grid of the cadence, which the first target sets; the others follow it.

    Rows are sorted, duplicates keep the last, jitter is snapped to the grid, gaps are filled forward up to `spec.fill_limit` rows.
    Raises FeatureMissing (a channel has no usable row), InsufficientData (fewer than two target rows), UnusableData (cadence out of range).
    """
    notices: list[Notice] = []
    _require(raw, spec)
    clean = {name: _clean(name, *raw[name], notices) for name in spec.channels}
    target = spec.targets[0]
    clean |= {name: _counting(name, clean, spec, notices) for name in spec.targets}
    _require_rows(target, clean, spec)
    clean[target] = _without_strays(target, *clean[target], _step_ms(clean[target][0], spec), notices)
    step = _step_ms(clean[target][0], spec)
    start, length = _grid(clean[target][0], step)
    reach = {name: length + (spec.horizon if name in spec.future_covariates else 0) for name in spec.inputs}
    whole = {name: _lay(*clean[name], start, step, cells) for name, cells in reach.items()}
    laid = {name: cells[:length] for name, cells in whole.items()}
    notices += _snapped(clean[target][0], start, step, laid[target])
    notices += [found for name, cells in laid.items() for found in _gaps(name, cells, spec.fill_limit)]
    return (
        Series(
            entity,
            np.datetime64(start, "ms"),
            np.timedelta64(step, "ms"),
            {name: fill_forward(cells, spec.fill_limit) for name, cells in laid.items()},
            {name: np.isfinite(cells) for name, cells in laid.items()},
            {name: whole[name][length:] for name in spec.future_covariates},
        ),
        notices,
    )


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


def _require(raw: RawChannels, spec: ModelSpec) -> None:
    absent = [name for name in spec.channels if name not in raw]
    if absent:
        there = sorted(raw)
        raise FeatureMissing(
            f"No rows of {', '.join(absent)}; there are {', '.join(there) or 'no channels'}.", channels=absent, available=there
        )


def _require_rows(target: str, clean: Mapping[str, tuple[Rows, Floats]], spec: ModelSpec) -> None:
    rows = len(clean[target][0])
    # One row tells no cadence.
    if rows < (1 if spec.cadence_s else 2):
        raise InsufficientData([Requirement(f"{target}.rows", rows, least_rows(spec), "row", False)])
    empty = [name for name in spec.inputs if not len(clean[name][0])]
    if empty:
        raise FeatureMissing(f"No usable value of {', '.join(empty)}.", channels=empty, available=[n for n in clean if n not in empty])


def _clean(name: str, times: npt.NDArray[Any], values: npt.NDArray[Any], notices: list[Notice]) -> tuple[Rows, Floats]:
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


def _counting(name: str, clean: Mapping[str, tuple[Rows, Floats]], spec: ModelSpec, notices: list[Notice]) -> tuple[Rows, Floats]:
    """A target's rows without those that say nothing: not available then, or not above 0 where that is no value."""
    stamps, numbers = clean[name]
    counting = numbers > 0 if spec.positive else np.ones(len(numbers), dtype=np.bool_)
    if spec.available is not None:
        counting &= ~_told_gone(stamps, *clean[spec.available])
    dropped = int((~counting).sum())
    if dropped and not counting.any():
        why = "not above 0" if spec.available is None else f"not above 0, or {spec.available} is 0 then"
        raise UnusableData(f"None of the {dropped} rows of {name} counts: {why}.", channel=name, rows=dropped)
    if dropped:
        detail = f"{dropped} rows of {name} do not count (not available, or not above 0): dropped."
        notices.append(notice("rows_dropped", detail, channel=name, rows=dropped))
    return stamps[counting], numbers[counting]


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


def _step_ms(stamps: Rows, spec: ModelSpec) -> int:
    """The asked cadence, else the one most rows keep, else the median difference refined."""
    if spec.cadence_s is not None:
        return round(spec.cadence_s * 1000)
    apart = np.diff(stamps)
    median = float(np.median(apart))
    if SHORTEST_MONTH_MS <= median <= LONGEST_STEP_MS and np.ptp(apart):
        return MONTH_MS
    step = round(median) if (apart == median).mean() >= 0.5 else _refined(apart, median)
    if step > LONGEST_STEP_MS:
        raise UnusableData(f"Rows come every {step / 86_400_000:.1f} days; the longest cadence is a month.", cadence_s=step / 1000)
    return max(step, SHORTEST_STEP_MS)


def _refined(apart: Rows, median: float) -> int:
    """Time passed over steps counted, taken to a round number of seconds within half a percent: a drift of a second a row adds up."""
    steps = np.round(apart / median)
    near = (steps >= 1) & (steps <= 3)
    step = float(apart[near].sum() / steps[near].sum())
    rounded = (unit * max(1, round(step / unit)) for unit in ROUND_MS)
    return next((found for found in rounded if abs(found - step) <= 0.005 * step), round(step))


def _without_strays(name: str, stamps: Rows, numbers: Floats, step: int, notices: list[Notice]) -> tuple[Rows, Floats]:
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


def _grid(stamps: Rows, step: int) -> tuple[int, int]:
    """First cell in ms and number of cells. The grid runs through the middle of the jitter, not through the first row by chance."""
    offsets = (stamps - stamps[0] + step // 2) % step - step // 2
    start = int(stamps[0] + round(float(np.median(offsets))))
    length = int((stamps[-1] - start + step // 2) // step) + 1
    if length > MOST_ROWS:
        raise UnusableData(
            f"{len(stamps)} rows at {step / 1000:g} s spread over {length} cells; at most {MOST_ROWS}.", cadence_s=step / 1000
        )
    return start, length


def _lay(stamps: Rows, numbers: Floats, start: int, step: int, length: int) -> Floats:
    """(T,) NaN where no row fell. Of several rows in one cell the last stays: numpy assigns in order."""
    cells = (stamps - start + step // 2) // step
    inside = (cells >= 0) & (cells < length)
    laid = np.full(length, np.nan)
    laid[cells[inside]] = numbers[inside]
    return laid


def _snapped(stamps: Rows, start: int, step: int, laid: Floats) -> list[Notice]:
    """What snapping the target's rows to the grid did, when it did anything a client should know."""
    offsets = np.abs((stamps - start + step // 2) % step - step // 2)
    moved = int((offsets > 0.05 * step).sum())
    merged = len(stamps) - int(np.isfinite(laid).sum())
    found = []
    if moved:
        found.append(notice("irregular", f"{moved} rows were moved to the {step / 1000:g} s grid.", rows=moved, cadence_s=step / 1000))
    if merged > 0:
        found.append(notice("merged_rows", f"{merged} rows fell into a cell already taken: the last was kept.", rows=merged))
    return found


def _gaps(name: str, cells: Floats, limit: int) -> list[Notice]:
    known = np.isfinite(cells)
    share = float(known.mean())
    edges = np.flatnonzero(np.concatenate([[True], known, [True]]))
    longest = int(np.diff(edges).max()) - 1
    if share >= COMPLETE and longest <= limit:
        return []
    detail = f"{name} has {share:.1%} of its rows; the longest gap is {longest} row{'s' * (longest > 1)}."
    return [notice("gaps", detail, channel=name, completeness=round(share, 4), missing_rows=int((~known).sum()), longest_gap=longest)]
