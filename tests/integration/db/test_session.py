"""Connections that the server ended are seen before they are used, and the driver's own errors come as SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from db.session import Sessions, ask, make_engine, make_sessions
from tests.support.severed import cut


@pytest.fixture
def doomed(engine: Engine) -> Iterator[Sessions]:
    """Sessions of a pool of their own, that can be ended from outside."""
    own = make_engine(engine.url.render_as_string(hide_password=False), application="doomed")
    yield make_sessions(own)
    own.dispose()


def test_connections_that_were_ended_are_not_used(engine: Engine, doomed: Sessions) -> None:
    with doomed() as one, doomed() as other:
        pids = {ask(session, "SELECT pg_backend_pid()", {})[0] for session in (one, other)}
    cut(engine, named="doomed")
    for _ in range(3):
        with doomed.begin() as session:
            assert ask(session, "SELECT pg_backend_pid()", {})[0] not in pids


def test_a_connection_that_is_not_ended_is_used_again(doomed: Sessions) -> None:
    seen = set()
    for _ in range(3):
        with doomed.begin() as session:
            seen.add(ask(session, "SELECT pg_backend_pid()", {})[0])
    assert len(seen) == 1


def test_one_that_ends_in_use_is_an_error_as_elsewhere_and_the_next_one_works(engine: Engine, doomed: Sessions) -> None:
    def ask_twice() -> None:
        with doomed.begin() as session:
            ask(session, "SELECT 1", {})
            cut(engine, named="doomed")
            ask(session, "SELECT 1", {})

    with pytest.raises(OperationalError) as broken:
        ask_twice()
    assert broken.value.connection_invalidated
    with doomed.begin() as session:
        assert ask(session, "SELECT %(n)s::int", {"n": 7}) == [(7,)]


def test_what_postgres_refuses_is_the_error_that_callers_know(sessions: Sessions) -> None:
    statement = "INSERT INTO channels (tenant_id, entity_id, name) VALUES (%(name)s, 1, %(name)s) RETURNING id"
    with pytest.raises(IntegrityError) as refused, sessions.begin() as session:
        ask(session, statement, {"name": "somebody"})
    assert isinstance(refused.value.orig, ForeignKeyViolation)
    assert "somebody" not in str(refused.value).partition("DETAIL")[0]
