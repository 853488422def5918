"""Files of series, in whatever shape people keep them, as one wide frame: entity, at, and a column per channel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_numeric_dtype

from db.observations import Row
from ops.files import FrameError, load, loaded, naming, stem
from ops.instants import are_plain, instants

#: Names under which files carry whom a row is about, and when, most telling first.
ENTITY_COLUMNS = ("entity", "series", "unique_id", "device_id", "device", "user_id", "user", "sensor_id", "sensor", "variant_id", "id")
TIME_COLUMNS = ("at", "timestamp", "time", "datetime", "date", "ts", "ds")
CHANNEL_COLUMNS = ("channel", "metric", "variable", "field")
#: What pandas calls a column without a name: most often an index that was written along.
NAMELESS = re.compile(r"unnamed: \d+|index|level_\d+", re.IGNORECASE)
NAME_LENGTH = 200
UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Columns:
    """Which column says what."""

    time: str
    entity: str | None
    #: Those that only number the rows.
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What is known of a file beforehand; what is None is found by the names of its columns."""

    #: The columns that say whom a row is about, and when.
    entity: str | None = None
    time: str | None = None
    #: Column, or name of a channel in a long file -> the channel it becomes. Where there are any, nothing else is read.
    channels: Mapping[str, str] = field(default_factory=dict)
    #: The file is one entity, named after it, whatever its columns say.
    by_file: bool = False


def read(path: Path, reading: Reading = Reading()) -> pd.DataFrame:
    """Columns `entity` (str), `at` (UTC), then one float column per channel.

    Long files have columns `channel` and `value`; all others are wide. A file without an entity column is one entity, named after the file.
    Of several rows for one moment the last stands, channel by channel. Raises FrameError.
    """
    with naming(path):
        return _shaped(load(path), path, reading)


def pieces(path: Path, reading: Reading = Reading()) -> Iterator[pd.DataFrame]:
    """The same piece by piece, so that a file of any length takes little memory: Parquet by its batches, others by lines.

    The first piece decides which column says what. Dates like 31/01/2013 can only be told by looking at all of them: such a file is read
    whole. Raises FrameError, also in the middle.
    """
    with naming(path), closing(loaded(path)) as found:
        first = next(found, pd.DataFrame())
        columns = _columns(first, reading)
        if not are_plain(first[columns.time]):
            yield _shaped(load(path), path, reading)
            return
        frame = _shaped(first, path, reading)
        yield frame
        rest = replace(reading, entity=columns.entity, time=columns.time, by_file=columns.entity is None)
        if not _is_long(first) and not reading.channels:  # what was a channel must go on being one
            rest = replace(rest, channels={name: name for name in channels(frame)})
        yield from (_shaped(raw, path, rest) for raw in found)


def rows(frame: pd.DataFrame) -> Iterator[tuple[str, Row]]:
    """The frame as observations; missing values are left out."""
    for channel in channels(frame):
        held = frame[["entity", "at", channel]].dropna()
        for name, at, value in zip(held["entity"], held["at"].dt.to_pydatetime(), held[channel], strict=True):
            yield name, Row(channel, at, value)


def channels(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if column not in ("entity", "at")]


def _shaped(raw: pd.DataFrame, path: Path, reading: Reading) -> pd.DataFrame:
    columns = _columns(raw, reading)
    names = raw[columns.entity] if columns.entity is not None else pd.Series(stem(path), index=raw.index)
    told = pd.DataFrame({"entity": _names(names), "at": instants(raw[columns.time])})
    measured = raw.drop(columns=[c for c in {columns.time, columns.entity, "entity", "at", *columns.ids} if c in raw.columns])
    return _merged(_wide(told, measured, reading.channels))


def _columns(raw: pd.DataFrame, reading: Reading) -> Columns:
    if raw.empty:
        raise FrameError("it holds no rows.")
    entity, time = reading.entity, reading.time
    ids = () if entity is not None or reading.by_file else tuple(_row_numbers(raw))
    raw = raw.drop(columns=list(ids))
    there = ", ".join(raw.columns)
    clock = _column(raw, TIME_COLUMNS if time is None else (time,))
    if clock is None and time is None:
        clock = next((c for c in raw.columns if NAMELESS.fullmatch(c) and not is_numeric_dtype(raw[c])), None)
    if clock is None:
        missing = "no column of times" if time is None else f"no column {time!r}"
        raise FrameError(f"{missing}; name it with --time. There are: {there}.")
    owner = None if reading.by_file else _column(raw.drop(columns=clock), ENTITY_COLUMNS if entity is None else (entity,))
    if owner is None and entity is not None:
        raise FrameError(f"no column {entity!r}; name one with --entity. There are: {there}.")
    return Columns(clock, owner, ids)


def _row_numbers(raw: pd.DataFrame) -> list[str]:
    """An `id` that is another in every row names nobody."""
    return [c for c in raw.columns if c.lower() == "id" and len(raw) > 1 and raw[c].is_unique]


def _column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The first of the names that the frame has, whatever the case of its letters."""
    there = {str(column).lower(): str(column) for column in frame.columns}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


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


def _wide(told: pd.DataFrame, measured: pd.DataFrame, channels: Mapping[str, str]) -> pd.DataFrame:
    """Whom and when, beside one float column per channel."""
    if _is_long(measured):
        channel, value = str(_column(measured, CHANNEL_COLUMNS)), str(_column(measured, ("value",)))
        return _pivoted(_meant(told.assign(channel=_names(measured[channel]), value=_numbers(measured[value])), channels))
    if channels:
        measured = _renamed(measured, channels)
    numeric = [c for c in measured.columns if c in channels.values() or (_is_number(measured[c]) and not NAMELESS.fullmatch(c))]
    if not numeric:
        raise FrameError(f"no column of numbers to take for a channel. There are: {', '.join(measured.columns) or 'none'}.")
    for name in numeric:
        if name_fault(name):
            raise FrameError(f"{name[:50]!r} cannot be a channel's name: {name_fault(name)}")
    return pd.concat([told, *(_numbers(measured[c]) for c in numeric)], axis=1)


def _is_long(frame: pd.DataFrame) -> bool:
    channel, value = _column(frame, CHANNEL_COLUMNS), _column(frame, ("value",))
    return channel is not None and value is not None and not _is_number(frame[channel])


def _meant(long: pd.DataFrame, channels: Mapping[str, str]) -> pd.DataFrame:
    """Of a long file the rows of the channels that are meant, under the names they are to have."""
    if not channels:
        return long
    return long[long["channel"].isin(list(channels))].assign(channel=lambda kept: kept["channel"].map(channels))


def _renamed(measured: pd.DataFrame, channels: Mapping[str, str]) -> pd.DataFrame:
    """The columns that are meant, under the names they are to have."""
    missing = [name for name in channels if name not in measured.columns]
    if missing:
        raise FrameError(f"no column {missing[0]!r} to map. There are: {', '.join(measured.columns) or 'none'}.")
    return measured[list(channels)].rename(columns=dict(channels))


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
