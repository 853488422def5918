"""The statements that ask a SQL source: the operator's tables, columns and conditions as they stand, and everything else bound.

They are made here and sent elsewhere. Imports no numeric library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from db.sources.configs import SqlConfig
from db.sources.moments import FORMS
from db.sources.source import Span, Whom

#: Where rows lie by columns, without an index that leads to an entity's newest.
_COLUMNAR = ("bigquery", "snowflake", "redshift", "duckdb", "databricks", "clickhouse")


class Statements:
    """Of one table or query."""

    def __init__(self, config: SqlConfig) -> None:
        self._config = config
        self._channels = config.channels
        self._form = FORMS[config.time]

    def fetching(self, names: Sequence[str], span: Span, most: int) -> Iterator[tuple[sa.Select[Any], Sequence[str]]]:
        """Moments and numbers of one entity: by one statement for all channels; where the newest of each are asked for, by one for each."""
        at = self._column(self._config.at)
        if span.last_rows is None:
            columns = [at, *(self._value(name) for name in names)]
            yield self._select(columns, names, self._one, span).order_by(at).limit(most), names
            return
        for name in names:
            yield self._known([at], name, self._one, span).order_by(at.desc()).limit(span.last_rows), [name]

    def newest(self, dialect: str, name: str, last_rows: int, whose: Sequence[int | str]) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """Whose, moment and number of the newest rows of a channel of many entities, newest first."""
        return (self._ranked if dialect in _COLUMNAR else self._in_turn)(name, last_rows, whose)

    def counting(self, names: Sequence[str], span: Span) -> sa.Select[Any]:
        """Rows, days, the first and the last moment of each channel, in one row."""
        return self._select([column for name in names for column in self._counts(name)], names, self._one, span)

    def whose(self, most: int) -> sa.Select[Any]:
        """Names of those that have rows, in order."""
        named = self._column(self._config.entity)
        return sa.select(named).distinct().select_from(self._from).where(*self._where).order_by(named).limit(most)

    def values(self, whom: Whom) -> dict[str, Any]:
        """What is bound, also in the operator's own words."""
        return {"entity": self.named(whom), "tenant": whom.tenant}

    def named(self, whom: Whom) -> int | str:
        """As it is called there."""
        return int(whom.entity) if self._config.entity_type == "integer" else whom.entity

    def nameable(self, whom: Whom) -> bool:
        """Where entities are numbers, what is none of them has no rows."""
        return self._config.entity_type != "integer" or (whom.entity.isascii() and whom.entity.isdigit() and len(whom.entity) < 19)

    @cached_property
    def speak_of_one(self) -> bool:
        """Whether the operator's own words bind the entity, so that no statement can ask for two."""
        return "entity" in sa.text(f"{self._config.query} {self._config.where}").compile().params

    def _in_turn(self, name: str, last_rows: int, whose: Sequence[int | str]) -> sa.CompoundSelect[Any]:
        """Each by itself, as an index on entity and moment has them; together they are one statement."""
        at, named = self._column(self._config.at), self._column(self._config.entity)
        parts = []
        for n, owner in enumerate(whose):
            mine = sa.bindparam(f"entity_{n}", owner, type_=named.type)
            rows = self._known([mine.label("whose"), at.label("moment")], name, named == mine, Span())
            parts.append(sa.select(rows.order_by(at.desc()).limit(last_rows).subquery(f"of_{n}")))
        return sa.union_all(*parts)

    def _ranked(self, name: str, last_rows: int, whose: Sequence[int | str]) -> sa.Select[Any]:
        """All in one pass over the columns, which is how a table without an index has to be read."""
        at, named = self._column(self._config.at), self._column(self._config.entity)
        place = sa.func.row_number().over(partition_by=named, order_by=at.desc()).label("place")
        rows = self._known([named.label("whose"), at.label("moment"), place], name, named.in_(whose), Span()).subquery("ranked")
        return sa.select(rows.c.whose, rows.c.moment, rows.c.number).where(rows.c.place <= last_rows).order_by(rows.c.whose, rows.c.place)

    def _known(self, columns: Sequence[sa.ColumnElement[Any]], name: str, whose: sa.ColumnElement[bool], span: Span) -> sa.Select[Any]:
        """Rows that have a number of the channel, with that number last."""
        value = self._value(name)
        return self._select([*columns, value.label("number")], [name], whose, span).where(value.is_not(None))

    def _counts(self, name: str) -> list[sa.ColumnElement[Any]]:
        at = self._column(self._config.at)
        there = self._value(name).is_not(None)
        when = sa.case((there, at))
        days = sa.func.count(sa.distinct(sa.case((there, self._form.day(at)))))
        return [sa.func.count(self._value(name)), days, sa.func.min(when, type_=at.type), sa.func.max(when, type_=at.type)]

    def _select(
        self, columns: Sequence[sa.ColumnElement[Any]], names: Sequence[str], whose: sa.ColumnElement[bool], span: Span
    ) -> sa.Select[Any]:
        at = self._column(self._config.at)
        labels = [field for name in names for field in self._channels[name].fields]
        asked = sa.select(*columns).select_from(self._from).where(whose, *self._where)
        if self._config.label:
            asked = asked.where(self._column(self._config.label).in_(labels))
        if span.since is not None:
            asked = asked.where(at >= sa.literal(self._form.write(span.since), at.type))
        return asked if span.until is None else asked.where(at < sa.literal(self._form.write(span.until), at.type))

    @property
    def _one(self) -> sa.ColumnElement[bool]:
        named = self._column(self._config.entity)
        return named == sa.bindparam("entity", type_=named.type)

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
