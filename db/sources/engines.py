"""Engines of other people's databases: few connections, read-only transactions that cannot last, and refusals in our own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from db.drivers import below, errors_of, passes
from db.errors import SourceUnavailable, SourceUnreadable
from db.session import LIVELY
from db.sources.configs import SqlConfig
from db.sources.source import Limits

#: Connections that one process holds to one source: its owner has others to serve.
POOL = 2
#: A pooled connection older than this is made anew, so that rotated passwords and moved followers are noticed.
RECYCLE_S = 600
#: The package that brings a dialect or a driver, where its name does not say so.
_PACKAGES: Mapping[str, str] = {
    "bigquery": "sqlalchemy-bigquery",
    "snowflake": "snowflake-sqlalchemy",
    "redshift": "sqlalchemy-redshift",
    "duckdb": "duckdb-engine",
    "pymysql": "PyMySQL",
    "MySQLdb": "mysqlclient",
}
#: SQLite says so of what will not come by itself, and calls it operational.
_FOR_GOOD = ("no such table", "no such column", "syntax error")


def make_engine(config: SqlConfig, limits: Limits) -> sa.Engine:
    """Raises SourceUnreadable where the driver is missing or the URL is none."""
    try:
        url = sa.make_url(config.url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        told = LIVELY | {"application_name": f"fleetcast-source-{config.name}"} if url.drivername == "postgresql+psycopg" else {}
        engine = sa.create_engine(
            url,
            connect_args=told,
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=limits.timeout_s,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_S,
            hide_parameters=True,
        )
        client = below(engine.dialect.name)
        if client is not None:
            client.hurry(engine, limits.timeout_s)
        return engine
    except NoSuchModuleError:
        raise _no_driver(config.name, _dialect(config)) from None
    except ModuleNotFoundError as error:
        raise _no_driver(config.name, error.name or "its driver") from None
    except ArgumentError:
        raise SourceUnreadable(f"Source {config.name}: its url is no URL of a database.") from None
    except OSError:  # a file with credentials, which the URL names
        raise SourceUnreadable(f"Source {config.name}: its url names a file that this user cannot read.") from None


def _dialect(config: SqlConfig) -> str:
    """As the URL names it, whether or not anybody here speaks it."""
    return config.url.partition(":")[0].partition("+")[0]


def _no_driver(source: str, module: str) -> SourceUnreadable:
    return SourceUnreadable(f"Source {source} needs a driver that is not here: pip install {_PACKAGES.get(module, module)}.")


def bound(connection: sa.Connection, limits: Limits) -> None:
    """From here on nothing can be written, and no statement lasts longer than the limit, where the database lets a client say so."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(postgresql_readonly=True)
        patience = f"{int(limits.timeout_s * 1000)}ms"
        connection.execute(
            sa.text("SELECT set_config('statement_timeout', :patience, true), set_config('TimeZone', 'UTC', true)"), {"patience": patience}
        )
    elif (client := below(connection.dialect.name)) is not None:
        connection.execution_options(**client.in_time(limits.timeout_s))
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")


@contextmanager
def refused(config: SqlConfig) -> Iterator[None]:
    """What the database refuses, as SourceUnavailable where it may pass by itself and SourceUnreadable where somebody has to see to it."""
    client = below(_dialect(config))
    try:
        yield
    except PoolExhausted as error:
        raise SourceUnavailable(f"All {POOL} connections of this process to source {config.name} are busy.") from error
    except (OperationalError, InterfaceError) as error:
        if any(said in str(error.orig) for said in _FOR_GOOD):
            raise _unreadable(config.name, error) from error
        raise SourceUnavailable(f"Source {config.name} does not answer: {type(error.orig).__name__}.") from error
    except DBAPIError as error:
        if error.connection_invalidated or passes(client, error.orig):
            raise SourceUnavailable(f"Source {config.name} broke off: {type(error.orig).__name__}.") from error
        raise _unreadable(config.name, error) from error
    except (SQLAlchemyError, ValueError, TypeError) as error:
        raise _unreadable(config.name, error) from error
    except errors_of(client) as error:
        if passes(client, error):
            raise SourceUnavailable(f"Source {config.name} does not answer: {type(error).__name__}.") from error
        raise SourceUnreadable(f"Source {config.name} refuses our credentials: {type(error).__name__}.") from error


def _unreadable(source: str, error: Exception) -> SourceUnreadable:
    """Their words may name what clients need not know: the operator reads them with `fleetcast sources check`."""
    kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
    return SourceUnreadable(f"Source {source} cannot be read as SOURCES_FILE says: {kind}. `fleetcast sources check {source}` says why.")
