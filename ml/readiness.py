"""Is there enough data? Requirements as values, judged from counts alone; imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ml.errors import UnusableData
from ml.requirement import Requirement
from ml.spec import ModelSpec
from ml.stamps import stamp


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the memory holds of one channel."""

    rows: int
    #: Distinct UTC days with at least one row.
    days: int
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """One data requirement of a recipe.

    `of`: the target, or the covariates that belong to `group`. `measure`: rows, days, or coverage (share of the target's days, 0 to 1).
    """

    name: str
    of: Literal["target", "covariates"]
    measure: Literal["rows", "days", "coverage"]
    minimum: float
    #: Covariates this need speaks of; empty means all of them. The need is dropped when none of them is an input.
    group: tuple[str, ...] = ()


def assess(spec: ModelSpec, needs: Sequence[Need], coverage: Mapping[str, Coverage], *, now: datetime) -> list[Requirement]:
    """Measure every need. Always includes the least that the windows themselves ask for: one window, one horizon, and origins to split."""
    found = [_measure(need, channel, coverage, now) for need in needs for channel in _channels(need, spec)]
    rows = min(coverage.get(target, Coverage(0, 0)).rows for target in spec.targets)
    least = least_rows(spec)
    return [*found, Requirement("window_rows", rows, least, "row", rows >= least)]


def least_rows(spec: ModelSpec) -> int:
    """Rows below which the parts cannot do their work: with the default split, rows enough before the calibrate part to forecast it at
    every step, and a few to learn from (see ml.windows)."""
    return spec.horizon + spec.horizon // 2 + 10


def backtest_rows(spec: ModelSpec, folds: int) -> int:
    """Rows below which a backtest has none to begin with, or a fold without a whole horizon to forecast."""
    return least_rows(spec) + folds * spec.horizon


def nothing_to_forecast(target: str, data_until: datetime) -> UnusableData:
    """No row that a version trained on rows until then can be tried on."""
    until = stamp(data_until)
    detail = (
        f"No row of {target} in that span can be forecast. The version was trained on rows until {until}: send newer ones, or name an "
        "earlier `from`; rows that its training had are then told apart."
    )
    need = Requirement(f"{target}.rows_to_forecast", 0, 1, "row", met=False)
    return UnusableData(detail, requirements=[need.as_dict()])


def _channels(need: Need, spec: ModelSpec) -> list[str]:
    if need.of == "target":
        return list(spec.targets)
    return [c for c in spec.covariates if not need.group or c in need.group]


def _measure(need: Need, channel: str, coverage: Mapping[str, Coverage], now: datetime) -> Requirement:
    held = coverage.get(channel, Coverage(0, 0))
    name = f"{channel}.{need.name}"
    if need.measure == "coverage":
        days = max((c.days for c in coverage.values()), default=0)
        share = round(held.days / days, 3) if days else 0.0
        return Requirement(name, share, need.minimum, "share", share >= need.minimum)
    have = held.rows if need.measure == "rows" else held.days
    met = have >= need.minimum
    eta = None if met else _eta(held, have, need.minimum, now)
    return Requirement(name, have, need.minimum, need.measure.removesuffix("s"), met, eta)


def _eta(held: Coverage, have: int, need: float, now: datetime) -> str | None:
    """Extrapolate the pace so far; unknowable with fewer than two rows."""
    if held.first is None or held.last is None or have < 2 or held.last <= held.first:
        return None
    pace = (held.last - held.first) / (have - 1)
    return (max(now, held.last) + timedelta(seconds=pace.total_seconds() * (need - have))).date().isoformat()
