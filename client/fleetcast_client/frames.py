"""Frames: observations and forecasts as pandas has them, which is imported when it is needed: `fleetcast-client[frames]`."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from fleetcast_client.errors import FleetcastError

if TYPE_CHECKING:
    import pandas as pd

    from fleetcast_client.answers.forecasts import Baseline

_LONG = {"at", "channel", "value"}


def is_frame(rows: Any) -> TypeGuard[pd.DataFrame]:
    """Whether this is a frame; where pandas was never imported nothing is."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def rows(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    """The frame's rows as they are sent; a cell without a value is no value. Raises FleetcastError where no moments can be found."""
    if set(frame.columns) >= _LONG:
        told = zip(frame["at"], frame["channel"], frame["value"], strict=True)
        return ({"channel": channel, "at": _moment(at), "value": value} for at, channel, value in told if value == value)
    wide = frame.set_index("at") if "at" in frame.columns else frame
    return _of_wide(wide)


def _of_wide(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    channels = [str(name) for name in frame.columns]
    for at, *values in frame.itertuples(name=None):
        told = {name: value for name, value in zip(channels, values, strict=True) if value == value}
        if told:
            yield {"at": _moment(at), **told}


def _moment(at: Any) -> str:
    if isinstance(at, str):
        return at
    if not hasattr(at, "isoformat"):
        raise FleetcastError(f"{at!r} is no moment: give the frame an index of moments, or a column `at`.")
    told: str = at.isoformat()
    return told


def wide(csv: str) -> pd.DataFrame:
    """From `at,channel,value` to an index of moments and a column for each channel."""
    pandas = _pandas()
    long: pd.DataFrame = pandas.read_csv(io.StringIO(csv), parse_dates=["at"], dtype={"channel": str, "value": float})
    return long.pivot(index="at", columns="channel", values="value").rename_axis(columns=None)


def forecast(told: Baseline) -> pd.DataFrame:
    """The points of a forecast: an index of moments (UTC), and `value`, `lower` and `upper`."""
    pandas = _pandas()
    columns = {name: [getattr(point, name) for point in told.points] for name in ("value", "lower", "upper")}
    frame: pd.DataFrame = pandas.DataFrame(columns, index=pandas.DatetimeIndex([point.at for point in told.points], name="at"))
    return frame


def _pandas() -> types.ModuleType:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise FleetcastError("Frames need pandas: pip install 'fleetcast-client[frames]'.") from error
    return pandas
