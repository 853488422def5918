"""InfluxDB 2.x as a source, in Flux through its own client (`pip install influxdb-client`). Every word and value is bound."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any

from influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.configs import Influx2Config
from db.sources.source import Channel, Health, Limits, Points, Reader, Span, Whom, counted, finite, milliseconds, too_many

#: Flux wants a span to have ends.
BEGINNING, END = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_POINTS = """
from(bucket: bucket)
  |> range(start: since, stop: until)
  |> filter(fn: (r) => r._measurement == measurement and r[tag] == entity and contains(value: r._field, set: fields))
  |> keep(columns: ["_time", "_field", "_value"])
  |> group(columns: ["_field"])
  |> sort(columns: ["_time"])
  |> tail(n: most)
"""
_WHOSE = """
import "influxdata/influxdb/schema"
schema.tagValues(bucket: bucket, tag: tag, predicate: (r) => r._measurement == measurement, start: since) |> limit(n: most)
"""


class Influx2Source(Reader):
    """One measurement of a bucket, in which a tag says whose a point is."""

    def __init__(self, config: Influx2Config, limits: Limits) -> None:
        self._config = config
        self._channels = config.channels
        self._limits = limits

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        fields = [field for channel in there.values() for field in channel.fields]
        most = self._limits.max_rows + 1 if span.last_rows is None else span.last_rows
        told = {"entity": whom.entity, "fields": fields, "since": span.since or BEGINNING, "until": span.until or END, "most": most}
        by_field: dict[str, dict[int, float]] = {field: {} for field in fields}
        for taken, record in enumerate(self._ask(_POINTS, told)):
            if taken == self._limits.max_rows:
                raise too_many(self._config.name, self._limits.max_rows)
            by_field[record["_field"]][milliseconds(record["_time"])] = record["_value"]
        return {name: _merged([by_field[field] for field in channel.fields], channel, span.last_rows) for name, channel in there.items()}

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        held = {name: counted(points) for name, points in self.fetch(whom, self._named(channels), since=since).items()}
        return {name: coverage for name, coverage in held.items() if coverage is not None}

    def entities(self, tenant: str, most: int) -> list[str]:  # noqa: ARG002  # one bucket is one owner's
        return sorted(str(record["_value"]) for record in self._ask(_WHOSE, {"since": BEGINNING, "most": most}))

    def health(self) -> Health:
        """Tags are listed, which a wrong token and a bucket that is not there refuse."""
        list(islice(self._ask(_WHOSE, {"since": BEGINNING, "most": 1}), 1))
        return Health(None)

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        where = f"bucket {self._config.bucket}, measurement {self._config.measurement}, fields {self._fields()}"
        return f"{where}, {self._config.tag} = {whom.entity!r}, time from {since or 'the beginning'}"

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> InfluxDBClient:
        config, patience_ms = self._config, int(self._limits.timeout_s * 1000)
        return InfluxDBClient(url=config.url, token=config.token, org=config.org, timeout=patience_ms)

    def _ask(self, flux: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Records as they come. Raises SourceUnavailable, SourceUnreadable."""
        config = self._config
        given = told | {"bucket": config.bucket, "measurement": config.measurement, "tag": config.tag}
        with self._refused():
            for record in self._client.query_api().query_stream(flux, params=given):
                yield record.values

    @contextmanager
    def _refused(self) -> Iterator[None]:
        name = self._config.name
        try:
            yield
        except ApiException as error:
            if error.status is None or error.status >= 500 or error.status in (408, 429):
                raise SourceUnavailable(f"Source {name} answers {error.status}.") from error
            raise SourceUnreadable(f"Source {name} refuses with {error.status}. `fleetcast sources check {name}` says why.") from error
        except (HTTPError, OSError) as error:
            raise SourceUnavailable(f"Source {name} does not answer: {type(error).__name__}.") from error


def _merged(fields: Sequence[dict[int, float]], channel: Channel, last_rows: int | None) -> Points:
    """Of several fields the first that has a moment, oldest first."""
    together: dict[int, float] = {}
    for field in reversed(fields):
        together |= field
    known = [(at, value) for at in sorted(together) if (value := finite(together[at], channel)) is not None]
    kept = known if last_rows is None else known[-last_rows:]
    return array("q", [at for at, _ in kept]), array("d", [value for _, value in kept])
