"""History out of Postgres as arrays, exactly as it went in."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import observations
from db.models import Entity
from db.observations import Row
from db.session import Sessions
from db.sources import stored
from tests.support import rows
from tests.support.rows import START

DAY = timedelta(days=1)


@pytest.fixture
def user(sessions: Sessions) -> Entity:
    with sessions.begin() as session:
        user = rows.entity(session, rows.tenant(session).id)
        observations.upsert(session, user, rows.series("a", range(10)) + rows.series("b", [5.5], start=START + DAY))
        return user


def test_arrays_are_sorted_and_typed(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        at, values = stored.fetch(session, user.id, ["a"])["a"]
    assert at.dtype == np.dtype("datetime64[ms]")
    assert values.dtype == np.float64
    assert list(values) == list(range(10))
    assert list(at) == list(np.datetime64("2026-01-01", "ms") + np.arange(10) * np.timedelta64(1, "D"))


def test_a_channel_without_rows_is_empty(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        got = stored.fetch(session, user.id, ["nothing", "b"])
    assert list(got) == ["nothing", "b"]
    at, values = got["nothing"]
    assert (len(at), len(values)) == (0, 0)
    assert (at.dtype, values.dtype) == (np.dtype("datetime64[ms]"), np.float64)
    assert list(got["b"][1]) == [5.5]
    with sessions.begin() as session:
        assert stored.fetch(session, user.id, []) == {}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"since": START + 8 * DAY}, [8, 9]),
        ({"until": START + 2 * DAY}, [0, 1]),
        ({"since": START + 2 * DAY, "until": START + 4 * DAY}, [2, 3]),
        ({"last_rows": 3}, [7, 8, 9]),
        ({"last_rows": 0}, []),
        ({"last_rows": 2, "until": START + 5 * DAY}, [3, 4]),
        ({"last_rows": 5, "since": START + 8 * DAY}, [8, 9]),
    ],
)
def test_spans(sessions: Sessions, user: Entity, span: dict, expected: list[int]) -> None:
    with sessions.begin() as session:
        assert list(stored.fetch(session, user.id, ["a"], **span)["a"][1]) == expected


def test_the_newest_rows_are_counted_per_channel(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        got = stored.fetch(session, user.id, ["b", "a"], last_rows=2)
    assert {name: list(values) for name, (_, values) in got.items()} == {"b": [5.5], "a": [8, 9]}


def test_another_entitys_rows_stay_out(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        other = rows.entity(session, user.tenant_id, "other")
        observations.upsert(session, other, rows.series("a", [99]))
        assert len(stored.fetch(session, user.id, ["a"])["a"][1]) == 10


MOMENTS = st.integers(0, 10**12).map(lambda ms: START + timedelta(milliseconds=ms))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=st.dictionaries(MOMENTS, st.floats(width=64)))
def test_what_went_in_comes_out_to_the_bit(sessions: Sessions, user: Entity, series: dict) -> None:
    with sessions() as session:
        observations.upsert(session, user, [Row("c", at, value) for at, value in series.items()])
        at, values = stored.fetch(session, user.id, ["c"])["c"]
        session.rollback()
    expected = sorted(series.items())
    assert [t.item() for t in at] == [moment.replace(tzinfo=None) for moment, _ in expected]
    assert np.array_equal(values, np.array([value for _, value in expected], np.float64), equal_nan=True)
