"""Files of series, in whatever shape people keep them, as one wide frame: entity, at, and a column per channel."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from db.observations import Row

Unit = Literal["s", "ms", "us", "ns"]

#: Names under which files carry whom a row is about, and when, most telling first.
ENTITY_COLUMNS = ("entity", "series", "unique_id", "device_id", "device", "user_id", "user", "sensor_id", "sensor", "variant_id", "id")
TIME_COLUMNS = ("at", "timestamp", "time", "datetime", "date", "ts", "ds")
CHANNEL_COLUMNS = ("channel", "metric", "variable", "field")
#: What pandas calls a column without a name: most often an index that was written along.
NAMELESS = re.compile(r"unnamed: \d+|index|level_\d+", re.IGNORECASE)
READABLE = ".csv, .tsv, .txt (also .gz or .zip), .parquet"
#: The largest Unix time of each unit, whose smallest is that of the unit before: 1973 to 5138 in seconds, and so on.
UNITS: Mapping[Unit, float] = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": 1e20}
OLDEST = 1e8
#: What the API takes in as well.
YEARS = (1900, 2199)
NAME_LENGTH = 200
UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class FrameError(Exception):
    """The file cannot be read as series; the sentence says what is missing."""


@dataclass(frozen=True)
class Columns:
    """Which column says what."""

    time: str
    entity: str | None


def read(path: Path, *, entity: str | None = None, time: str | None = None) -> pd.DataFrame:
    """Columns `entity` (str), `at` (UTC), then one float column per channel. `entity` and `time` name columns that are called otherwise.

    Long files have columns `channel` and `value`; all others are wide. A file without an entity column is one entity, named after the file.
    Of several rows for one moment the last stands, channel by channel. Raises FrameError.
    """
    try:
        return _shaped(_load(path), path, entity, time)
    except FrameError as error:
        raise FrameError(f"{path.name}: {error}") from error


def rows(frame: pd.DataFrame) -> Iterator[tuple[str, Row]]:
    """The frame as observations; missing values are left out."""
    for channel in channels(frame):
        held = frame[["entity", "at", channel]].dropna()
        for name, at, value in zip(held["entity"], held["at"].dt.to_pydatetime(), held[channel], strict=True):
            yield name, Row(channel, at, value)


def channels(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if column not in ("entity", "at")]


def _shaped(raw: pd.DataFrame, path: Path, entity: str | None, time: str | None) -> pd.DataFrame:
    if raw.empty:
        raise FrameError("it holds no rows.")
    raw = raw if entity is not None else raw.drop(columns=_row_numbers(raw))
    columns = _columns(raw, entity, time)
    names = raw[columns.entity] if columns.entity is not None else pd.Series(_stem(path), index=raw.index)
    told = pd.DataFrame({"entity": _names(names), "at": _times(raw[columns.time])})
    measured = raw.drop(columns=[c for c in {columns.time, columns.entity, "entity", "at"} if c in raw.columns])
    return _merged(_wide(told, measured))


def _load(path: Path) -> pd.DataFrame:
    """The file as it is, each column under a clean name."""
    known = [suffix.lower() for suffix in path.suffixes[-2:] if suffix.lower() not in (".gz", ".zip")]
    try:
        match known[-1] if known else "":
            case ".parquet" | ".pq":
                raw = pd.read_parquet(path)
            case ".csv" | ".tsv" | ".txt":
                raw = pd.read_csv(path, sep=_separator(path), low_memory=False, skipinitialspace=True)
            case _:
                raise FrameError(f"its kind is not known; known are {READABLE}.")
    except pd.errors.EmptyDataError:
        raise FrameError("it is empty.") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise FrameError(f"it cannot be read: {str(error).splitlines()[0]}") from error
    if isinstance(raw.index, pd.DatetimeIndex) or any(name is not None for name in raw.index.names):
        raw = raw.rename_axis(index=[str(name or "at") for name in raw.index.names]).reset_index()
    return raw.rename(columns=lambda name: str(name).strip())


def _separator(path: Path) -> str:
    """The one of the usual separators that the first line has most of."""
    first = pd.read_csv(path, sep="\0", header=None, nrows=1, dtype=str, engine="c", quoting=3).iloc[0, 0]
    return max(",;\t|", key=str(first).count)


def _columns(raw: pd.DataFrame, entity: str | None, time: str | None) -> Columns:
    there = ", ".join(raw.columns)
    clock = _column(raw, TIME_COLUMNS if time is None else (time,))
    if clock is None and time is None:
        clock = next((c for c in raw.columns if NAMELESS.fullmatch(c) and not is_numeric_dtype(raw[c])), None)
    if clock is None:
        missing = "no column of times" if time is None else f"no column {time!r}"
        raise FrameError(f"{missing}; name it with --time. There are: {there}.")
    owner = _column(raw.drop(columns=clock), ENTITY_COLUMNS if entity is None else (entity,))
    if owner is None and entity is not None:
        raise FrameError(f"no column {entity!r}; name one with --entity. There are: {there}.")
    return Columns(clock, owner)


def _row_numbers(raw: pd.DataFrame) -> list[str]:
    """An `id` that is another in every row names nobody."""
    return [c for c in raw.columns if c.lower() == "id" and len(raw) > 1 and raw[c].is_unique]


def _column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The first of the names that the frame has, whatever the case of its letters."""
    there = {str(column).lower(): str(column) for column in frame.columns}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def _stem(path: Path) -> str:
    """`pump` of pump.csv.gz, `host.a` of host.a.csv."""
    packed = path.suffix.lower() in (".gz", ".zip")
    return Path(path.stem).stem if packed else path.stem


def _names(column: pd.Series) -> pd.Series:
    absent = int(column.isna().sum())
    if absent:
        raise FrameError(f"{absent} rows have nothing in column {column.name!r}, which says whom they are about; fill or remove them.")
    names = column.astype(str).str.strip()
    for name in names.unique():
        if name_fault(name):
            raise FrameError(f"{name[:50]!r} cannot be an entity's name: {name_fault(name)}")
    return names


def name_fault(name: str) -> str | None:
    """Why the API would not take this for the name of an entity or a channel."""
    if not 1 <= len(name) <= NAME_LENGTH:
        return f"its length must be between 1 and {NAME_LENGTH}."
    return "control characters and lone surrogates are not allowed." if UNCLEAN.search(name) else None


def _times(column: pd.Series) -> pd.Series:
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


def _wide(told: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Whom and when, beside one float column per channel."""
    channel, value = _column(measured, CHANNEL_COLUMNS), _column(measured, ("value",))
    if channel is not None and value is not None and not _is_number(measured[channel]):
        return _pivoted(told.assign(channel=_names(measured[channel]), value=_numbers(measured[value])))
    numeric = [c for c in measured.columns if _is_number(measured[c]) and not NAMELESS.fullmatch(c)]
    if not numeric:
        raise FrameError(f"no column of numbers to take for a channel. There are: {', '.join(measured.columns) or 'none'}.")
    for name in numeric:
        if name_fault(name):
            raise FrameError(f"{name[:50]!r} cannot be a channel's name: {name_fault(name)}")
    return pd.concat([told, *(_numbers(measured[c]) for c in numeric)], axis=1)


def _pivoted(long: pd.DataFrame) -> pd.DataFrame:
    wide = long.dropna().pivot_table(index=["entity", "at"], columns="channel", values="value", aggfunc="last", sort=False)
    if wide.empty:
        raise FrameError("it holds no values.")
    return wide.reset_index().rename_axis(columns=None)


def _is_number(column: pd.Series) -> bool:
    return bool(column.dtype.kind in "iuf") or (column.dtype == object and infer_dtype(column, skipna=True) == "decimal")


def _numbers(column: pd.Series) -> pd.Series:
    """As floats; what is infinite is missing."""
    try:
        return column.astype("float64").replace([np.inf, -np.inf], np.nan)
    except (ValueError, TypeError) as error:
        raise FrameError(f"column {column.name!r} does not hold numbers: {error}.") from error


def _merged(frame: pd.DataFrame) -> pd.DataFrame:
    if not frame.duplicated(["entity", "at"]).any():
        return frame
    return frame.groupby(["entity", "at"], sort=False, as_index=False).last()
