"""Frames: in long or wide, out with moments and channels; and a word on what is missing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fleetcast_client import FleetcastError, forecast_frame, frames
from fleetcast_client.answers.forecasts import Forecast
from fleetcast_client.http import encoded

AT = pd.DatetimeIndex(["2026-01-01T06:00Z", "2026-01-02T06:00Z"])
ROWS = [{"at": "2026-01-01T06:00:00+00:00", "rhr": 57.0, "hrv": 41.0}, {"at": "2026-01-02T06:00:00+00:00", "hrv": 42.0}]
WIDE = pd.DataFrame({"rhr": [57.0, np.nan], "hrv": [41.0, 42.0]}, index=AT)


@pytest.mark.parametrize(
    "frame",
    [WIDE, WIDE.rename_axis("at").reset_index(), pd.concat([WIDE, pd.DataFrame(index=pd.DatetimeIndex(["2026-01-03T06:00Z"]))])],
    ids=["an index", "a column", "a row without a value"],
)
def test_a_wide_frame_is_a_row_for_each_moment(frame: pd.DataFrame) -> None:
    assert list(frames.rows(frame)) == ROWS


def test_a_long_frame_is_a_row_for_each_value() -> None:
    frame = pd.DataFrame({"at": [*AT, AT[0]], "channel": ["rhr", "rhr", "hrv"], "value": [57, np.nan, 41]})
    told = [(row["at"][:10], row["channel"], row["value"]) for row in frames.rows(frame)]
    assert told == [("2026-01-01", "rhr", 57.0), ("2026-01-01", "hrv", 41.0)]


def test_moments_without_a_zone_go_as_they_are_and_numbers_of_numpy_as_numbers() -> None:
    frame = pd.DataFrame({"steps": np.array([3], dtype="int32")}, index=pd.DatetimeIndex(["2026-01-01T06:00"]))
    assert [encoded(row) for row in frames.rows(frame)] == [b'{"at": "2026-01-01T06:00:00", "steps": 3}']


def test_a_frame_without_moments_is_told_what_it_lacks() -> None:
    with pytest.raises(FleetcastError, match="0 is no moment: give the frame an index of moments, or a column `at`"):
        list(frames.rows(pd.DataFrame({"rhr": [57]})))


def test_what_comes_back_is_wide() -> None:
    csv = "at,channel,value\n2026-01-01T06:00:00Z,hrv,41\n2026-01-01T06:00:00Z,rhr,57\n2026-01-02T06:00:00Z,hrv,42\n"
    pd.testing.assert_frame_equal(frames.wide(csv)[["rhr", "hrv"]], WIDE, check_names=False, check_freq=False, check_index_type=False)


def test_a_forecast_is_a_frame_of_its_points() -> None:
    points = [{"at": f"2026-01-0{n}T00:00:00Z", "value": 58.0 + n, "lower": 55.0, "upper": 61.0} for n in (1, 2)]
    frame = forecast_frame(Forecast.read({"points": points}))
    assert frame.loc[datetime(2026, 1, 2, tzinfo=UTC)].to_dict() == {"value": 60.0, "lower": 55.0, "upper": 61.0}
    assert str(frame.index.tz) == "UTC"  # type: ignore[attr-defined]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert not frames.is_frame([])
    with pytest.raises(FleetcastError, match=r"pip install 'fleetcast-client\[frames\]'"):
        forecast_frame(any_forecast())


def any_forecast() -> Any:
    return Forecast.read({"points": []})
