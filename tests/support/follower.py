"""A database of somebody else's for tests: a table of readings, and a role that may read it and nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.support.servers import database

#: entity -> moment -> (temperature in °F, relative humidity).
Readings = Mapping[str, Sequence[tuple[datetime, float, float]]]


@dataclass(frozen=True)
class Follower:
    """`url` is the reader's, `owner_url` that of whoever writes there."""

    url: str
    owner_url: str

    def write(self, readings: Readings) -> None:
        copy_in = "COPY readings (sensor, recorded_at, temp_f, rh) FROM STDIN"
        with psycopg.connect(self.owner_url) as connection, connection.cursor() as cursor, cursor.copy(copy_in) as copy:
            for sensor, rows in readings.items():
                for at, temperature, humidity in rows:
                    copy.write_row((sensor, at, temperature, humidity))

    def toml(self, name: str = "follower", more: str = "") -> str:
        """As an operator writes it down."""
        return f"""
[sources.{name}]
kind = "sql"
url = "{self.url}"
tenants = ["*"]
table = "readings"
entity = "sensor"
at = "recorded_at"
{more}
[sources.{name}.channels]
temperature = {{field = "temp_f", scale = 0.5555555555555556, offset = -17.77777777777778}}
humidity = "rh"
"""


@contextmanager
def follower(server_url: str) -> Iterator[Follower]:
    """Gone when the block ends, role and all."""
    role, password = f"reader_{secrets.token_hex(4)}", secrets.token_hex(8)
    with database(server_url) as url:
        owner = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute("CREATE TABLE readings (sensor text, recorded_at timestamptz, temp_f float8, rh float8)")
            connection.execute("CREATE INDEX ON readings (sensor, recorded_at)")
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
            connection.execute(sql.SQL("GRANT SELECT ON readings TO {}").format(sql.Identifier(role)))
        try:
            yield Follower(make_url(url).set(username=role, password=password).render_as_string(hide_password=False), owner)
        finally:
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
