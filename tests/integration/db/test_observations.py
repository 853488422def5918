"""Observations: what goes in comes out, once, whoever sends it how often."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from db import entities, observations
from db.errors import NotFound
from db.models import Entity, Observation
from db.observations import Coverage, Ingested, Row
from db.session import Sessions
from tests.support import rows
from tests.support.rows import START

DAY = timedelta(days=1)


@pytest.fixture
def user(sessions: Sessions) -> Entity:
    with sessions.begin() as session:
        return rows.entity(session, rows.tenant(session).id)


def held(sessions: Sessions, entity: Entity) -> dict[tuple[str, datetime], float]:
    with sessions.begin() as session:
        return {(r.channel, r.at): r.value for r in observations.page(session, entity, limit=1_000_000)}


def test_rows_come_in_and_make_their_channels(sessions: Sessions, user: Entity) -> None:
    given = rows.series("rhr", [60, 61]) + rows.series("hrv", [40.5])
    with sessions.begin() as session:
        assert observations.upsert(session, user, given) == Ingested(accepted=3, replaced=0, data_rev=1)
        assert [c.name for c in entities.channels(session, user.id)] == ["hrv", "rhr"]
    assert held(sessions, user) == {(r.channel, r.at): r.value for r in given}


def test_known_moments_are_replaced_and_counted(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        observations.upsert(session, user, rows.series("rhr", [60, 61, 62]))
        again = observations.upsert(session, user, rows.series("rhr", [60, 99, 62, 63]))
    assert again == Ingested(accepted=4, replaced=3, data_rev=2)
    assert list(held(sessions, user).values()) == [60, 99, 62, 63]


def test_the_last_of_several_values_for_one_moment_stands(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        got = observations.upsert(session, user, [Row("rhr", START, value) for value in (1, 3, 2)])
    assert got == Ingested(accepted=3, replaced=0, data_rev=1)
    assert list(held(sessions, user).values()) == [2]


def test_the_same_moment_in_two_zones_is_one(sessions: Sessions, user: Entity) -> None:
    abroad = START.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    with sessions.begin() as session:
        observations.upsert(session, user, [Row("rhr", START, 1), Row("rhr", abroad, 2)])
    assert held(sessions, user) == {("rhr", START): 2}


def test_a_moment_without_zone_is_refused(sessions: Sessions, user: Entity) -> None:
    with pytest.raises(TypeError), sessions.begin() as session:
        observations.upsert(session, user, [Row("rhr", START.replace(tzinfo=None), 1)])


def test_nothing_changes_nothing(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        assert observations.upsert(session, user, []) == Ingested(0, 0, 0)
        assert observations.upsert_many(session, user.tenant_id, []) == {}
    assert held(sessions, user) == {}


def test_an_entity_erased_meanwhile_does_not_come_back(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        entities.delete(session, user.tenant_id, user.name)
    with pytest.raises(NotFound), sessions.begin() as session:
        observations.upsert(session, user, rows.series("rhr", [60]))


def test_many_entities_in_one_go(sessions: Sessions, user: Entity) -> None:
    given = [(name, row) for name in ("user-42", "new-b", "new-a") for row in rows.series("rhr", [1, 2])]
    with sessions.begin() as session:
        observations.upsert(session, user, rows.series("rhr", [7]))
        got = observations.upsert_many(session, user.tenant_id, iter(given))
    assert got == {"user-42": Ingested(2, 1, 2), "new-a": Ingested(2, 0, 1), "new-b": Ingested(2, 0, 1)}
    with sessions.begin() as session:
        assert list(held(sessions, entities.get(session, user.tenant_id, "new-a")).values()) == [1, 2]


def test_tenants_with_the_same_names_stay_apart(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        theirs = rows.entity(session, rows.tenant(session, "theirs").id)
        observations.upsert(session, user, rows.series("rhr", [1]))
        observations.upsert(session, theirs, rows.series("rhr", [2, 3]))
    assert list(held(sessions, user).values()) == [1]
    assert list(held(sessions, theirs).values()) == [2, 3]


def test_a_rolled_back_delivery_leaves_nothing_for_the_next(sessions: Sessions, user: Entity) -> None:
    with sessions() as session:
        observations.upsert(session, user, rows.series("rhr", [60]))
        session.rollback()
        assert observations.upsert(session, user, rows.series("hrv", [40])) == Ingested(1, 0, 1)
        session.commit()
    assert set(held(sessions, user)) == {("hrv", START)}


def test_a_hundred_thousand_rows(sessions: Sessions, user: Entity) -> None:
    many = rows.series("cpu", [float(i) for i in range(100_000)], step=timedelta(minutes=1))
    with sessions.begin() as session:
        assert observations.upsert(session, user, many) == Ingested(100_000, 0, 1)
    with sessions.begin() as session:
        assert observations.upsert(session, user, reversed(many)) == Ingested(100_000, 100_000, 2)
        assert session.scalar(select(func.count()).select_from(Observation)) == 100_000


def test_deliveries_of_the_same_rows_at_once_do_not_deadlock(sessions: Sessions, user: Entity) -> None:
    def deliver(seed: int) -> Ingested:
        shuffled = rows.series("a", [seed] * 500) + rows.series("b", [seed] * 500)
        random.Random(seed).shuffle(shuffled)
        with sessions.begin() as session:
            return observations.upsert(session, user, shuffled)

    got = rows.at_once(*[lambda seed=seed: deliver(seed) for seed in range(8)])
    assert sorted(i.data_rev for i in got) == list(range(1, 9))
    assert sorted(i.replaced for i in got) == [0] + [1000] * 7
    [last] = [seed for seed, i in enumerate(got) if i.data_rev == 8]
    assert set(held(sessions, user).values()) == {last}


def test_imports_of_the_same_new_entities_at_once_do_not_deadlock(sessions: Sessions, user: Entity) -> None:
    def deliver(seed: int) -> None:
        given = [(f"e{i}", row) for i in range(20) for row in rows.series("a", [seed] * 20)]
        random.Random(seed).shuffle(given)
        with sessions.begin() as session:
            observations.upsert_many(session, user.tenant_id, given)

    rows.at_once(*[lambda seed=seed: deliver(seed) for seed in range(6)])
    with sessions.begin() as session:
        found = entities.select(session, user.tenant_id, has_channel="a")
        assert [entities.get(session, user.tenant_id, each.name).data_rev for each in found] == [6] * 20


MOMENTS = st.integers(0, 5).map(lambda days: START + days * DAY)
ROWS = st.lists(st.builds(Row, st.sampled_from(["a", "b"]), MOMENTS, st.floats(allow_nan=False, width=64)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=st.lists(ROWS, max_size=4))
def test_any_deliveries_end_as_a_dict_would(sessions: Sessions, user: Entity, deliveries: list[list[Row]]) -> None:
    with sessions.begin() as session:
        entities.delete(session, user.tenant_id, user.name)
        entity = rows.entity(session, user.tenant_id)
        expected: dict[tuple[str, datetime], float] = {}
        for delivery in deliveries:
            got = observations.upsert(session, entity, delivery)
            assert got.replaced == len(expected.keys() & {(r.channel, r.at) for r in delivery})
            expected.update({(r.channel, r.at): r.value for r in delivery})
        assert got.data_rev == sum(map(bool, deliveries)) if deliveries else entity.data_rev == 0
    assert held(sessions, entity) == expected


def test_pages_follow_each_other_without_gap_or_repeat(sessions: Sessions, user: Entity) -> None:
    given = rows.series("b", range(5)) + rows.series("a", range(4)) + rows.series("c", range(1))
    with sessions.begin() as session:
        observations.upsert(session, user, given)
        entities.put(session, user.tenant_id, user.name, channels=[entities.ChannelInfo("empty")])
        for limit in (1, 2, 3, 4, 5, 100):
            seen: list[Row] = []
            after = None
            while page := observations.page(session, user, limit=limit, after=after):
                assert len(page) <= limit
                seen += page
                after = (page[-1].channel, page[-1].at)
            assert seen == sorted(given, key=lambda r: (r.channel, r.at))


def test_a_page_of_some_channels_and_days(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        observations.upsert(session, user, [*rows.series("a", range(5)), *rows.series("b", range(5)), *rows.series("c", range(5))])
        page = observations.page(session, user, channels=["a", "c", "x"], since=START + DAY, until=START + 3 * DAY, limit=10)
        assert [(r.channel, r.value) for r in page] == [("a", 1), ("a", 2), ("c", 1), ("c", 2)]
        assert observations.page(session, user, channels=[], limit=10) == []


def test_coverage_counts_rows_and_utc_days(sessions: Sessions, user: Entity) -> None:
    late = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
    given = [*rows.series("a", [1, 2, 3], start=late, step=timedelta(hours=1)), *rows.series("b", [1])]
    with sessions.begin() as session:
        observations.upsert(session, user, given)
        a, b = Coverage(3, 2, late, late + timedelta(hours=2)), Coverage(1, 1, START, START)
        assert observations.coverage(session, user.id) == {"a": a, "b": b}
        assert observations.coverage(session, user.id, ["b", "x"]) == {"b": b}
        since = late + timedelta(hours=1)
        assert observations.coverage(session, user.id, since=since) == {"a": Coverage(2, 1, since, late + timedelta(hours=2))}


def test_coverage_of_many(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        other = rows.entity(session, user.tenant_id, "other")
        empty = rows.entity(session, user.tenant_id, "empty")
        observations.upsert(session, user, rows.series("a", [1, 2]))
        observations.upsert(session, other, rows.series("a", [1]))
        got = observations.coverage_many(session, [user.id, other.id, empty.id])
        assert got == {user.id: {"a": Coverage(2, 2, START, START + DAY)}, other.id: {"a": Coverage(1, 1, START, START)}, empty.id: {}}
        assert observations.coverage_many(session, []) == {}
