"""The mind's ear: raw points of an entity become one regular grid, with what was wrong with them written down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ml.cleaning import clean, counting, without_strays
from ml.errors import FeatureMissing, InsufficientData, UnusableData
from ml.readiness import least_rows
from ml.requirement import Requirement
from ml.series import Floats, Notice, RawChannels, Rows, Series, fill_forward, notice
from ml.spec import ModelSpec

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


def regularise(entity: str, raw: RawChannels, spec: ModelSpec) -> tuple[Series, list[Notice]]:
    """Lay the channels of `spec.inputs` on one grid of the cadence, which the first target sets; the others follow it.

    Rows are sorted, duplicates keep the last, jitter is snapped to the grid, gaps are filled forward up to `spec.fill_limit` rows.
    Raises FeatureMissing (a channel has no usable row), InsufficientData (fewer than two target rows), UnusableData (cadence out of range).
    """
    notices: list[Notice] = []
    _require(raw, spec)
    points = {name: clean(name, *raw[name], notices) for name in spec.channels}
    target = spec.targets[0]
    points |= {name: counting(name, points, spec, notices) for name in spec.targets}
    _require_rows(target, points, spec)
    points[target] = without_strays(target, *points[target], _step_ms(points[target][0], spec), notices)
    step = _step_ms(points[target][0], spec)
    start, length = _grid(points[target][0], step)
    reach = {name: length + (spec.horizon if name in spec.future_covariates else 0) for name in spec.inputs}
    whole = {name: _lay(*points[name], start, step, cells) for name, cells in reach.items()}
    laid = {name: cells[:length] for name, cells in whole.items()}
    notices += _snapped(points[target][0], start, step, laid[target])
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


def _require(raw: RawChannels, spec: ModelSpec) -> None:
    absent = [name for name in spec.channels if name not in raw]
    if absent:
        there = sorted(raw)
        raise FeatureMissing(
            f"No rows of {', '.join(absent)}; there are {', '.join(there) or 'no channels'}.", channels=absent, available=there
        )


def _require_rows(target: str, points: Mapping[str, tuple[Rows, Floats]], spec: ModelSpec) -> None:
    rows = len(points[target][0])
    # One row tells no cadence.
    if rows < (1 if spec.cadence_s else 2):
        raise InsufficientData([Requirement(f"{target}.rows", rows, least_rows(spec), "row", False)])
    empty = [name for name in spec.inputs if not len(points[name][0])]
    if empty:
        raise FeatureMissing(f"No usable value of {', '.join(empty)}.", channels=empty, available=[n for n in points if n not in empty])


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
