"""One forecast per question, and the newest is the one given last."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from db import entities, forecasts, observations, registry
from db.forecasts import Question
from db.models import Entity, Forecast, Json, Model, Version
from db.session import Sessions
from tests.support import rows

DAY = timedelta(days=1)
#: A share that is written with sixteen digits.
LEVEL = 0.1 + 0.7


@pytest.fixture
def versions(sessions: Sessions) -> list[Version]:
    with sessions.begin() as session:
        model = rows.model(session)
        return [rows.publish(session, model), rows.publish(session, model)]


def ask(version: Version) -> Question:
    return Question(version.id, "rhr", data_rev=3, horizon=7, level=0.9)


def store(sessions: Sessions, version: Version, question: Question, body: Json, origin: datetime = rows.START) -> Forecast:
    with sessions.begin() as session:
        entity_id = entity_of(sessions, version)
        how = {"entity_id": entity_id, "job_id": "job_1", "data_until": origin}
        return forecasts.store(session, version.tenant_id, question, body=body, **how)


def entity_of(sessions: Sessions, version: Version) -> int:
    with sessions.begin() as session:
        return session.get_one(Model, version.model_id).entity_id


def test_a_forecast_is_found_by_its_question(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    made = store(sessions, one, ask(one), {"points": [1.5]})
    with sessions.begin() as session:
        found = forecasts.find(session, one.tenant_id, ask(one))
        assert found is not None
        assert found == (made.job_id, made.made_at, {"points": [1.5]})


@pytest.mark.parametrize("change", [{"version_id": "ver_x"}, {"target": "hrv"}, {"data_rev": 4}, {"horizon": 1}, {"level": 0.8}])
def test_another_question_has_no_answer(sessions: Sessions, versions: list[Version], change: dict) -> None:
    [one, _] = versions
    store(sessions, one, ask(one), {})
    with sessions.begin() as session:
        assert forecasts.find(session, one.tenant_id, replace(ask(one), **change)) is None


@pytest.mark.parametrize(
    ("asked", "there"),
    [({}, True), ({"horizon": 7, "level": LEVEL}, True), ({"horizon": 6}, False), ({"level": 0.8}, False)],
)
def test_whoever_answers_knows_whether_it_was_asked_before(sessions: Sessions, asked: dict, there: bool) -> None:
    """What is left open is the version's own, to the last digit."""
    with sessions.begin() as session:
        version = rows.publish(session, rows.model(session), spec={"horizon": 7, "level": LEVEL})
    made = store(sessions, version, Question(version.id, "rhr", data_rev=0, horizon=7, level=LEVEL), {})
    with sessions.begin() as session:
        found = registry.answering(session, version.tenant_id, "user-42", "rhr", None, **asked)
        assert found.made_at == (made.made_at if there else None)
        observations.upsert(session, entities.get(session, version.tenant_id, "user-42"), rows.series("rhr", [58.0]))
        assert registry.answering(session, version.tenant_id, "user-42", "rhr", None, **asked).made_at is None


def test_the_same_question_again_keeps_one_row_with_the_last_answer(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    first = store(sessions, one, ask(one), {"n": 1})
    second = store(sessions, one, ask(one), {"n": 2})
    assert second.id == first.id
    assert second.body == {"n": 2}
    assert second.made_at > first.made_at


def test_answers_given_at_once_do_not_collide(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    made = rows.at_once(*[lambda n=n: store(sessions, one, ask(one), {"n": n}).id for n in range(6)])
    assert len(set(made)) == 1


def test_the_newest_is_the_one_given_last_also_after_a_rollback(sessions: Sessions, versions: list[Version]) -> None:
    [one, two] = versions
    for version in (one, two, one):
        store(sessions, version, ask(version), {"by": version.semver})
    with sessions.begin() as session:
        newest = forecasts.newest(session, one.tenant_id, entity_of(sessions, one), "rhr")
        assert newest is not None
        assert newest.body == {"by": "1.0.0"}
        assert forecasts.newest(session, one.tenant_id, entity_of(sessions, one), "hrv") is None


def test_all_questions_about_an_entity(sessions: Sessions, versions: list[Version]) -> None:
    [one, two] = versions
    for version in (one, two):
        store(sessions, version, ask(version), {})
    with sessions.begin() as session:
        assert set(forecasts.questions(session, one.tenant_id, entity_of(sessions, one))) == {ask(one), ask(two)}


def test_another_tenant_finds_nothing(sessions: Sessions, versions: list[Version]) -> None:
    [one, _] = versions
    store(sessions, one, ask(one), {})
    with sessions.begin() as session:
        theirs = rows.tenant(session, "theirs").id
        entity_id = entity_of(sessions, one)
        assert forecasts.find(session, theirs, ask(one)) is None
        assert forecasts.newest(session, theirs, entity_id, "rhr") is None
        assert forecasts.questions(session, theirs, entity_id) == []


def test_old_forecasts_leave_in_pieces_but_for_the_newest_and_what_accuracy_reads(sessions: Sessions, versions: list[Version]) -> None:
    """Ten forecasts of one target, a day apart, made long ago; the newest row is of the day of the last one's origin."""
    [one, _] = versions
    with sessions.begin() as session:
        entity = session.get_one(Entity, entity_of(sessions, one))
        observations.upsert(session, entity, [observations.Row("rhr", rows.START + timedelta(days=9), 58.0)])
    for day in range(10):
        store(sessions, one, replace(ask(one), data_rev=day), {}, origin=rows.START + timedelta(days=day))
    store(sessions, one, replace(ask(one), target="hrv"), {})
    with sessions.begin() as session:
        session.execute(update(Forecast).values(made_at=Forecast.made_at - timedelta(days=91)))
    assert purged(sessions, accuracy_days=3, limit=4) == [4, 2, 0], "six of more than three days before the newest row"
    assert kept(sessions) == [("hrv", 3), *(("rhr", day) for day in (6, 7, 8, 9))], "and of another target the only one"
    with sessions.begin() as session:
        observations.upsert(
            session, session.get_one(Entity, entity_of(sessions, one)), [observations.Row("rhr", rows.START + 99 * DAY, 58.0)]
        )
    assert purged(sessions, accuracy_days=3, days=92) == [0], "young enough"
    assert purged(sessions, accuracy_days=3) == [3]
    assert kept(sessions) == [("hrv", 3), ("rhr", 9)], "the newest stays, however old"


def purged(sessions: Sessions, *, accuracy_days: int, limit: int = 100, days: int = 90) -> list[int]:
    """Of each sweep until one takes less than it may."""
    gone = [limit]
    while gone[-1] == limit or (len(gone) > 2 and gone[-1] > 0):
        with sessions.begin() as session:
            gone.append(forecasts.purge(session, days=days, accuracy_days=accuracy_days, limit=limit))
    return gone[1:]


def kept(sessions: Sessions) -> list[tuple[str, int]]:
    with sessions() as session:
        return [(row.target, row.data_rev) for row in session.scalars(select(Forecast).order_by(Forecast.target, Forecast.data_rev))]
