"""History out of our own observations, as arrays. Workers only: this is the one room of `db` that needs numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy.orm import Session

from db.errors import SourceUnavailable
from db.session import driver

Series = tuple[NDArray[np.datetime64], NDArray[np.float64]]

# Postgres itself strings the rows of a channel together, in its binary form: time as microseconds since 2000, value as a double.
# So a series comes as one value and not as thousands of tuples: 100,000 rows in a sixth of the time (36 ms).
_ROW = np.dtype([("at", ">i8"), ("value", ">f8")])
_EPOCH = np.datetime64("2000-01-01", "us")
_QUERY = sql.SQL("""
    SELECT c.name, (
        SELECT string_agg(timestamptz_send(at) || float8send(value), ''::bytea)
        FROM (SELECT at, value FROM observations WHERE {span} ORDER BY at DESC LIMIT %(last_rows)s) o)
    FROM channels c
    WHERE c.entity_id = %(entity)s AND c.name = ANY(%(channels)s)
""")
_MANY = sql.SQL("""
    SELECT w.entity_id, w.name, (
        SELECT string_agg(timestamptz_send(at) || float8send(value), ''::bytea)
        FROM (SELECT at, value FROM observations WHERE channel_id = c.id ORDER BY at DESC LIMIT w.last_rows) o)
    FROM unnest(%(entities)s::bigint[], %(channels)s::text[], %(last_rows)s::bigint[]) AS w (entity_id, name, last_rows)
    JOIN channels c ON c.entity_id = w.entity_id AND c.name = w.name
""")
_CHANNEL = sql.SQL("channel_id = c.id")
# A bound that was not asked for must not appear: between two open ends Postgres expects next to no rows, and reads all to find the last.
_BOUNDS = {"since": sql.SQL("at >= %(since)s"), "until": sql.SQL("at < %(until)s")}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The newest rows of some channels of an entity."""

    entity_id: int
    channels: tuple[str, ...]
    last_rows: int


def fetch_many(session: Session, wanted: Sequence[Wanted]) -> list[dict[str, Series]]:
    """`fetch` of the newest rows of many entities, by one statement, in the order in which they are wanted. Raises SourceUnavailable."""
    told = [(one.entity_id, name, one.last_rows) for one in wanted for name in one.channels]
    entities, channels, last_rows = (list(column) for column in zip(*told, strict=True)) if told else ([], [], [])
    rows = _asked(session, _MANY, {"entities": entities, "channels": channels, "last_rows": last_rows})
    found = {(entity_id, name): received for entity_id, name, received in rows}
    return [{name: _series(found.get((one.entity_id, name)) or b"") for name in one.channels} for one in wanted]


def fetch(
    session: Session,
    entity_id: int,
    channels: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last_rows: int | None = None,
) -> dict[str, Series]:
    """Times (datetime64[ms], UTC) and values of each channel, oldest first, from `since` on and before `until`.

    `last_rows` keeps only the newest of each channel. A channel without rows comes as empty arrays.
    Raises SourceUnavailable.
    """
    asked = {"entity": entity_id, "channels": list(channels), "since": since, "until": until, "last_rows": last_rows}
    span = sql.SQL(" AND ").join([_CHANNEL, *(bound for name, bound in _BOUNDS.items() if asked[name] is not None)])
    found = dict(_asked(session, _QUERY.format(span=span), asked))
    return {name: _series(found.get(name) or b"") for name in channels}


def _asked(session: Session, query: sql.SQL | sql.Composed, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    connection = driver(session)
    try:
        with connection.cursor(binary=True) as cursor:
            return cursor.execute(query, given).fetchall()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if connection.closed:  # past SQLAlchemy, so it must be told
            session.connection().invalidate(error)
        raise SourceUnavailable(f"Postgres did not give the observations: {type(error).__name__}.") from error


def _series(received: bytes) -> Series:
    rows = np.frombuffer(received, _ROW)
    at = _EPOCH + rows["at"].astype("timedelta64[us]")
    order = np.argsort(at, kind="stable")  # they came newest first, or nearly: one pass for a stable sort
    return at[order].astype("datetime64[ms]"), rows["value"][order].astype(np.float64)
