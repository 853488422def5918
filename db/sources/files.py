"""Files and object storage as a source: CSV and Parquet, a file for each entity, wherever fsspec reaches. Workers only: imports pyarrow."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.columns import Columns, bounded, doubles, numbers, points
from db.sources.configs import FilesConfig
from db.sources.source import Channel, Health, Limits, Points, Reader, Span, Whom, milliseconds, moment

#: Stands in a path for the name of the entity, with everything percent-encoded that could lead elsewhere.
ENTITY = "{entity}"
TENANT = "{tenant}"
#: Milliseconds of one unit, where times are numbers.
_MS = {"epoch_s": 1000.0, "epoch_ms": 1.0}


class FilesSource(Reader):
    """A file for each entity, with a column of times and one for each channel."""

    def __init__(self, config: FilesConfig, limits: Limits) -> None:
        self._config = config
        self._channels = config.channels
        self._limits = limits

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        columns = self._read(whom, [field for channel in there.values() for field in channel.fields])
        times = columns.get(self._config.at, np.empty(0, np.int64))
        kept = np.ones(len(times), bool) if span.since is None else times >= milliseconds(span.since)
        if span.until is not None:
            kept &= times < milliseconds(span.until)
        order = np.flatnonzero(kept)[np.argsort(times[kept], kind="stable")]
        return {name: points(times[order], numbers(columns, channel, order), span.last_rows) for name, channel in there.items()}

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        found = self.fetch(whom, self._named(channels), since=since)
        return {name: _counted(times) for name, (times, _) in found.items() if times}

    def entities(self, tenant: str, most: int) -> list[str]:
        before, after = self._config.path.replace(TENANT, _safe(tenant)).split(ENTITY)
        with self._refused():
            files, pattern = fsspec.core.url_to_fs(before + "*" + after, **self._storage)
            start, end = pattern.index("*"), len(after)
            return sorted(unquote(path[start : len(path) - end]) for path in files.glob(pattern))[:most]

    def health(self) -> Health:
        """The folder is looked for, where it is the same for all tenants, and listed: a bucket that is not there lists as an empty one."""
        folder = self._config.path.split(ENTITY)[0].rpartition("/")[0]
        with self._refused():
            files, place = fsspec.core.url_to_fs(folder, **self._storage)
            if TENANT not in folder and not files.exists(place):
                raise SourceUnreadable(f"Source {self._config.name} has no folder {folder}, or nothing is in it.")
        self.entities("", 1)
        return Health(None)

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        return f"file {self._path(whom)}, {self._config.at} from {since or 'the beginning'}"

    def close(self) -> None:
        """Nothing stays open."""

    @property
    def _storage(self) -> Mapping[str, Any]:
        """What the operator says; and no list of files is remembered, for it would tell of them as they were."""
        return {"use_listings_cache": False, **self._config.storage}

    def _path(self, whom: Whom) -> str:
        return self._config.path.replace(TENANT, _safe(whom.tenant)).replace(ENTITY, _safe(whom.entity))

    def _read(self, whom: Whom, fields: Sequence[str]) -> Columns:
        """The wanted columns, times in milliseconds; nothing where there is no file."""
        path = self._path(whom)
        with self._refused():
            try:
                with fsspec.open(path, "rb", **self._storage) as file:
                    found = self._batches(file, path, {self._config.at, *fields})
                    batches = list(bounded(found, self._config.name, self._limits.max_rows))
            except FileNotFoundError:
                return {}
            table = pa.Table.from_batches(batches) if batches else pa.table({})
            if self._config.at not in table.column_names:
                raise SourceUnreadable(f"Source {self._config.name}: {path} has no column {self._config.at}.")
            times = self._milliseconds(table[self._config.at])
            return {self._config.at: times} | {name: doubles(table[name]) for name in fields if name in table.column_names}

    def _batches(self, file: Any, path: str, wanted: set[str]) -> Iterator[pa.RecordBatch]:
        if path.endswith(".parquet"):
            parquet = pa.parquet.ParquetFile(file)
            yield from parquet.iter_batches(columns=[name for name in parquet.schema_arrow.names if name in wanted])
            return
        for batch in pa.csv.open_csv(file):
            yield batch.select([name for name in batch.schema.names if name in wanted])

    def _milliseconds(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        if self._config.time in _MS:
            return np.round(doubles(column) * _MS[self._config.time]).astype(np.int64)
        if self._config.time == "yyyymmdd":
            column = pa.compute.strptime(column.cast(pa.string()), "%Y%m%d", "ms")
        told: NDArray[np.int64] = column.cast(pa.timestamp("ms", "UTC"), safe=False).to_numpy().astype("datetime64[ms]").astype(np.int64)
        return told

    @contextmanager
    def _refused(self) -> Iterator[None]:
        name = self._config.name
        try:
            yield
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError, TypeError) as error:
            raise SourceUnreadable(f"Source {name} cannot be read as SOURCES_FILE says: {type(error).__name__}.") from error
        except ImportError as error:
            raise SourceUnreadable(f"Source {name} needs a library that is not here: {error}.") from error
        except _below("NoCredentialsError", "PartialCredentialsError") as error:
            raise SourceUnreadable(f"Source {name} has no credentials for its storage: {type(error).__name__}.") from error
        except _below("BotoCoreError") as error:
            raise SourceUnavailable(f"Source {name} does not answer: {type(error).__name__}.") from error
        except PermissionError as error:
            raise SourceUnreadable(f"Source {name} may not be read by this user.") from error
        except OSError as error:
            raise SourceUnavailable(f"Source {name} does not answer: {type(error).__name__}.") from error


def _below(*names: str) -> tuple[type[Exception], ...]:
    """Errors of the library below s3fs, which lets some through that are no OSError. What is not loaded raised nothing."""
    library = sys.modules.get("botocore.exceptions")
    return () if library is None else tuple(getattr(library, name) for name in names)


def _safe(name: str) -> str:
    """One step of a path, and none that leads up."""
    return quote(name, safe="").replace(".", "%2E") if set(name) <= {"."} else quote(name, safe="")


def _counted(times: array[int]) -> Coverage:
    days = len(np.unique(np.frombuffer(times, np.int64) // 86_400_000))
    return Coverage(len(times), days, moment(times[0]), moment(times[-1]))
