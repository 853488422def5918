"""A verdict belongs to the version that serves, is told when it turns, and to one caller only."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from db import drifts, entities, observations, registry
from db.drifts import Judged, Turn
from db.models import Drift, Model, Version
from db.session import Sessions
from tests.support import rows


@pytest.fixture
def served(sessions: Sessions) -> Version:
    with sessions.begin() as session:
        return rows.publish(session, rows.model(session))


def judged(version: Version, verdict: str = "steady", **fields: object) -> Judged:
    made = Judged(version.tenant_id, version.model_id, version.id, 0, verdict, 1.1, {"n": 1})
    return replace(made, **fields)  # type: ignore[arg-type]


def keep(sessions: Sessions, *told: Judged) -> list[Turn]:
    with sessions.begin() as session:
        return drifts.keep(session, told)


def verdicts(sessions: Sessions, version: Version, tenant: str | None = None) -> dict[str, str]:
    with sessions() as session:
        found = drifts.verdicts(session, tenant or version.tenant_id, [version.model_id, "mdl_x"])
        return {model: known.verdict for model, known in found.items()}


def due(sessions: Sessions, every_s: float = 3600.0) -> list[str]:
    with sessions() as session:
        return [each.version_id for each in drifts.due(session, every_s=every_s, limit=10)]


def test_nothing_is_known_of_a_version_that_nobody_judged(sessions: Sessions, served: Version) -> None:
    assert verdicts(sessions, served) == {}
    assert due(sessions) == [served.id]


def test_a_verdict_is_told_to_its_tenant_alone(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served, "warning"))
    with sessions.begin() as session:
        theirs = rows.tenant(session, "theirs").id
    assert verdicts(sessions, served) == {served.model_id: "warning"}
    assert verdicts(sessions, served, theirs) == {}


def test_what_was_said_of_the_version_before_says_nothing_of_the_next(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served, "drifting"))
    with sessions.begin() as session:
        model = session.get_one(Model, served.model_id)
        following = rows.publish(session, model)
    assert following.active
    assert verdicts(sessions, served) == {}
    assert due(sessions) == [following.id], "judged at once, however short ago the one before was"
    assert keep(sessions, judged(following, "drifting")) == [
        Turn(served.tenant_id, served.model_id, following.id, None, "drifting"),
    ]


def test_a_turn_is_told_once(sessions: Sessions, served: Version) -> None:
    def turns(verdict: str) -> list[tuple[str | None, str]]:
        return [(turn.before, turn.after) for turn in keep(sessions, judged(served, verdict))]

    told = [turns(verdict) for verdict in ("steady", "steady", "warning", "drifting", "drifting", "steady")]
    assert told == [[(None, "steady")], [], [("steady", "warning")], [("warning", "drifting")], [], [("drifting", "steady")]]


def test_since_is_when_it_turned(sessions: Sessions, served: Version) -> None:
    def known(verdict: str) -> drifts.Known:
        keep(sessions, judged(served, verdict))
        with sessions() as session:
            return drifts.verdicts(session, served.tenant_id, [served.model_id])[served.model_id]

    first, again, turned = known("warning"), known("warning"), known("drifting")
    assert again.since == first.since
    assert again.judged_at > first.judged_at
    assert turned.since == turned.judged_at > again.since


def test_of_many_that_judge_at_once_one_is_told_of_the_turn(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served, "steady"))
    told = rows.at_once(*[lambda: keep(sessions, judged(served, "drifting"))] * 6)
    assert sorted(map(len, told)) == [0, 0, 0, 0, 0, 1]


def test_a_model_is_judged_again_when_its_data_changed_and_its_time_has_come(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served))
    assert due(sessions, every_s=0.0) == [], "no new data"
    with sessions.begin() as session:
        entity = entities.get(session, served.tenant_id, "user-42")
        observations.upsert(session, entity, rows.series("rhr", [58.0]))
    assert due(sessions) == [], "judged a moment ago"
    with sessions.begin() as session:
        session.execute(update(Drift).values(judged_at=Drift.judged_at - timedelta(hours=2)))
    assert due(sessions) == [served.id]


def test_what_never_serves_or_forecasts_nothing_is_not_judged(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        rows.publish(session, model, "never")
        detector = registry.ensure_model(session, model.tenant_id, model.entity_id, "anomaly", kind="anomaly")
        rows.publish(session, detector)
    assert due(sessions) == []


def test_an_erased_entity_takes_its_verdicts_along(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served))
    with sessions.begin() as session:
        session.delete(entities.get(session, served.tenant_id, "user-42"))
    with sessions() as session:
        assert drifts.count(session) == dict.fromkeys(drifts.VERDICTS, 0)


def test_models_are_counted_by_the_verdict_about_what_serves(sessions: Sessions, served: Version) -> None:
    keep(sessions, judged(served, "drifting"))
    with sessions() as session:
        assert drifts.count(session) == {"steady": 0, "warning": 0, "drifting": 1, "unknown": 0}
