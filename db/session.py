"""Opening Postgres: engines and session factories, made when asked for and never at import."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

#: A factory of sessions; `with sessions.begin() as session:` is one transaction.
Sessions = sessionmaker[Session]


#: A dead peer is noticed within half a minute: an idle one by keepalives, one that owes us an answer by the timeout, both of which
#: the kernel would give hours. For any libpq connection.
LIVELY: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def make_engine(url: str, *, connections: int = 10, application: str = "fleetcast") -> Engine:
    """An engine of at most so many connections, which say who they are and whose statements cannot hang for ever.

    `url` is `postgresql+psycopg://…`. A connection is looked at before use, so that a restarted Postgres costs a reconnect, not an error.
    One that was made stays: it has prepared what it is often asked, and to make it takes as long as ten short statements, for both sides
    go through the password's thousands of rounds. The one given back last is taken first, so that no more are busy than need be.
    """
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_use_lifo=True,
        json_serializer=to_json,
        # Bound values are people's data and key hashes: they belong in no log.
        hide_parameters=True,
        connect_args=LIVELY
        | {
            "application_name": application,
            "options": "-c timezone=UTC -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        },
    )
    event.listen(engine, "checkout", _see_it_stand)
    return engine


def _see_it_stand(connection: psycopg.Connection[Any], *_: object) -> None:
    """Read what the server said while nobody asked: as sure as to ask it something, which takes longer than most questions.

    A server that leaves says why and hangs up, so the first reading brings its last words and the second the end.
    """
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError as error:
        raise InvalidatePoolError from error


def ask(session: Session, statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement, in the session's transaction, from the driver itself: for what every submission asks.

    SQLAlchemy's own way takes three times as long. The statement has psycopg's placeholders; errors are SQLAlchemy's, as elsewhere.
    It sees nothing that the session has yet to flush.
    """
    connection = driver(session)
    try:
        return connection.execute(statement, given).fetchall()
    except psycopg.Error as error:
        _refused(session, statement, error)
    finally:
        # Given up in the middle, by a timeout or an end of the process: the answer may still come, and must meet nobody.
        if connection.info.transaction_status == TransactionStatus.ACTIVE:
            session.connection().invalidate()


def _refused(session: Session, statement: str, error: psycopg.Error) -> NoReturn:
    broken = driver(session).closed
    if broken:
        session.connection().invalidate(error)
    raise DBAPIError.instance(statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=broken) from error


def driver(session: Session) -> psycopg.Connection[Any]:
    """The connection that the session has taken from the pool, as psycopg knows it."""
    return cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)


def to_json(value: Any) -> str:
    """JSON as Postgres takes it: no NaN or infinity (they become null) and no NUL, which would make it refuse the whole statement."""
    try:
        written = _FINITE.encode(value)
    except ValueError:
        return _FINITE.encode(_taken(value))
    # Only a sign that there may be one: the same six characters are also how a backslash before "u0000" is written.
    return _FINITE.encode(_taken(value)) if "\\u0000" in written else written


#: Made once: json.dumps makes one for every value that is not written in its usual way.
_FINITE = json.JSONEncoder(allow_nan=False)


def _taken(value: Any) -> Any:
    """The value with everything that Postgres would refuse taken out of it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {_taken(key): _taken(member) for key, member in value.items()}
    return [_taken(member) for member in value] if isinstance(value, (list, tuple)) else value


def make_sessions(engine: Engine, *, singly: bool = False) -> Sessions:
    """Sessions that keep loaded values after commit, so that an answer can be written from them.

    `singly`: each statement is a transaction of its own, which saves the words that begin and end one, until `together` begins one.
    """
    bound = engine.execution_options(isolation_level="AUTOCOMMIT") if singly else engine
    return sessionmaker(bound, expire_on_commit=False)


def together(session: Session) -> None:
    """From here on what the session writes stands or falls together, as it always does where statements are not sent singly."""
    if holds_nothing(session):
        session.execute(text("BEGIN"))


def holds_nothing(session: Session) -> bool:
    """Whether what the session does next is a transaction by itself: its statements are sent singly, and none has begun one."""
    connection = driver(session)
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE
