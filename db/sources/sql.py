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
from db.sources.catalogue import SqlConfig
from db.sources.engines import bound, make_engine, refused
from db.sources.moments import FORMS
from db.sources.source import Channel, Health, Limits, Points, Reader, Span, Whom, empty, finite, moment, too_many

#: Rows that come at once.
CHUNK = 10_000

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

    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        found = {name: empty() for name in there}
        if not self._nameable(whom):
            return found
        with self._reading() as connection:
            self._require_current(connection)
            for statement, names in self._statements(list(there), span):
                self._gather(connection, statement, self._values(whom), names, found)
        return {name: _in_order(points) for name, points in found.items()}

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        names = self._named(channels)
        if not names or not self._nameable(whom):
            return {}
        columns = [column for name in names for column in self._counts(name)]
        with self._reading() as connection:
            numbers = connection.execute(self._select(columns, names, since, None), self._values(whom)).one()
        counted = {name: numbers[4 * n : 4 * n + 4] for n, name in enumerate(names)}
        return {name: self._coverage(*four) for name, four in counted.items() if four[0]}

    def entities(self, tenant: str, most: int) -> list[str]:
        column = self._column(self._config.entity)
        asked = sa.select(column).distinct().select_from(self._from).where(*self._where).order_by(column).limit(most)
        with self._reading() as connection:
            return [str(name) for (name,) in connection.execute(asked, self._values(Whom("0", tenant)))]

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

    def _statements(self, names: Sequence[str], span: Span) -> Iterator[tuple[sa.Select[Any], Sequence[str]]]:
        """One for all channels; where the newest of each are asked for, one for each."""
        at = self._column(self._config.at)
        if span.last_rows is None:
            columns = [at, *(self._value(name) for name in names)]
            yield self._select(columns, names, span.since, span.until).order_by(at).limit(self._limits.max_rows + 1), names
            return
        for name in names:
            known = self._select([at, self._value(name)], [name], span.since, span.until).where(self._value(name).is_not(None))
            yield known.order_by(at.desc()).limit(span.last_rows), [name]

    def _gather(
        self, connection: sa.Connection, asked: sa.Select[Any], values: Mapping[str, Any], names: Sequence[str], found: dict[str, Points]
    ) -> None:
        """Take rows in as they come. Nulls and what is no finite number are no values."""
        read = self._form.read
        takers = [(*found[name], self._channels[name]) for name in names]
        streamed = connection.execution_options(stream_results=True, yield_per=CHUNK)
        with streamed.execute(asked, values) as rows:
            for count, (at, *numbers) in enumerate(rows):
                if count == self._limits.max_rows:
                    raise too_many(self._config.name, self._limits.max_rows)
                when = None if at is None else read(at)
                for (times, taken, channel), number in zip(takers, numbers, strict=True):
                    value = None if number is None else finite(number, channel)
                    if when is not None and value is not None:
                        times.append(when)
                        taken.append(value)

    def _counts(self, name: str) -> list[sa.ColumnElement[Any]]:
        """Rows, days, the first and the last moment of a channel."""
        at = self._column(self._config.at)
        there = self._value(name).is_not(None)
        when = sa.case((there, at))
        days = sa.func.count(sa.distinct(sa.case((there, self._form.day(at)))))
        return [sa.func.count(self._value(name)), days, sa.func.min(when, type_=at.type), sa.func.max(when, type_=at.type)]

    def _coverage(self, rows: int, days: int, first: Any, last: Any) -> Coverage:
        return Coverage(int(rows), int(days), moment(self._form.read(first)), moment(self._form.read(last)))

    def _select(
        self, columns: Sequence[sa.ColumnElement[Any]], names: Sequence[str], since: datetime | None, until: datetime | None
    ) -> sa.Select[Any]:
        at, named = self._column(self._config.at), self._column(self._config.entity)
        labels = [field for name in names for field in self._channels[name].fields]
        asked = sa.select(*columns).select_from(self._from).where(named == sa.bindparam("entity", type_=named.type), *self._where)
        if self._config.label:
            asked = asked.where(self._column(self._config.label).in_(labels))
        if since is not None:
            asked = asked.where(at >= sa.literal(self._form.write(since), at.type))
        return asked if until is None else asked.where(at < sa.literal(self._form.write(until), at.type))

    def _value(self, name: str) -> sa.ColumnElement[Any]:
        """The channel's number in a row; null where the row has none of it."""
        channel = self._channels[name]
        if self._config.label:
            return sa.case((self._column(self._config.label).in_(channel.fields), self._column(self._config.value)))
        first, *others = (self._column(field) for field in channel.fields)
        return sa.func.coalesce(first, *others) if others else first

    @cached_property
    def _from(self) -> sa.FromClause:
        if self._config.query:
            return sa.text(self._config.query).columns().subquery("rows_of_source")
        *schema, table = self._config.table.split(".")
        return sa.table(table, schema=".".join(schema) or None)

    @property
    def _where(self) -> list[sa.ColumnElement[Any]]:
        return [sa.text(f"({self._config.where})")] if self._config.where else []  # type: ignore[list-item]

    def _column(self, name: str) -> sa.ColumnClause[Any]:
        if name == self._config.at:
            return sa.column(name, self._form.type)
        if name == self._config.entity:
            return sa.column(name, sa.BigInteger() if self._config.entity_type == "integer" else sa.Text())
        return sa.column(name, sa.Text() if name == self._config.label else None)

    def _nameable(self, whom: Whom) -> bool:
        """Where entities are numbers, what is none of them has no rows."""
        return self._config.entity_type != "integer" or (whom.entity.isascii() and whom.entity.isdigit() and len(whom.entity) < 19)

    def _values(self, whom: Whom) -> dict[str, Any]:
        """What is bound, also in the operator's own words."""
        return {"entity": int(whom.entity) if self._config.entity_type == "integer" else whom.entity, "tenant": whom.tenant}


def _in_order(points: Points) -> Points:
    """Oldest first: the newest were asked for from the other end."""
    times, values = points
    return (times[::-1], values[::-1]) if len(times) > 1 and times[0] > times[-1] else points
