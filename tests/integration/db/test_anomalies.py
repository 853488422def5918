"""One row for each moment and model; newest first in pages; forgotten by when it was found."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from db import anomalies
from db.anomalies import Found, Judge, Told
from db.models import Anomaly, Entity, Model, Version
from db.session import Sessions
from tests.support import rows


@pytest.fixture
def versions(sessions: Sessions) -> list[Version]:
    with sessions.begin() as session:
        model = rows.model(session)
        return [rows.publish(session, model), rows.publish(session, model)]


def judge(sessions: Sessions, version: Version) -> Judge:
    with sessions.begin() as session:
        entity_id = session.get_one(Model, version.model_id).entity_id
    return Judge(version.tenant_id, entity_id, version.model_id, version.id, f"job of {version.semver}")


def found(hour: int, score: float = 0.6, severity: str = "warning") -> Found:
    return Found(rows.START + timedelta(hours=hour), score, severity, [{"channel": "rhr"}])


def store(sessions: Sessions, version: Version, *called: Found) -> None:
    with sessions.begin() as session:
        anomalies.store(session, judge(sessions, version), called)


def page(sessions: Sessions, version: Version, **about: object) -> list[Told]:
    with sessions.begin() as session:
        entity = session.get_one(Entity, judge(sessions, version).entity_id)
        return anomalies.page(session, entity, **{"limit": 50, **about})  # type: ignore[arg-type]


def hours(told: list[Told]) -> list[int]:
    return [round((each.row.at - rows.START) / timedelta(hours=1)) for each in told]


def test_newest_first_whatever_the_order_they_came_in(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    store(sessions, one, found(3), found(1))
    store(sessions, one, found(2))
    store(sessions, one)
    assert hours(page(sessions, one)) == [3, 2, 1]


def test_of_a_channel_those_that_it_made_odd(sessions: Sessions, versions: list[Version]) -> None:
    def parts(**shares: float) -> list[dict[str, object]]:
        return [{"channel": name, "share": share} for name, share in shares.items()]

    shares = ({"rhr": 0.7, "hrv": 0.3}, {"hrv": 0.8, "rhr": 0.2}, {"rhr": 0.5, "hrv": 0.5}, {"rhr": 1.0}, {})
    store(sessions, versions[0], *(replace(found(hour), contributions=parts(**share)) for hour, share in enumerate(shares)))
    told = {name: hours(page(sessions, versions[0], channel=name)) for name in ("rhr", "hrv", "steps")}
    assert told == {"rhr": [4, 3, 2, 0], "hrv": [4, 2, 1], "steps": [4]}
    assert len(page(sessions, versions[0])) == 5


def test_what_is_judged_again_and_not_called_again_is_withdrawn(sessions: Sessions, versions: list[Version]) -> None:
    """A value was put right, or a better version judged; what lies outside of what was judged stays."""
    [one, two] = versions
    store(sessions, one, found(0), found(1), found(2), found(3), found(9))
    again = (rows.START + timedelta(hours=1), rows.START + timedelta(hours=3))
    with sessions.begin() as session:
        anomalies.store(session, judge(sessions, two), [found(2)], again)
    assert hours(page(sessions, one)) == [9, 2, 0]
    with sessions.begin() as session:
        anomalies.store(session, judge(sessions, two), [], again)
    assert hours(page(sessions, one)) == [9, 0]


def test_the_same_moment_again_keeps_one_row_with_the_last_word(sessions: Sessions, versions: list[Version]) -> None:
    [one, two] = versions
    store(sessions, one, found(1), found(2))
    [_, first] = page(sessions, one)
    store(sessions, two, found(1, 0.9, "critical"))
    [other, second] = page(sessions, one)
    assert (second.row.id, second.row.score, second.row.severity) == (first.row.id, 0.9, "critical")
    assert (second.version, second.row.job_id) == (two.semver, f"job of {two.semver}")
    assert second.row.found_at > first.row.found_at
    assert other.version == one.semver, "what it did not call again stays as it was found"


def test_a_span_a_severity_and_a_page(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    store(sessions, one, *(found(hour, severity="critical" if hour % 2 else "warning") for hour in range(6)))
    span = {"since": rows.START + timedelta(hours=1), "until": rows.START + timedelta(hours=5)}
    assert hours(page(sessions, one, **span)) == [4, 3, 2, 1]
    assert hours(page(sessions, one, severity="critical")) == [5, 3, 1]
    first = page(sessions, one, limit=2)
    mark = (first[-1].row.at, first[-1].row.id)
    assert hours(page(sessions, one, after=mark, limit=3)) == [3, 2, 1]


def test_another_tenants_entity_has_none(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    with pytest.raises(IntegrityError), sessions.begin() as session:
        anomalies.store(session, replace(judge(sessions, one), tenant_id="tnt_other"), [found(1)])


def test_what_was_found_long_ago_is_forgotten_a_bounded_number_at_a_time(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    store(sessions, one, *(found(hour) for hour in range(5)))
    old = select(Anomaly.id).order_by(Anomaly.at).limit(4)
    with sessions.begin() as session:
        session.execute(update(Anomaly).where(Anomaly.id.in_(old)).values(found_at=func.clock_timestamp() - timedelta(days=31)))
    gone = []
    for _ in range(3):
        with sessions.begin() as session:
            gone.append(anomalies.purge(session, days=30, limit=3))
    assert gone == [3, 1, 0]
    assert hours(page(sessions, one)) == [4], "however long ago the moment was"
