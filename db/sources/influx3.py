"""InfluxDB 3.x as a source, in SQL over Arrow Flight by its own client (`pip install influxdb3-python`). Workers only: imports pyarrow.

Tables, tags, fields and conditions are the operator's words, always quoted; entities and moments are always bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight
from influxdb_client_3 import InfluxDBClient3
from influxdb_client_3.exceptions import InfluxDB3ClientError
from numpy.typing import NDArray

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.columns import bounded, doubles, numbers, points
from db.sources.configs import Influx3Config
from db.sources.source import Channel, Health, Limits, Points, Reader, Span, Whom, moment

#: What a server says that may be well in a moment. gRPC calls a server's own failure internal.
_PASSING = (pa.flight.FlightUnavailableError, pa.flight.FlightTimedOutError, pa.flight.FlightInternalError, pa.flight.FlightCancelledError)
_DENIED = (pa.flight.FlightUnauthenticatedError, pa.flight.FlightUnauthorizedError)

_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = $table"


class Influx3Source(Reader):
    """One table, in which a tag says whose a row is."""

    def __init__(self, config: Influx3Config, limits: Limits) -> None:
        self._config = config
        self._channels = config.channels
        self._limits = limits

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        known = self._known({name: self._channels[name] for name in self._named(channels)})
        if not known:
            return {}
        where, bound = self._where(whom, Span(since))
        counts = ", ".join(_counts(fields) for fields in known.values())
        columns = pa.Table.from_batches(list(self._ask(self._select(counts, where), bound))).columns
        held = {name: _coverage(*columns[4 * n : 4 * n + 4]) for n, name in enumerate(known)}
        return {name: coverage for name, coverage in held.items() if coverage.rows}

    def entities(self, tenant: str, most: int) -> list[str]:
        tag = _quoted(self._config.tag)
        asked = self._select(f"DISTINCT {tag} AS named", f"{tag} IS NOT NULL" + self._of_tenant(" AND "), f"ORDER BY named LIMIT {most}")
        return [str(name) for batch in self._ask(asked, {"tenant": tenant}) for name in batch["named"].to_pylist()]

    def health(self) -> Health:
        """Its columns are asked for, which a wrong token and a table that is not there refuse."""
        self._known({})
        return Health(None)

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        span = f"time from {since or 'the beginning'}"
        parts = [f"table {self._config.table}", f"fields {self._fields()}", f"{self._config.tag} = {whom.entity!r}", span]
        return ", ".join(parts + [f"where {self._config.where}"] * bool(self._config.where))

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        """By one statement for all channels; where the newest of each are asked for, by one for each."""
        known = self._known(there)
        groups = [known] if span.last_rows is None else [{name: fields} for name, fields in known.items()]
        return {name: found for group in groups if group for name, found in self._gathered(whom, group, span).items()}

    def _gathered(self, whom: Whom, group: Mapping[str, list[str]], span: Span) -> Mapping[str, Points]:
        table = pa.Table.from_batches(list(bounded(self._selected(whom, group, span), self._config.name, self._limits.max_rows)))
        times = _milliseconds(table["time"])
        columns = {field: doubles(table[field]) for field in table.column_names if field != "time"}
        order = np.argsort(times, kind="stable")
        return {name: points(times[order], numbers(columns, self._channels[name], order)) for name in group}

    def _selected(self, whom: Whom, group: Mapping[str, list[str]], span: Span) -> Iterator[pa.RecordBatch]:
        fields = [_quoted(field) for field in dict.fromkeys(field for fields in group.values() for field in fields)]
        where, bound = self._where(whom, span)
        some = f"coalesce({', '.join(fields)}) IS NOT NULL" if len(fields) > 1 else f"{fields[0]} IS NOT NULL"
        end = f"LIMIT {self._limits.max_rows + 1}" if span.last_rows is None else f"ORDER BY time DESC LIMIT {span.last_rows}"
        return self._ask(self._select(", ".join(("time", *fields)), f"{where} AND {some}", end), bound)

    def _known(self, there: Mapping[str, Channel]) -> dict[str, list[str]]:
        """Of each channel those of its fields that the table has, as from the first row that has one. Raises SourceUnreadable."""
        columns = {name for batch in self._ask(_COLUMNS, {"table": self._config.table}) for name in batch["column_name"].to_pylist()}
        if not columns:
            raise SourceUnreadable(f"Source {self._config.name} has no table {self._config.table}.")
        found = {name: [field for field in channel.fields if field in columns] for name, channel in there.items()}
        return {name: fields for name, fields in found.items() if fields}

    def _select(self, what: str, where: str, end: str = "") -> str:
        return " ".join(("SELECT", what, "FROM", _quoted(self._config.table), "WHERE", where, end))

    def _where(self, whom: Whom, span: Span) -> tuple[str, dict[str, Any]]:
        """The condition, and what is bound in it."""
        parts, bound = [f"{_quoted(self._config.tag)} = $entity"], {"entity": whom.entity, "tenant": whom.tenant}
        for name, sign, at in (("since", ">=", span.since), ("until", "<", span.until)):
            if at is not None:
                parts.append(f"time {sign} CAST(${name} AS TIMESTAMP)")
                bound[name] = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        if self._config.where:
            parts.append(f"({self._config.where})")
        return " AND ".join(parts) + self._of_tenant(" AND "), bound

    def _of_tenant(self, before: str) -> str:
        return f"{before}{_quoted(self._config.tenant_tag)} = $tenant" if self._config.tenant_tag else ""

    @cached_property
    def _client(self) -> InfluxDBClient3:
        config, patience_ms = self._config, int(self._limits.timeout_s * 1000)
        return InfluxDBClient3(host=config.url, token=config.token, database=config.database, query_timeout=patience_ms)

    def _ask(self, asked: str, bound: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """What a statement answers, as it comes; at least one batch, for its columns. Raises SourceUnavailable, SourceUnreadable."""
        given = {name: value for name, value in bound.items() if f"${name}" in asked}
        with self._refused():
            answer = self._client.query(asked, mode="reader", query_parameters=given)
            yield pa.RecordBatch.from_pylist([], schema=answer.schema)
            yield from answer

    @contextmanager
    def _refused(self) -> Iterator[None]:
        name = self._config.name
        try:
            yield
        except (InfluxDB3ClientError, pa.ArrowException) as error:
            said = error if isinstance(error, pa.ArrowException) else error.__context__
            if isinstance(said, _PASSING):
                raise SourceUnavailable(f"Source {name} does not answer: {type(said).__name__}.") from said
            what = "refuses our credentials" if isinstance(said, _DENIED) else "refuses the question"
            raise SourceUnreadable(f"Source {name} {what}. `fleetcast sources check {name}` says why.") from said


def _quoted(name: str) -> str:
    """An identifier as SQL reads it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _counts(fields: list[str]) -> str:
    """Rows, days, and the first and the last moment (in milliseconds) of a channel."""
    value = f"coalesce({', '.join(map(_quoted, fields))})" if len(fields) > 1 else _quoted(fields[0])
    when = f"CASE WHEN {value} IS NOT NULL THEN time END"
    ends = (f"{which}({when})" for which in ("min", "max"))
    return f"count({value}), count(DISTINCT date_trunc('day', {when})), {', '.join(ends)}"


def _coverage(rows: pa.ChunkedArray, days: pa.ChunkedArray, first: pa.ChunkedArray, last: pa.ChunkedArray) -> Coverage:
    """Of one row of counts."""
    if not rows[0].as_py():
        return Coverage(0, 0)
    ends = (moment(int(_milliseconds(end)[0])) for end in (first, last))
    return Coverage(rows[0].as_py(), days[0].as_py(), *ends)


def _milliseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    found: NDArray[np.int64] = column.cast(pa.timestamp("ms"), safe=False).to_numpy().astype("datetime64[ms]").astype(np.int64)
    return found
