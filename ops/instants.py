"""What a column of times means: Unix times of any unit, dates as numbers, and texts in the forms that people write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ops.files import FrameError

Unit = Literal["s", "ms", "us", "ns"]

#: The largest Unix time of each unit, whose smallest is that of the unit before: 1973 to 5138 in seconds, and so on.
UNITS: Mapping[Unit, float] = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": 1e20}
OLDEST = 1e8
#: What the API takes in as well.
YEARS = (1900, 2199)


def instants(column: pd.Series) -> pd.Series:
    """Instants in UTC; those without an offset are taken as UTC. Numbers are Unix times, or dates like 20130131."""
    absent = int(column.isna().sum())
    if absent:
        raise FrameError(f"{absent} rows have no time in column {column.name!r}; fill or remove them.")
    try:
        times = _from_numbers(column) if is_numeric_dtype(column) else _from_text(column)
    except (ValueError, TypeError) as error:
        hint = "Write times like 2013-01-31T05:00:00Z, or as Unix seconds"
        raise FrameError(f"column {column.name!r} does not hold times: {str(error).splitlines()[0]} {hint}.") from error
    outside = column[(times.dt.year < YEARS[0]) | (times.dt.year > YEARS[1])]
    if len(outside):
        raise FrameError(f"column {column.name!r} leaves the years {YEARS[0]} to {YEARS[1]}: {outside.iloc[0]}.")
    return times


def _from_numbers(column: pd.Series) -> pd.Series:
    if is_bool_dtype(column):
        raise ValueError("it holds true and false.")
    low, high = float(column.min()), float(column.max())
    if low >= 19_000_101 and high <= 21_991_231:
        return pd.to_datetime(column.astype("int64").astype(str), format="%Y%m%d", utc=True)
    if high < OLDEST:
        raise ValueError(f"its numbers, up to {high:g}, are too small for Unix times.")
    unit: Unit = next((unit for unit, limit in UNITS.items() if high < limit), "ns")
    return pd.to_datetime(column, unit=unit, utc=True)


def _from_text(column: pd.Series) -> pd.Series:
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError):
        text = column.astype(str)
        return pd.to_datetime(text, utc=True, format="mixed", dayfirst=_day_first(text))


def _day_first(column: pd.Series) -> bool:
    """Whether 31/01/2013 is how dates are written here. ValueError where it could be either."""
    found = column.str.extract(r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}").dropna().astype(int)
    if found.empty:
        return False
    first, second = bool((found[0] > 12).any()), bool((found[1] > 12).any())
    if first == second:
        raise ValueError(f"in {column.iloc[0]!r} the day may come before the month or after it.")
    return first


def are_plain(column: pd.Series) -> bool:
    """Whether each time says by itself what it means: numbers, moments, and text in the form of ISO 8601."""
    if is_numeric_dtype(column) or column.dtype.kind == "M":
        return True
    try:
        pd.to_datetime(column.dropna(), utc=True, format="ISO8601")
    except (ValueError, TypeError):
        return False
    return True
