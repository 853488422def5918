"""A batch's predictions are answered together, and each is still a job of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from bench.fleet import CHANNEL, furnish
from db import ledger
from db.events import Place
from ml import forecaster
from ml.recipes import recipe
from ml.shelf import folder
from tasks import batch, metrics, status, submit, together
from tasks.execute import Work, run
from tasks.orders import PredictOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.road import HANDLERS, SMALL, job, tenant, work_off
from tests.support.scrape import counted

FLEET = 9
OF = "IN (SELECT m.id FROM models m JOIN entities e ON e.id = m.entity_id WHERE e.name = :entity)"


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """Nine entities with a version each, of a tenant that may run one cohort at once."""
    asker = tenant(shop, max_running=shop.settings.prediction_cohort)
    spec = recipe("device-metric", shop.runtime.recipes).resolve(CHANNEL, {}, SMALL)
    furnish(shop.sessions, asker.tenant_id, shop.settings.model_dir, FLEET, spec)
    return asker


def names(count: int = FLEET) -> tuple[str, ...]:
    return tuple(f"e{n:05}" for n in range(count))


def ask(shop: Workshop, asker: Asker, order: PredictOrder) -> tuple[str, list[str]]:
    """The ids of the batch and of its items."""
    parent = submit.predict(shop.runtime, asker, replace(order, batch=True)).job.id
    with shop.sessions() as session:
        return parent, [item.id for item in ledger.items(session, asker.tenant_id, parent, limit=100)]


def points(found: Any) -> list[float]:
    return [point["value"] for point in found["points"]]


def test_one_bell_answers_them_all_and_each_is_a_job_of_its_own(shop: Workshop, acme: Asker) -> None:
    parent, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,), horizon=2, level=0.8))
    assert len(work_off(shop)) == 1
    assert counted(shop.runtime, metrics.COHORT_SIZE) == 1
    assert job(shop, acme, parent).result == {"total": FLEET, "succeeded": FLEET, "failed": 0, "cancelled": 0, "has_failures": False}
    done = [job(shop, acme, item) for item in items]
    assert len({each.fence for each in done}) == FLEET
    with shop.sessions() as session:
        outcomes = session.execute(text("SELECT number, outcome FROM attempts WHERE job_id = ANY(:ids)"), {"ids": items}).all()
        kept = dict(session.execute(text("SELECT job_id, body FROM forecasts")).all())
    assert outcomes == [(1, "succeeded")] * FLEET
    for each in done:
        assert each.result is not None
        forecast = each.result["forecast"]
        assert (forecast["entity"], forecast["horizon"], forecast["level"]) == (each.spec["entity"], 2, 0.8)
        assert kept[each.id] == forecast
        told = shop.runtime.board.events(acme.tenant_id, each.id, Place(0, 0))
        assert told is not None
        assert [event.event for event in told][-1] == "end"
    told = shop.runtime.board.events(acme.tenant_id, parent, Place(0, 0))
    assert told is not None
    assert [event.event for event in told].count("item") == FLEET
    assert told[-1].event == "end"


def test_the_answers_are_those_given_alone_and_are_kept_for_whoever_asks_next(shop: Workshop, acme: Asker) -> None:
    _, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,)))
    work_off(shop)
    together = [points((job(shop, acme, item).result or {})["forecast"]) for item in items]
    asked = [submit.predict(shop.runtime, acme, PredictOrder((name,), (CHANNEL,))) for name in names()]
    assert [answer.job.id for answer in asked] == items
    assert [points(answer.forecast) for answer in asked] == together
    assert shop.runtime.cache.hits == FLEET
    alone = [submit.predict(shop.runtime, acme, PredictOrder((name,), (CHANNEL,), level=0.5)).job.id for name in names()]
    work_off(shop)
    for name, found in zip(alone, together, strict=True):
        assert points((job(shop, acme, name).result or {})["forecast"]) == pytest.approx(found, rel=1e-5)


def test_who_cannot_be_answered_fails_alone_with_its_reason(shop: Workshop, acme: Asker) -> None:
    """A version whose artefact is gone, an entity whose rows are, one with no active version, and a pinned version that is not there."""
    with shop.sessions.begin() as session:
        gone = session.execute(text(f"SELECT artefact_sha256 FROM versions WHERE model_id {OF}"), {"entity": "e00001"}).scalar_one()
        channels = "SELECT c.id FROM channels c JOIN entities e ON e.id = c.entity_id WHERE e.name = :entity"
        session.execute(text(f"DELETE FROM observations WHERE channel_id IN ({channels})"), {"entity": "e00002"})
        session.execute(text(f"UPDATE versions SET active = false WHERE model_id {OF}"), {"entity": "e00003"})
    shutil.rmtree(folder(shop.settings.model_dir, gone))
    parent, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,)))
    work_off(shop)
    states = {item.spec["entity"]: item.error and item.error["code"] for item in (job(shop, acme, each) for each in items)}
    expected = {"e00001": "artefact_corrupt", "e00002": "insufficient_recent_data", "e00003": "no_active_version"}
    assert states == dict.fromkeys(names()) | expected
    assert (job(shop, acme, parent).result or {})["failed"] == 3
    told = status.fresh(shop.runtime, acme.tenant_id, parent)["progress"]
    assert told["items"] == {"total": FLEET, "succeeded": FLEET - 3, "failed": 3}
    failed = [job(shop, acme, each) for each in items if job(shop, acme, each).error]
    reasons = [
        {"code": code, "count": 1, "jobs": [each.id for each in failed if each.spec["entity"] == entity]}
        for entity, code in expected.items()
    ]
    assert told["failures"] == sorted(reasons, key=lambda reason: str(reason["code"]))
    _, pinned = ask(shop, acme, PredictOrder(names(2), (CHANNEL,), version="7.0.0"))
    work_off(shop)
    assert [(job(shop, acme, item).error or {})["code"] for item in pinned] == ["version_not_found"] * 2


def test_a_member_whose_lease_was_taken_writes_nothing_and_its_mates_are_published(
    shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,)))
    publish, lost = together.publish_together, items[4]

    def late(shop: Workshop, works: Sequence[Work], write: together.PublishAll) -> list[Work]:
        with shop.sessions.begin() as session:
            session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE id = :id"), {"id": lost})
            assert [moved.job_id for moved in ledger.reap(session, lease_s=0.0, error={})] == [lost]
        return publish(shop, works, write)

    monkeypatch.setattr(batch, "publish_together", late)
    with shop.sessions.begin() as session:
        [bell] = ledger.due(session, "batch", 100, shop.settings.prediction_cohort)
    run(shop, HANDLERS, bell.job_id, "bell")
    assert {item: job(shop, acme, item).state for item in items} == dict.fromkeys(items, "succeeded") | {lost: "queued"}
    assert job(shop, acme, parent).state == "running"
    monkeypatch.undo()
    work_off(shop)
    assert (job(shop, acme, lost).state, job(shop, acme, lost).attempt) == ("succeeded", 2)
    assert (job(shop, acme, parent).result or {})["succeeded"] == FLEET


def test_a_transaction_that_cannot_be_is_taken_apart(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that goes while it answers: Postgres refuses the cohort's forecasts, and then this one alone."""
    parent, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,)))
    answer = forecaster.compose

    def and_then_goes(*about: Any) -> Any:
        with shop.sessions.begin() as session:
            session.execute(text(f"DELETE FROM versions WHERE model_id {OF}"), {"entity": "e00005"})
        return answer(*about)

    monkeypatch.setattr(forecaster, "compose", and_then_goes)
    work_off(shop)
    codes = {item.spec["entity"]: item.error and item.error["code"] for item in (job(shop, acme, each) for each in items)}
    assert codes == dict.fromkeys(names()) | {"e00005": "no_active_version"}
    assert (job(shop, acme, parent).result or {})["succeeded"] == FLEET - 1


def test_a_cohort_told_to_go_is_handed_back_whole(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    _, items = ask(shop, acme, PredictOrder(names(), (CHANNEL,)))
    look = batch._found

    def told_to_go(shop: Workshop, works: Sequence[Work]) -> Any:
        with shop.sessions.begin() as session:
            assert ledger.drain(session, shop.settings.host) == FLEET
        works[0].lease._beat()
        return look(shop, works)

    monkeypatch.setattr(batch, "_found", told_to_go)
    with shop.sessions.begin() as session:
        [bell] = ledger.due(session, "batch", 100, shop.settings.prediction_cohort)
    run(shop, HANDLERS, bell.job_id, "bell")
    assert {(job(shop, acme, item).state, job(shop, acme, item).attempt) for item in items} == {("queued", 0)}
