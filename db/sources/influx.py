"""InfluxDB 1.x as a source, in InfluxQL over HTTP; 2.x and 3.x answer the same path for clients of 1.x. Imports no library at all.

Measurements, tags and fields are the operator's words, always quoted; entities and moments are always bound.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from db.errors import SourceUnreadable
from db.observations import Coverage
from db.sources.configs import InfluxConfig
from db.sources.http import Http
from db.sources.source import (
    Channel,
    Found,
    Health,
    Limits,
    Points,
    Reader,
    Span,
    Wanted,
    Whom,
    counted,
    empty,
    finite,
    milliseconds,
    moment,
    too_many,
)

_NS_PER_MS = 1_000_000
#: What one series of an answer holds: the names of its columns, and its rows.
Rows = tuple[list[str], list[list[Any]]]


class InfluxSource(Reader):
    """One measurement, in which a tag says whose a point is."""

    def __init__(self, config: InfluxConfig, limits: Limits) -> None:
        self._config = config
        self._channels = config.channels
        self._limits = limits
        self._http = Http(config.name, config.url, limits.timeout_s, user=config.username, password=config.password)

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        found = {name: empty() for name in there}
        for group in [there] if span.last_rows is None else [{name: channel} for name, channel in there.items()]:
            self._gather(group, self._ask(*self._selected(group, whom, span)), found)
        return found if span.last_rows is None else {name: _oldest_first(points) for name, points in found.items()}

    def fetch_many(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """By one request with a statement for each channel of each."""
        asked = [(n, {name: self._channels[name]}) for n, one in enumerate(wanted) for name in one.channels if name in self._channels]
        told = [self._selected(group, wanted[n].whom, Span(last_rows=wanted[n].last_rows), str(n)) for n, group in asked]
        bound = {word: value for _, given in told for word, value in given.items()}
        found = [{name: empty() for name in one.channels} for one in wanted]
        for place, rows in self._answers("; ".join(statement for statement, _ in told), bound) if asked else ():
            n, group = asked[place]
            self._gather(group, [rows], found[n])
        yield from ({name: _oldest_first(points) for name, points in each.items()} for each in found)

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        held = {name: self._held(name, whom, since) for name in self._named(channels)}
        return {name: coverage for name, coverage in held.items() if coverage is not None}

    def entities(self, tenant: str, most: int) -> list[str]:
        asked = f"SHOW TAG VALUES FROM {self._measurement} WITH KEY = {_quoted(self._config.tag)}{self._of_tenant(' WHERE ')} LIMIT {most}"
        return sorted(str(row[columns.index("value")]) for columns, rows in self._ask(asked, {"tenant": tenant}) for row in rows)

    def health(self) -> Health:
        """Its fields are asked for, which a database that is not there and a wrong password refuse."""
        list(self._ask(f"SHOW FIELD KEYS FROM {self._measurement}", {}))
        return Health(None)

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        span = f"time from {since or 'the beginning'}"
        parts = [f"measurement {self._config.measurement}", f"fields {self._fields()}", f"{self._config.tag} = {whom.entity!r}", span]
        return ", ".join(parts + [f"where {self._config.where}"] * bool(self._config.where))

    def close(self) -> None:
        """Each answer has a connection of its own."""

    @property
    def _measurement(self) -> str:
        return _quoted(self._config.measurement)

    def _selected(self, group: Mapping[str, Channel], whom: Whom, span: Span, mark: str = "") -> tuple[str, dict[str, Any]]:
        fields = ", ".join(_quoted(field) for channel in group.values() for field in channel.fields)
        end = f" LIMIT {self._limits.max_rows + 1}" if span.last_rows is None else f" ORDER BY time DESC LIMIT {span.last_rows}"
        where, bound = self._where(whom, span.since, span.until, mark)
        return self._selecting(fields, where + end), bound

    def _gather(self, group: Mapping[str, Channel], answered: Iterable[Rows], found: Mapping[str, Points]) -> None:
        """Take rows in as they come: first the columns, then every point of each channel."""
        taken = 0
        for columns, rows in answered:
            taken += len(rows)
            if taken > self._limits.max_rows:
                raise too_many(self._config.name, self._limits.max_rows)
            for name, channel in group.items():
                at, places = columns.index("time"), [columns.index(field) for field in channel.fields if field in columns]
                _append(found[name], channel, at, places, rows)

    def _held(self, name: str, whom: Whom, since: datetime | None) -> Coverage | None:
        """Rows and days by the database's own count; of a channel with several names point by point, since it would count them apart."""
        channel = self._channels[name]
        if len(channel.fields) > 1:
            return counted(self.fetch(whom, [name], since=since)[name])
        field = _quoted(channel.fields[0])
        where, bound = self._where(whom, since, None)
        ends = [int(row[0]) for which in _ENDS for _, rows in self._select(f"{which}({field})", where, bound) for row in rows]
        if not ends:
            return None
        first, last = moment(ends[0]), moment(ends[-1])
        where, bound = self._where(whom, first, last + timedelta(milliseconds=1))
        days = self._select(f"count({field})", f"{where} GROUP BY time(1d) fill(none)", bound)
        counts = [int(row[1]) for _, rows in days for row in rows if row[1]]
        return Coverage(sum(counts), len(counts), first, last)

    def _select(self, what: str, where: str, bound: Mapping[str, Any]) -> Iterator[Rows]:
        return self._ask(self._selecting(what, where), bound)

    def _selecting(self, what: str, where: str) -> str:
        return " ".join(("SELECT", what, "FROM", self._measurement, "WHERE", where))

    def _where(self, whom: Whom, since: datetime | None, until: datetime | None, mark: str = "") -> tuple[str, dict[str, Any]]:
        """The condition, and what is bound in it, under names with this mark: several statements of one request share them."""
        parts = [f"{_quoted(self._config.tag)} = $entity{mark}"]
        bound: dict[str, Any] = {f"entity{mark}": whom.entity, "tenant": whom.tenant}
        for name, sign, at in (("since", ">=", since), ("until", "<", until)):
            if at is not None:
                parts.append(f"time {sign} ${name}{mark}")
                bound[f"{name}{mark}"] = milliseconds(at) * _NS_PER_MS
        if self._config.where:
            parts.append(f"({self._config.where})")
        return " AND ".join(parts) + self._of_tenant(" AND "), bound

    def _of_tenant(self, before: str) -> str:
        return f"{before}{_quoted(self._config.tenant_tag)} = $tenant" if self._config.tenant_tag else ""

    def _ask(self, asked: str, bound: Mapping[str, Any]) -> Iterator[Rows]:
        """What a statement answers, chunk by chunk. Raises SourceUnavailable, SourceUnreadable."""
        return (rows for _, rows in self._answers(asked, bound))

    def _answers(self, asked: str, bound: Mapping[str, Any]) -> Iterator[tuple[int, Rows]]:
        """What several statements answer, and which of them does."""
        told = {"db": self._config.database, "q": asked, "epoch": "ms", "chunked": "true", "params": json.dumps(dict(bound))}
        for line in self._http.lines("/query", told):
            yield from self._rows(line)

    def _rows(self, line: bytes) -> Iterator[tuple[int, Rows]]:
        try:
            told = json.loads(line)
            results = told.get("results", [])
            refused = next((each["error"] for each in (told, *results) if "error" in each), None)
            series = [(result["statement_id"], result.get("series", [])) for result in results if "error" not in result]
            rows = [(place, (each["columns"], each["values"])) for place, some in series for each in some]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SourceUnreadable(f"Source {self._config.name} answers what is no answer of InfluxDB.") from error
        if refused is not None:
            raise SourceUnreadable(f"Source {self._config.name} refuses the question.") from ValueError(refused)
        yield from rows


_ENDS = ("first", "last")


def _quoted(name: str) -> str:
    """An identifier as InfluxQL reads it, whatever is in it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _append(points: Points, channel: Channel, at: int, places: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
    times, values = points
    for row in rows:
        number = next((row[place] for place in places if row[place] is not None), None)
        value = None if number is None else finite(number, channel)
        if value is not None:
            times.append(row[at])
            values.append(value)


def _oldest_first(points: Points) -> Points:
    """The newest were asked for, and come first."""
    times, values = points
    return times[::-1], values[::-1]
