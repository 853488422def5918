"""Columns of Arrow as the points of channels. Workers only: imports pyarrow and numpy."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from db.sources.source import Channel, Points, too_many

#: By name, all of one length.
Columns = Mapping[str, NDArray[Any]]


def bounded(batches: Iterable[pa.RecordBatch], source: str, most: int) -> Iterator[pa.RecordBatch]:
    """The batches as they come. Raises SourceUnreadable when they bring more than `most` rows."""
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > most:
            raise too_many(source, most)
        yield batch


def doubles(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Nulls as NaN. Raises pa.ArrowInvalid for what holds no numbers."""
    found: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return found


def numbers(columns: Columns, channel: Channel, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of several fields the first that is there, in our units; of the rows in this order."""
    found = np.full(len(order), np.nan)
    for field in channel.fields:
        if field in columns:
            found = np.where(np.isfinite(found), found, columns[field][order])
    return found * channel.scale + channel.offset


def points(times: NDArray[np.int64], values: NDArray[np.float64], last_rows: int | None = None) -> Points:
    """Of (T,) times in milliseconds, oldest first, those with a value; of them the newest `last_rows`."""
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if last_rows is not None:
        times, values = times[len(times) - min(last_rows, len(times)) :], values[len(values) - min(last_rows, len(values)) :]
    return array("q", times.astype(np.int64).tobytes()), array("d", values.astype(np.float64).tobytes())
