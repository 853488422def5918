"""Observations on their way in and out: rows, files of CSV, and frames of pandas."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fleetcast_client import frames
from fleetcast_client.answers.entities import Delivered, FleetDelivered, Observation
from fleetcast_client.asking import Moment, Row
from fleetcast_client.http import Ask, Http, below, encoded
from fleetcast_client.pages import Pages

if TYPE_CHECKING:
    import pandas as pd

CSV, LINES = "text/csv", "application/x-ndjson"
#: Packed bytes that are kept in memory; more wait in a file.
IN_MEMORY = 4 * 2**20
CHUNK = 2**16


class Observations:
    """`client.observations`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def write(self, entity: str, rows: Iterable[Row | Mapping[str, Any]] | pd.DataFrame) -> Delivered:
        """Send rows: long, {"channel": "rhr", "at": …, "value": 57}, or wide, {"at": …, "rhr": 57, "hrv": 41}; or a frame.

        A frame has an index of moments and a column for each channel, or the columns `at`, `channel` and `value`. Any number of rows goes
        in one delivery: they are packed as they come, kept on disk where they are many, and taken by the service all together.
        """
        each: Iterable[Any] = frames.rows(rows) if frames.is_frame(rows) else rows
        return Delivered.read(self._deliver(_of(entity), _lines(each), LINES))

    def write_csv(self, entity: str, file: str | Path | IO[bytes]) -> Delivered:
        """Send a file of CSV as it is: `at,channel,value`, or `at` and a column for each channel, an empty cell being no value."""
        if isinstance(file, str | Path):
            with Path(file).open("rb") as opened:
                return self.write_csv(entity, opened)
        return Delivered.read(self._deliver(_of(entity), _chunks(file), CSV))

    def write_many(self, rows: Iterable[Mapping[str, Any]]) -> FleetDelivered:
        """Send rows of many entities, as a gateway does: each as in `write`, and with its `entity`. All are taken together, or none is."""
        return FleetDelivered.read(self._deliver(below("observations"), _lines(rows), LINES))

    def write_many_csv(self, file: str | Path | IO[bytes]) -> FleetDelivered:
        """The same of a file of CSV: `entity,at,channel,value`, or `entity,at` and a column for each channel."""
        if isinstance(file, str | Path):
            with Path(file).open("rb") as opened:
                return self.write_many_csv(opened)
        return FleetDelivered.read(self._deliver(below("observations"), _chunks(file), CSV))

    def read(
        self,
        entity: str,
        *,
        channel: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Observation]:
        """By channel, then by time; from one moment to before another."""
        query = {"channel": channel, "from": from_, "to": to, "limit": limit, "cursor": cursor}
        return Pages(self._http, _of(entity), Observation.read, query)

    def read_frame(self, entity: str, *, channel: str | None = None, from_: Moment | None = None, to: Moment | None = None) -> pd.DataFrame:
        """The same at once, as a frame with an index of moments (UTC) and a column for each channel. Needs pandas."""
        path, query = _of(entity), {"channel": channel, "from": from_, "to": to}
        return frames.wide(self._http.send(Ask(method="GET", path=path, query=query, headers={"Accept": CSV})).text)

    def _deliver(self, path: str, pieces: Iterable[bytes], media_type: str) -> Any:
        """Packed aside first, so that it can be sent again whole when an answer is lost: the last value of a moment stands."""
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as packing:
                packing.writelines(pieces)
            headers = {"Content-Type": media_type, "Content-Encoding": "gzip", "Content-Length": str(packed.tell())}
            ask = Ask(method="POST", path=path, headers=headers, stream=lambda: _from_the_start(packed))
            return self._http.send(ask).json()


def _of(entity: str) -> str:
    return below("entities", entity, "observations")


def _lines(rows: Iterable[Any]) -> Iterator[bytes]:
    return (encoded(row) + b"\n" for row in rows)


def _from_the_start(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return _chunks(file)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
