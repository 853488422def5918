"""Those who ask for a job at the same moment are written together, and each hears what it would have heard alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from db import ledger
from db.errors import OverQuota, Saturated
from db.ledger import NewJob, Placed
from db.models import Job, new_id
from db.session import Sessions, make_engine, make_sessions
from ops.processes import wait_until
from tasks.grouped import GroupCommit
from tests.support import ledger as desk

Outcome = Future[Placed]


class House:
    """A process that places jobs with no more than two connections, however many ask."""

    def __init__(self, engine: Engine, max_queue: int = 1000) -> None:
        self.sessions = make_sessions(engine, singly=True)
        self.grouped = GroupCommit(max_queue)
        self.pool = ThreadPoolExecutor(40)

    def place(self, new: NewJob) -> Placed:
        with self.sessions() as session:
            return self.grouped.place(session, new, new_id("job"))

    def ask(self, new: NewJob) -> Outcome:
        return self.pool.submit(self.place, new)

    def waiting(self) -> int:
        return sum(len(line) for line in self.grouped._lines.values())

    def together(self, sessions: Sessions, news: list[NewJob]) -> list[Outcome]:
        """All of them in one statement, behind a first that waits for the tenant's lock as long as it takes them to come."""
        with sessions.begin() as session:
            session.execute(text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE"), {"id": news[0].tenant_id})
            return self.line_up(news)

    def line_up(self, news: list[NewJob]) -> list[Outcome]:
        """Asked for in this order; the first is under way, and the others wait."""
        asked = []
        for new in news:
            asked.append(self.ask(new))
            assert wait_until(lambda: bool(self.grouped._lines) and self.waiting() == len(asked) - 1, 30, pause=0.001)
        return asked


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    narrow = make_engine(engine.url.render_as_string(hide_password=False), connections=2)
    house = House(narrow)
    yield house
    house.pool.shutdown()
    narrow.dispose()


def count(sessions: Sessions) -> int:
    with sessions() as session:
        return session.execute(select(func.count()).select_from(Job)).scalar_one()


def outcome(asked: Outcome) -> str:
    try:
        return "twin" if asked.result(30).deduplicated else "new"
    except (OverQuota, Saturated, IntegrityError, OperationalError) as error:
        return type(error).__name__


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many jobs each statement was asked to write."""
    sizes: list[int] = []
    place_together = ledger.place_together

    def counting(session: Any, asked: Any, **limits: Any) -> Any:
        sizes.append(len(asked))
        return place_together(session, asked, **limits)

    monkeypatch.setattr(ledger, "place_together", counting)
    yield sizes


def test_thirty_at_once_take_two_statements_and_two_connections(house: House, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = desk.tenant(sessions)
    with counted(monkeypatch) as sizes:
        asked = house.together(sessions, [desk.new(acme, client_metadata={"n": n}) for n in range(30)])
        placed = [one.result(30) for one in asked]
    assert sizes == [29]
    assert [one.deduplicated for one in placed] == [False] * 30
    assert [one.waiting for one in placed] == list(range(30))
    for n, one in enumerate(placed):
        stored = desk.job(sessions, one.job.id)
        assert (stored.client_metadata, stored.created_at, stored.state) == ({"n": n}, one.job.created_at, "queued")


def test_many_who_keep_asking_are_each_placed_once(house: House, sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    asked = [house.ask(desk.new((acme, other)[n % 2], client_metadata={"n": n})) for n in range(400)]
    assert len({one.result(30).job.id for one in asked}) == count(sessions) == 400
    assert house.waiting() == 0
    assert not house.grouped._lines


@pytest.mark.parametrize(("most", "max_queue", "refused"), [(5, 100, "OverQuota"), (100, 5, "Saturated"), (0, 100, "OverQuota")])
def test_the_room_is_shared_out_exactly(house: House, sessions: Sessions, most: int, max_queue: int, refused: str) -> None:
    acme = desk.tenant(sessions, max_unfinished=most)
    house.grouped = GroupCommit(max_queue)
    asked = house.together(sessions, [desk.new(acme) for _ in range(12)])
    fits = min(most, max_queue)
    assert Counter(map(outcome, asked)) == Counter({"new": fits, refused: 12 - fits})
    assert count(sessions) == fits


def test_twins_among_them_get_one_job_and_take_no_room(house: House, sessions: Sessions) -> None:
    acme = desk.tenant(sessions, max_unfinished=3)
    [model] = desk.models(sessions, acme, 1)
    like = [desk.new(acme, model_id=model, spec_hash="h") for _ in range(8)]
    asked = house.together(sessions, [desk.new(acme), *like])
    assert Counter(map(outcome, asked)) == Counter(new=2, twin=7)
    assert len({one.result().job.id for one in asked[1:]}) == 1


def test_one_that_postgres_refuses_spoils_nobody_elses(house: House, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    asked = house.together(sessions, [desk.new(acme, entity_id=987_654 if n == 3 else None) for n in range(6)])
    assert [outcome(one) for one in asked] == ["new", "new", "new", "IntegrityError", "new", "new"]


def test_a_tenant_does_not_wait_for_anothers_lock(house: House, sessions: Sessions) -> None:
    acme, other = desk.tenant(sessions), desk.tenant(sessions, "other")
    with sessions.begin() as session:
        session.execute(text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE"), {"id": acme})
        held = house.ask(desk.new(acme))
        assert outcome(house.ask(desk.new(other))) == "new"
        assert not held.done()
    assert outcome(held) == "new"


def test_where_the_connection_breaks_all_are_told(house: House, sessions: Sessions) -> None:
    """What each asked for can be looked up by the id that it brought."""
    acme = desk.tenant(sessions)
    house.place(desk.new(acme))
    asked = _broken(house, sessions, [desk.new(acme) for _ in range(4)])
    assert [outcome(one) for one in asked] == ["OperationalError"] * 4
    assert outcome(house.ask(desk.new(acme))) == "new"


def _broken(house: House, sessions: Sessions, news: list[NewJob]) -> list[Outcome]:
    """Postgres ends the session of the first, and then that of the second, which asks for the others too."""
    with sessions.begin() as session:
        session.execute(text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE"), {"id": news[0].tenant_id})
        asked = house.line_up(news)
        _end_who_waits(sessions)
        assert wait_until(lambda: house.waiting() == 0 and asked[0].done(), 30)
        _end_who_waits(sessions)
        assert wait_until(lambda: all(one.done() for one in asked), 30)
    return asked


def _end_who_waits(sessions: Sessions) -> None:
    """Looked for in transactions of their own: within one, Postgres tells of others as they were at the first look."""
    blocked = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_catalog"

    def ended() -> bool:
        with sessions.begin() as session:
            return bool(session.execute(text(blocked)).scalar_one() == 1)

    assert wait_until(ended, 30)


class Ended(BaseException):
    """As a greenlet is ended, or an interpreter."""


def test_one_that_is_ended_while_it_waits_holds_nobody_up(house: House, sessions: Sessions) -> None:
    acme = desk.tenant(sessions)

    def ended() -> Placed:
        with house.sessions() as session:
            session.close = _end  # type: ignore[method-assign]
            try:
                return house.grouped.place(session, desk.new(acme), new_id("job"))
            finally:
                del session.close

    with sessions.begin() as session:
        session.execute(text("SELECT 1 FROM tenants WHERE id = :id FOR UPDATE"), {"id": acme})
        before = house.line_up([desk.new(acme)])
        with pytest.raises(Ended):
            house.pool.submit(ended).result(30)
        after = house.ask(desk.new(acme))
        assert wait_until(lambda: house.waiting() == 1, 30)
    assert [outcome(one) for one in (*before, after, house.ask(desk.new(acme)))] == ["new"] * 3
    assert not house.grouped._lines


def _end() -> None:
    raise Ended


def test_where_the_one_that_writes_is_ended_the_others_are_told(house: House, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = desk.tenant(sessions)
    place_together = ledger.place_together

    def ending(session: Any, asked: dict[str, NewJob], **limits: Any) -> dict[str, Placed]:
        if len(asked) > 1:
            raise Ended
        return place_together(session, asked, **limits)

    monkeypatch.setattr(ledger, "place_together", ending)
    first, writer, *others = house.together(sessions, [desk.new(acme) for _ in range(4)])
    assert outcome(first) == "new"
    with pytest.raises(Ended):
        writer.result(30)
    assert [outcome(one) for one in others] == ["OperationalError"] * 2
    assert outcome(house.ask(desk.new(acme))) == "new"
