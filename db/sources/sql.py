"""Any database that SQLAlchemy knows, as a source: a follower of Postgres, a warehouse. It is only ever read. Imports no numeric library.

Tables, columns and conditions are the operator's own words; entities, moments and numbers are always bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from db.errors import SourceLagging
from db.observations import Coverage
from db.sources.configs import SqlConfig
from db.sources.engines import bound, make_engine, refused
from db.sources.moments import FORMS
from db.sources.source import Channel, Found, Health, Limits, Points, Reader, Span, Wanted, Whom, empty, finite, moment, too_many
from db.sources.statements import Statements

#: Rows that come at once.
CHUNK = 10_000
#: Entities that one statement speaks of: SQLite takes 500 parts, and a statement of a thousand is slow to plan.
AT_ONCE = 100

# Of a follower: 0 where all that arrived is replayed and more can arrive; else how old the last replayed transaction is.
_POSTGRES_LAG = """
SELECT CASE
  WHEN NOT pg_is_in_recovery() THEN NULL
  WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
  ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
END
"""


class SqlSource(Reader):
    """One table or query. Connections are made when first needed, by the process that needs them."""

    def __init__(self, config: SqlConfig, limits: Limits) -> None:
        self._config = config
        self._limits = limits
        self._channels = config.channels
        self._form = FORMS[config.time]
        self._statements = Statements(config)

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        found = {name: empty() for name in there}
        if not self._statements.nameable(whom):
            return found
        with self._reading() as connection:
            self._require_current(connection)
            for statement, names in self._statements.fetching(list(there), span, self._limits.max_rows + 1):
                self._gather(connection, statement, self._statements.values(whom), names, found)
        return {name: _in_order(points) for name, points in found.items()}

    def fetch_many(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """By a statement for each channel; one after another where the operator's own words speak of one entity."""
        if self._statements.speak_of_one:
            yield from super().fetch_many(wanted)
            return
        found = [{name: empty() for name in one.channels} for one in wanted]
        with self._reading() as connection:
            self._require_current(connection)
            for (name, last_rows), places in self._alike(wanted).items():
                for whose, points in self._newest(connection, name, last_rows, list(places), wanted[0].whom.tenant).items():
                    for n in places[whose]:
                        found[n][name] = _in_order(points)
        yield from found

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        names = self._named(channels)
        if not names or not self._statements.nameable(whom):
            return {}
        with self._reading() as connection:
            numbers = connection.execute(self._statements.counting(names, Span(since)), self._statements.values(whom)).one()
        counted = {name: numbers[4 * n : 4 * n + 4] for n, name in enumerate(names)}
        return {name: self._coverage(*four) for name, four in counted.items() if four[0]}

    def entities(self, tenant: str, most: int) -> list[str]:
        with self._reading() as connection:
            rows = connection.execute(self._statements.whose(most), self._statements.values(Whom("0", tenant)))
            return [str(name) for (name,) in rows]

    def health(self) -> Health:
        with self._reading() as connection:
            connection.execute(sa.select(sa.literal(1)))
            return Health(self._lag(connection))

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        table = f"table {self._config.table}" if self._config.table else "the operator's query"
        parts = [table, f"{self._config.entity} = {whom.entity!r}", f"{self._config.at} from {since or 'the beginning'}"]
        return ", ".join(parts + [f"where {self._config.where}"] * bool(self._config.where))

    def close(self) -> None:
        if "_engine" in self.__dict__:
            self._engine.dispose()

    @cached_property
    def _engine(self) -> sa.Engine:
        return make_engine(self._config, self._limits)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """A transaction that cannot write and cannot last. Raises SourceUnavailable, SourceUnreadable."""
        with refused(self._config), self._engine.connect() as connection:
            bound(connection, self._limits)
            yield connection

    def _require_current(self, connection: sa.Connection) -> None:
        """Raises SourceLagging."""
        limit_s = self._config.lag_limit_s
        lag_s = self._lag(connection) if limit_s else None
        if lag_s is not None and lag_s > limit_s:
            raise SourceLagging(self._config.name, lag_s, limit_s)

    def _lag(self, connection: sa.Connection) -> float | None:
        asked = self._config.lag_query or (_POSTGRES_LAG if connection.dialect.name == "postgresql" else "")
        found = connection.scalar(sa.text(asked)) if asked else None
        return None if found is None else float(found)

    def _gather(
        self, connection: sa.Connection, asked: sa.Select[Any], values: Mapping[str, Any], names: Sequence[str], found: dict[str, Points]
    ) -> None:
        """Take rows in as they come. Nulls and what is no finite number are no values."""
        takers = [(found[name], self._channels[name]) for name in names]
        streamed = connection.execution_options(stream_results=True, yield_per=CHUNK)
        with streamed.execute(asked, values) as rows:
            for count, (at, *numbers) in enumerate(rows):
                if count == self._limits.max_rows:
                    raise too_many(self._config.name, self._limits.max_rows)
                when = None if at is None else self._form.read(at)
                for (points, channel), number in zip(takers, numbers, strict=True):
                    _append(points, channel, when, number)

    def _alike(self, wanted: Sequence[Wanted]) -> dict[tuple[str, int], dict[int | str, list[int]]]:
        """Channel and number of rows -> whose are wanted, as they are called there -> the places of those who want them."""
        asked: dict[tuple[str, int], dict[int | str, list[int]]] = {}
        for n, one in enumerate(wanted):
            for name in one.channels:
                if name in self._channels and self._statements.nameable(one.whom):
                    asked.setdefault((name, one.last_rows), {}).setdefault(self._statements.named(one.whom), []).append(n)
        return asked

    def _newest(
        self, connection: sa.Connection, name: str, last_rows: int, whose: Sequence[int | str], tenant: str
    ) -> dict[int | str, Points]:
        """The newest rows of a channel, newest first, by whose they are."""
        found: dict[int | str, Points] = {}
        for some in (whose[first : first + AT_ONCE] for first in range(0, len(whose), AT_ONCE)):
            statement = self._statements.newest(connection.dialect.name, name, last_rows, some)
            for owner, at, number in connection.execute(statement, {"tenant": tenant}):
                when = None if at is None else self._form.read(at)
                _append(found.setdefault(owner, empty()), self._channels[name], when, number)
        return found

    def _coverage(self, rows: int, days: int, first: Any, last: Any) -> Coverage:
        return Coverage(int(rows), int(days), moment(self._form.read(first)), moment(self._form.read(last)))


def _append(points: Points, channel: Channel, when: int | None, number: Any) -> None:
    value = None if number is None else finite(number, channel)
    if when is not None and value is not None:
        points[0].append(when)
        points[1].append(value)


def _in_order(points: Points) -> Points:
    """Oldest first: the newest were asked for from the other end."""
    times, values = points
    return (times[::-1], values[::-1]) if len(times) > 1 and times[0] > times[-1] else points
