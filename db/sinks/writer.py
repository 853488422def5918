"""Writing into a sink: the rows of a forecast take the place of those that an earlier try or run left, all at once or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.schema import CreateTable

from db.errors import SinkRefused, SinkUnavailable
from db.session import LIVELY
from db.sinks import star
from db.sinks.catalogue import STAR, Sink, Table

#: What says that the sink is away, or that somebody stood in the way there: the next try may go well.
_PASSING = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
#: Whose driver commits each statement by itself: a rerun that broke off would leave a forecast half replaced.
_WITHOUT_TRANSACTIONS = ("bigquery",)
#: A row of nobody's, to ask with.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY = {**dict.fromkeys(star.FORECAST, ""), "origin": _LONG_AGO, "forecast_at": _LONG_AGO, "forecast_date": _LONG_AGO.date()}


@dataclass(frozen=True)
class Writer:
    """A sink that is open. Connections are made when first used, one for each process."""

    sink: Sink
    engine: sa.Engine
    forecasts: sa.Table
    models: sa.Table

    def replace(self, facts: Sequence[star.Facts]) -> None:
        """Write forecasts, each in the place of its own earlier rows, and the versions that are new. All in one transaction.

        Callers see to it that nobody else writes one of the same forecasts meanwhile. Raises SinkUnavailable, SinkRefused.
        """
        with self._transaction() as connection:
            connection.execute(self._new_model(), [_bound(self.sink.models, each.model) for each in facts])
            connection.execute(self._own(), [_bound(self.sink.forecasts, each.steps[0]) for each in facts])
            connection.execute(sa.insert(self.forecasts), [_mapped(self.sink.forecasts, row) for each in facts for row in each.steps])

    def check(self) -> None:
        """Every statement of a write, such that none finds a row. Raises SinkUnavailable, SinkRefused."""
        with self._transaction() as connection:
            connection.execute(self._own(), _bound(self.sink.forecasts, _NOBODY))
            for table in (self.models, self.forecasts):
                nulls = sa.select(*(sa.cast(sa.null(), column.type) for column in table.columns)).where(sa.false())
                connection.execute(sa.insert(table).from_select(list(table.columns), nulls))
            connection.rollback()

    def _new_model(self) -> sa.Insert:
        """A version never changes, so the row that is there is right."""
        columns = self.sink.models.columns
        given = {column: sa.bindparam(held, type_=self.models.c[column].type) for held, column in columns.items()}
        there = sa.exists().where(self.models.c[columns["model_id"]] == given[columns["model_id"]])
        return sa.insert(self.models).from_select(list(given), sa.select(*given.values()).where(~there))

    def _own(self) -> sa.Delete:
        """The earlier rows of the same forecast. Where the table does not tell by origin, those of its first day and all later ones."""
        held = {held: self.forecasts.c[column] for held, column in self.sink.forecasts.columns.items()}
        own = sa.delete(self.forecasts).where(*(held[name] == _given(name, held) for name in star.OWN if name in held))
        if "origin" in held:
            return own
        day = "forecast_at" if "forecast_at" in held else "forecast_date"
        return own.where(held[day] >= _given(day, held))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """Errors of the driver as ours. What it says may quote the sink's address, which is nobody's but the operator's."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except _PASSING as error:
            raise SinkUnavailable(f"Sink {self.sink.name} does not answer: {_named(error)}.") from error
        except exc.SQLAlchemyError as error:
            raise SinkRefused(f"Sink {self.sink.name} does not take the rows: {_named(error)}.") from error

    def ddl(self) -> str:
        """The statements that make both tables in this sink's kind of database."""
        return ddl(self.sink, self.engine.dialect)

    def close(self) -> None:
        self.engine.dispose()


def open_writer(sink: Sink) -> Writer:
    """Raises SinkUnavailable, SinkRefused."""
    forecasts, models = _tables(sink)
    return Writer(sink, _engine(sink), forecasts, models)


def ddl(sink: Sink, dialect: sa.Dialect) -> str:
    forecasts, models = _tables(sink)
    return "\n".join(f"{str(CreateTable(table).compile(dialect=dialect)).strip()};\n" for table in (models, forecasts))


def _tables(sink: Sink) -> tuple[sa.Table, sa.Table]:
    """Names are the operator's words and are quoted as they stand, capitals and all."""
    metadata = sa.MetaData(schema=None if sink.schema is None else sa.sql.quoted_name(sink.schema, quote=True))
    return _table(metadata, "forecasts", sink.forecasts), _table(metadata, "models", sink.models)


def _table(metadata: sa.MetaData, kind: str, table: Table) -> sa.Table:
    keys = (*star.OWN, "forecast_at" if "forecast_at" in table.columns else "forecast_date") if kind == "forecasts" else ("model_id",)
    quoted = {held: sa.sql.quoted_name(column, quote=True) for held, column in table.columns.items()}
    columns = [sa.Column(name, STAR[kind][held], primary_key=held in keys) for held, name in quoted.items()]
    return sa.Table(sa.sql.quoted_name(table.name, quote=True), metadata, *columns)


def _mapped(table: Table, row: star.Row) -> dict[str, Any]:
    return {column: row[held] for held, column in table.columns.items()}


def _bound(table: Table, row: star.Row) -> dict[str, Any]:
    """For a statement of ours: by what the columns hold, since their names may be anything."""
    return {held: row[held] for held in table.columns}


def _given(held: str, columns: Mapping[str, sa.Column[Any]]) -> sa.BindParameter[Any]:
    return sa.bindparam(held, type_=columns[held].type)


def _engine(sink: Sink) -> sa.Engine:
    try:
        url = sa.make_url(sink.address())
        if url.get_backend_name() in _WITHOUT_TRANSACTIONS:
            raise SinkRefused(f"Sink {sink.name} cannot be opened: {url.get_backend_name()} has no transaction around several statements.")
        few = {"poolclass": sa.QueuePool, "pool_size": 1, "max_overflow": 1, "pool_pre_ping": True}
        return sa.create_engine(_driven(url), **few, hide_parameters=True, **_bounds(sink, url))
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        # Neither the URL nor what SQLAlchemy says of it is told: it may hold a password.
        fix = f"no driver here: {error.name}" if isinstance(error, ImportError) else "its URL is none that SQLAlchemy knows"
        raise SinkRefused(f"Sink {sink.name} cannot be opened: {fix}.") from None


def _driven(url: sa.URL) -> sa.URL:
    """Postgres by the driver that is installed with us."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _bounds(sink: Sink, url: sa.URL) -> dict[str, Any]:
    """Nothing is waited for without an end; other drivers take their limits in the URL."""
    if url.get_backend_name() not in ("postgres", "postgresql"):
        return {}
    ms = round(1000 * sink.timeout_s)
    options = f"-c timezone=UTC -c statement_timeout={ms} -c lock_timeout={ms}"
    return {"connect_args": LIVELY | {"application_name": f"fleetcast-sink-{sink.name}"[:63], "options": options}}


def _named(error: exc.SQLAlchemyError) -> str:
    """The class of what the driver raised, which for Postgres is the name of its condition: UndefinedTable, InsufficientPrivilege."""
    return type(getattr(error, "orig", None) or error).__name__
