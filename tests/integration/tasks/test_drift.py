"""Living models without HTTP: a version remembers what it was made from, forecasts meet what happened, and a round tells how it stands."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from db import deliveries, drifts, entities, ledger, observations, realised, registry, webhooks
from db.models import Version
from db.observations import Row
from ml.drift import VERDICTS, Reference
from tasks import submit
from tasks.drift import judge_once, standings
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import patrols
from tasks.workshop import Workshop
from tests.support.road import SMALL, START, tenant, wave, work_off

ORDER = TrainOrder("device-metric", ("dev",), target="cpu", overrides=SMALL, look_back_hours=9999)
LEARNED = 24 * 45


def trained(shop: Workshop) -> tuple[Asker, Version]:
    acme = tenant(shop)
    later(shop, acme, 0, LEARNED)
    submit.train(shop.runtime, acme, ORDER)
    work_off(shop)
    return acme, active(shop, acme)


def active(shop: Workshop, asker: Asker) -> Version:
    with shop.sessions() as session:
        entity = entities.get(session, asker.tenant_id, "dev")
        found = registry.active(session, asker.tenant_id, entity.id, "cpu")
    assert found is not None
    return found


def later(shop: Workshop, asker: Asker, begin: int, end: int, level: float = 0.0) -> None:
    """The hours from `begin` on; from then on everything is that much higher."""
    values: Mapping[str, list[float]] = {name: all_[begin:end] for name, all_ in wave(end).items()}
    with shop.sessions.begin() as session:
        entity = entities.put(session, asker.tenant_id, "dev")
        rows = (Row(n, START + timedelta(hours=begin + i), v + level) for n, all_ in values.items() for i, v in enumerate(all_))
        observations.upsert(session, entity, rows)


def forecast(shop: Workshop, asker: Asker) -> None:
    submit.predict(shop.runtime, asker, PredictOrder(("dev",), ("cpu",)))
    work_off(shop)


def known(shop: Workshop, version: Version) -> drifts.Known | None:
    with shop.sessions() as session:
        return drifts.verdicts(session, version.tenant_id, [version.model_id]).get(version.model_id)


def test_a_version_remembers_what_its_inputs_and_errors_were_like(shop: Workshop) -> None:
    _, version = trained(shop)
    with shop.sessions() as session:
        [kept] = registry.references(session, version.tenant_id, [version.id]).values()
    assert kept is not None
    found = Reference.from_dict(kept)
    assert set(found.inputs) == set(version.spec["targets"] + version.spec["covariates"])
    assert (found.step_s, found.season_steps, found.block_s, found.window_s) == (3600, 24, 7 * 86_400, 7 * 86_400)
    assert found.inputs["cpu"].rows == int(LEARNED * 0.64) // 24 * 24, "the fit part, in whole days"
    assert len(found.by_step) == SMALL["horizon"]
    test = version.metrics[version.served_by]["test"]["mae"]
    assert sum(found.by_step) / len(found.by_step) == pytest.approx(test, rel=0.5), "all that was held back, not the test part alone"


def test_a_shift_is_told_within_days_and_until_then_all_is_steady(shop: Workshop) -> None:
    """Forecasts twice a day; the level rises on the tenth day by three times the daily swing."""
    acme, version = trained(shop)
    told: dict[int, str] = {}
    for half in range(2 * 14):
        forecast(shop, acme)
        begin = LEARNED + 12 * half
        later(shop, acme, begin, begin + 12, level=30.0 if half >= 20 else 0.0)
        with shop.sessions() as session:
            found = standings(session, version.tenant_id, [version.id], 90)[version.id]
        told[half] = found.judgement.verdict
    assert set(list(told.values())[:20]) <= {"steady", "unknown"}
    assert told[19] == "steady"
    turned = next(half for half, verdict in told.items() if verdict == "drifting")
    assert 20 <= turned <= 20 + 2 * 3, told


def test_a_round_judges_each_model_once_and_counts_them(shop: Workshop) -> None:
    acme, version = trained(shop)
    with shop.sessions.begin() as session:
        made = webhooks.create(session, acme.tenant_id, url="https://a.example/", host="a.example", types=["model.drifting"], most=1)
    assert judge_once(shop.runtime) == 1
    first = known(shop, version)
    assert first is not None
    assert first.verdict == "unknown", "no row came since"
    assert judge_once(shop.runtime) == 0
    later(shop, acme, LEARNED, LEARNED + 24 * 8, level=500.0)
    assert judge_once(shop.runtime) == 0, "not before its time has come"
    again = replace(shop.runtime, settings=replace(shop.settings, drift_s=0.0))
    assert judge_once(again) == 1
    turned = known(shop, version)
    assert turned is not None
    assert (turned.verdict, turned.since) == ("drifting", turned.judged_at)
    with shop.sessions() as session:
        assert drifts.count(session) == {"steady": 0, "warning": 0, "drifting": 1, "unknown": 0}
        told = [(row.type, row.data) for row in deliveries.page(session, made, limit=9)]
    assert told == [("model.drifting", {"model": version.model_id, "version": "1.0.0"})], "its webhooks hear of it"


def test_every_dispatcher_keeps_a_round_of_it(shop: Workshop) -> None:
    _, version = trained(shop)
    told, deadline = threading.Event(), time.monotonic() + 20
    [patrol] = [each for each in patrols(shop.runtime, told) if each.name == "drift"]
    patrol.start()
    while known(shop, version) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    told.set()
    patrol.join(10)
    assert known(shop, version) is not None


def test_a_retraining_wipes_the_slate(shop: Workshop) -> None:
    acme, version = trained(shop)
    later(shop, acme, LEARNED, LEARNED + 24 * 8, level=500.0)
    judge_once(shop.runtime)
    before = known(shop, version)
    assert before is not None
    assert before.verdict == "drifting"
    submit.train(shop.runtime, acme, replace(ORDER, activation="always"))
    work_off(shop)
    following = active(shop, acme)
    assert following.id != version.id
    assert known(shop, following) is None
    judge_once(shop.runtime)
    now = known(shop, following)
    assert now is not None
    assert now.verdict == "unknown", "what it learned from is not held against it"


def test_a_version_of_an_earlier_release_is_unknown_and_its_errors_are_told_nevertheless(shop: Workshop) -> None:
    acme, version = trained(shop)
    with shop.sessions.begin() as session:
        session.get_one(Version, version.id).reference = None
    forecast(shop, acme)
    later(shop, acme, LEARNED, LEARNED + 2)
    with shop.sessions() as session:
        found = standings(session, version.tenant_id, [version.id], 90)[version.id]
    assert found.judgement.verdict == "unknown"
    assert sorted(found.past.by_step) == [1, 2]
    assert judge_once(shop.runtime) == 1


def test_the_sums_are_those_of_the_forecast_that_was_answered(shop: Workshop) -> None:
    acme, version = trained(shop)
    answered = submit.predict(shop.runtime, acme, PredictOrder(("dev",), ("cpu",)))
    work_off(shop)
    later(shop, acme, LEARNED, LEARNED + 3)
    with shop.sessions() as session:
        points = ledger.get(session, acme.tenant_id, answered.job.id).result["forecast"]["points"]  # type: ignore[index]
        past = realised.met(session, acme.tenant_id, [version.id], days=90)[version.id]
    truth = wave(LEARNED + 3)["cpu"][LEARNED:]
    for step, (point, value) in enumerate(zip(points, truth, strict=True), start=1):
        assert past.by_step[step].error == pytest.approx(abs(point["value"] - value))
        assert past.by_step[step].inside == (point["lower"] <= value <= point["upper"])
    assert math.isclose(past.by_step[1].last_value, abs(truth[0] - wave(LEARNED)["cpu"][-1]))


def test_both_rooms_have_the_same_words() -> None:
    assert set(VERDICTS) == set(drifts.VERDICTS)
