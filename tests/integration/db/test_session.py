"""Connections that the server ended are seen before they are used, and the driver's own errors come as SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from db.session import Sessions, ask, make_engine, make_sessions, together
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


MARK = "SELECT set_config('fleetcast.mark', 'x', true), pg_current_xact_id()"
MARKED = "SELECT current_setting('fleetcast.mark', true), pg_current_xact_id()"


def test_statements_sent_singly_are_transactions_of_their_own(engine: Engine) -> None:
    with make_sessions(engine, singly=True).begin() as session:
        [(_, first)], [(mark, second)] = ask(session, MARK, {}), ask(session, MARKED, {})
    assert (mark or "", first == second) == ("", False)


def test_statements_sent_singly_are_one_transaction_once_they_are_to_be(engine: Engine) -> None:
    singly = make_sessions(engine, singly=True)
    with singly() as session:
        together(session)
        together(session)
        [(_, first)], [(mark, second)] = ask(session, MARK, {}), ask(session, MARKED, {})
        ask(session, "INSERT INTO tenants (id, name, max_unfinished, max_running) VALUES ('tnt_x', 'x', 1, 1) RETURNING id", {})
        session.rollback()
    assert (mark, first) == ("x", second)
    with singly.begin() as session:
        assert ask(session, "SELECT id FROM tenants WHERE id = 'tnt_x'", {}) == []


def test_what_is_written_together_stands_after_the_end(engine: Engine) -> None:
    singly = make_sessions(engine, singly=True)
    with singly.begin() as session:
        together(session)
        ask(session, "INSERT INTO tenants (id, name, max_unfinished, max_running) VALUES ('tnt_x', 'x', 1, 1) RETURNING id", {})
    with make_sessions(engine).begin() as session:
        together(session)  # says nothing where all is one transaction anyway
        assert ask(session, "SELECT id FROM tenants WHERE id = 'tnt_x'", {}) == [("tnt_x",)]
