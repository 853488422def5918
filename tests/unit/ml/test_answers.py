"""The origins by which forecasts are judged: enough of them, everywhere, and at every phase of the season."""

from __future__ import annotations

import numpy as np
import pytest

from ml.answers import JUDGED, judged_of, origins_of
from ml.fitted import Case
from ml.trainer import prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY


def held_of(rows: int, horizon: int) -> tuple[Case, slice]:
    case = prepare("one", series.seasonal(rows), HOURLY.override({"horizon": horizon}))
    return case, slice(case.parts.stop.start, case.parts.test.stop)


@pytest.mark.parametrize(("rows", "horizon"), [(300, 12), (4_000, 12), (12_000, 1), (12_000, 3)])
def test_few_origins_and_few_steps_are_judged_by_all(rows: int, horizon: int) -> None:
    case, held = held_of(rows, horizon)
    assert judged_of(case, held).rows.tolist() == origins_of(case, held).rows.tolist()


def test_a_long_hole_leaves_none_out_where_few_can_be_forecast() -> None:
    (stamps, values) = series.seasonal(9_000)["value"]
    holed = np.where((np.arange(9_000) > 3_000) & (np.arange(9_000) < 8_000), np.nan, values)
    case = prepare("one", {"value": (stamps, holed)}, HOURLY.override({"horizon": 12}))
    held = slice(case.parts.stop.start, case.parts.test.stop)
    assert held.stop - held.start > 5_000, "rows of the grid, most of them in the hole"
    assert judged_of(case, held).rows.tolist() == origins_of(case, held).rows.tolist()


@pytest.mark.parametrize(("rows", "horizon"), [(9_000, 12), (18_000, 24), (60_000, 168), (20_000, 7)])
def test_of_thousands_each_row_is_still_forecast_from_several(rows: int, horizon: int) -> None:
    case, held = held_of(rows, horizon)
    found, every = judged_of(case, held), origins_of(case, held)
    assert JUDGED * 0.9 < len(found) < len(every)
    times = np.bincount((found.rows[:, None] + 1 + np.arange(horizon))[found.counted[:, 0]] - held.start, minlength=held.stop - held.start)
    assert times[1:-1].min() >= 1
    assert np.median(times) >= 3


@pytest.mark.parametrize("rows", [9_000, 18_000, 40_000])
def test_every_hour_of_the_day_is_among_them_equally_often(rows: int) -> None:
    case, held = held_of(rows, 24)
    hours = np.bincount(judged_of(case, held).rows % 24, minlength=24)
    assert hours.min() > 0.8 * hours.mean()


def test_a_part_is_judged_by_the_same_origins_alone_and_among_others() -> None:
    case, held = held_of(9_000, 12)
    among = set(judged_of(case, held).rows.tolist())
    for part in (case.parts.stop, case.parts.calibrate, case.parts.test):
        assert set(judged_of(case, part).rows.tolist()) <= among
