"""Backtests on the road: order, row, claim, folds, result; what they refuse, and that they stop when they are told to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db import entities, ledger, observations
from db.errors import NoActiveVersion, NotFound, OverQuota, Saturated
from db.models import Job
from db.observations import Row
from ml.errors import InsufficientData, SpecInvalid, UnusableData
from tasks import submit
from tasks.jobs import BacktestJob
from tasks.lease import Lease
from tasks.meaning import MOST_STEPS
from tasks.orders import BacktestOrder, TrainOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.road import SMALL, START, ingest, job, tenant, wave, work_off

OF_RECIPE = BacktestOrder("dev-1", "cpu", "device-metric", overrides=SMALL, folds=2, look_back_hours=9999)
OF_VERSION = BacktestOrder("dev-1", "cpu")
SCORED = {"lstm", "persistence", "seasonal_naive", "served"}


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    found = tenant(shop)
    ingest(shop, found, "dev-1", wave(300))
    return found


def trained(shop: Workshop, asker: Asker) -> None:
    submit.train(shop.runtime, asker, TrainOrder("device-metric", ("dev-1",), "cpu", overrides=SMALL, look_back_hours=9999))
    work_off(shop)


def later(shop: Workshop, asker: Asker, hours: int) -> None:
    """So many hours more than the version was trained from."""
    whole = wave(300 + hours)
    with shop.sessions.begin() as session:
        made = entities.get(session, asker.tenant_id, "dev-1")
        rows = [Row(name, START + timedelta(hours=h), values[h]) for name, values in whole.items() for h in range(300, 300 + hours)]
        observations.upsert(session, made, rows)


def ended(shop: Workshop, asker: Asker, order: BacktestOrder) -> Job:
    asked = submit.backtest(shop.runtime, asker, order).job.id
    work_off(shop)
    return job(shop, asker, asked)


def result(done: Job) -> dict[str, Any]:
    assert (done.state, done.error) == ("succeeded", None)
    assert done.result is not None
    return done.result


def test_a_recipe_is_trained_and_scored_fold_by_fold(shop: Workshop, acme: Asker) -> None:
    asked = submit.backtest(shop.runtime, acme, OF_RECIPE)
    assert (asked.job.kind, asked.job.queue, asked.job.model_id) == ("backtest", "train", None)
    work_off(shop)
    found = result(job(shop, acme, asked.job.id))
    assert (found["entity"], found["recipe"], found["version"], found["target"]) == ("dev-1", "device-metric", None, "cpu")
    assert [fold["fold"] for fold in found["folds"]] == [1, 2]
    assert found["folds"][0]["to"] < found["folds"][1]["from"]
    assert all(set(told["scores"]) == SCORED for told in (*found["folds"], found["overall"]))
    assert len(found["overall"]["scores"]["served"]["metrics_per_step"]["mae"]) == SMALL["horizon"] == found["horizon"]
    assert sum(fold["origins"] for fold in found["folds"]) == found["overall"]["origins"]


def test_nothing_is_published(shop: Workshop, acme: Asker) -> None:
    result(ended(shop, acme, OF_RECIPE))
    with pytest.raises(NoActiveVersion):
        submit.backtest(shop.runtime, acme, OF_VERSION)
    assert not list(shop.settings.model_dir.glob("*/*"))


def test_a_version_is_tried_on_what_came_after_its_training(shop: Workshop, acme: Asker) -> None:
    trained(shop, acme)
    with pytest.raises(UnusableData, match="trained on rows until 2026-01-13T11:00:00Z"):
        submit.backtest(shop.runtime, acme, OF_VERSION)
    later(shop, acme, 24)
    asked = submit.backtest(shop.runtime, acme, OF_VERSION)
    assert (asked.job.queue, asked.job.spec["version"]) == ("batch", "1.0.0")
    work_off(shop)
    found = result(job(shop, acme, asked.job.id))
    [fold] = found["folds"]
    assert (fold["learned_until"], fold["from"], fold["to"]) == ("2026-01-13T11:00:00Z", "2026-01-13T12:00:00Z", "2026-01-14T11:00:00Z")
    assert (fold["seen_in_training"], fold["origins"], fold["scores"]["served"]["metrics_per_step"]["n"]) == (False, 24, [24, 23, 22])
    assert found["overall"]["scores"]["served"]["coverage"] is not None


def test_rows_of_the_training_are_told_apart_and_do_not_count(shop: Workshop, acme: Asker) -> None:
    trained(shop, acme)
    later(shop, acme, 24)
    done = ended(shop, acme, BacktestOrder("dev-1", "cpu", begin=START + timedelta(hours=200), end=START + timedelta(hours=310)))
    found = result(done)
    assert [(fold["seen_in_training"], fold["from"]) for fold in found["folds"]] == [
        (True, "2026-01-09T08:00:00Z"),
        (False, "2026-01-13T12:00:00Z"),
    ]
    assert found["folds"][1]["to"] == "2026-01-13T21:00:00Z"
    assert (found["overall"]["folds"], found["overall"]["origins"]) == (1, found["folds"][1]["origins"])
    assert [warning["code"] for warning in done.warnings] == ["seen_in_training"]


Change = dict[str, Any]
REFUSED: list[tuple[str, Change, type[Exception], str]] = [
    ("too few rows", {"look_back_hours": 20}, InsufficientData, "of 100 rows"),
    ("too few rows for so many folds", {"folds": 20, "overrides": SMALL | {"horizon": 24}}, InsufficientData, "300 of 526 rows"),
    ("an unknown recipe", {"recipe": "none"}, SpecInvalid, "unknown recipe"),
    ("an unknown entity", {"entity": "nobody"}, NotFound, "nobody"),
    ("a spec out of bounds", {"overrides": {"window": 1}}, SpecInvalid, "window"),
]


@pytest.mark.parametrize(("change", "error", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused_at_once(shop: Workshop, acme: Asker, change: Change, error: type[Exception], told: str) -> None:
    order = BacktestOrder(**{name: getattr(OF_RECIPE, name) for name in OF_RECIPE.__dataclass_fields__} | change)
    with pytest.raises(error, match=told):
        submit.backtest(shop.runtime, acme, order)


def test_more_than_can_be_told_is_refused(shop: Workshop, acme: Asker) -> None:
    ingest(shop, acme, "room", dict(zip(("temperature", "humidity"), wave(300).values(), strict=True)))
    order = BacktestOrder("room", recipe="sensor-climate", folds=20, overrides={"horizon": 168})
    with pytest.raises(SpecInvalid, match=f"6720 steps to tell of; at most {MOST_STEPS}"):
        submit.backtest(shop.runtime, acme, order)


def test_several_targets_of_one_network_are_told_side_by_side(shop: Workshop, acme: Asker) -> None:
    ingest(shop, acme, "room", dict(zip(("temperature", "humidity"), wave(300).values(), strict=True)))
    found = result(ended(shop, acme, BacktestOrder("room", recipe="sensor-climate", folds=1, overrides=SMALL)))
    assert (found["target"], [other["target"] for other in found["others"]]) == ("temperature", ["humidity"])


def test_the_same_key_is_the_same_backtest_and_none_is_two(shop: Workshop, acme: Asker) -> None:
    keyed = replace(acme, route="POST /backtests", key="k", body_sha256="a")
    first, again = (submit.backtest(shop.runtime, keyed, OF_RECIPE) for _ in range(2))
    assert (again.job.id, again.replayed) == (first.job.id, True)
    assert submit.backtest(shop.runtime, acme, OF_RECIPE).job.id != first.job.id


def test_quota_and_saturation_hold_for_backtests(shop: Workshop, acme: Asker) -> None:
    narrow = tenant(shop, "narrow", max_unfinished=1)
    ingest(shop, narrow, "dev-1", wave(300))
    submit.backtest(shop.runtime, narrow, OF_RECIPE)
    with pytest.raises(OverQuota):
        submit.backtest(shop.runtime, narrow, OF_RECIPE)
    full = replace(shop.runtime, settings=replace(shop.settings, max_queue=1))
    with pytest.raises(Saturated):
        submit.backtest(full, acme, OF_RECIPE)


def test_folds_are_watched(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    told = Lease.progress

    def note(lease: Lease, job_id: str, phase: str, **figures: Any) -> None:
        seen.append(figures)
        told(lease, job_id, phase, **figures)

    monkeypatch.setattr(Lease, "progress", note)
    result(ended(shop, acme, OF_RECIPE))
    fits = [figures for figures in seen if "epoch" in figures]
    assert [figures["fold"] for figures in fits] == sorted(figures["fold"] for figures in fits)
    assert {(figures["fold"], figures["folds"]) for figures in fits} == {(1, 2), (2, 2)}
    fractions = [figures["fraction"] for figures in seen if "fraction" in figures]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1


@pytest.mark.parametrize(("order", "word"), [(OF_RECIPE, "cancelled"), (OF_RECIPE, "queued"), (OF_VERSION, "cancelled")])
def test_it_stops_between_two_batches(
    shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch, order: BacktestOrder, word: str
) -> None:
    """A cancel ends it, a drain hands it back."""
    trained(shop, acme)
    later(shop, acme, 48)
    asked, beats, told = submit.backtest(shop.runtime, acme, order).job.id, 0, Lease.alive
    monkeypatch.setattr("ml.rehearsal.READ_AT_ONCE", 60)

    def stop_after_some(lease: Lease) -> None:
        nonlocal beats
        told(lease)
        beats += 1
        if beats == 3:
            with shop.sessions.begin() as session:
                _ = ledger.cancel(session, acme.tenant_id, asked) if word == "cancelled" else ledger.drain(session, shop.settings.host)
            lease._beat()  # the heartbeat, not waited for

    monkeypatch.setattr(Lease, "alive", stop_after_some)
    work_off(shop, most=1)
    found = job(shop, acme, asked)
    assert (found.state, found.attempt) == (word, 0 if word == "queued" else 1)
    assert beats <= 6, "it went on after it was told"


def test_what_cannot_be_done_any_more_fails_with_its_reason(shop: Workshop, acme: Asker) -> None:
    """The rows go between the asking and the working."""
    trained(shop, acme)
    later(shop, acme, 24)
    of_recipe, of_version = (submit.backtest(shop.runtime, acme, order).job.id for order in (OF_RECIPE, OF_VERSION))
    with shop.sessions.begin() as session:
        session.execute(text("DELETE FROM observations WHERE at >= :at"), {"at": START + timedelta(hours=15)})
    work_off(shop)
    for asked in (of_recipe, of_version):
        done = job(shop, acme, asked)
        assert done.error is not None
        assert (done.state, done.error["code"]) == ("failed", "insufficient_data")


def test_an_erased_entity_takes_its_backtests_along(shop: Workshop, acme: Asker) -> None:
    asked = submit.backtest(shop.runtime, acme, OF_RECIPE).job.id
    with shop.sessions.begin() as session:
        entities.delete(session, acme.tenant_id, "dev-1")
    work_off(shop)
    assert (job(shop, acme, asked).state, job(shop, acme, asked).spec) == ("cancelled", {})


def test_a_job_reads_back_what_it_was(shop: Workshop, acme: Asker) -> None:
    kept = submit.backtest(shop.runtime, acme, OF_RECIPE).job.spec
    assert BacktestJob.from_dict(kept).as_dict() == kept
    assert (kept["folds"], kept["version"], kept["from"], kept["spec"]["window"]) == (2, None, None, SMALL["window"])
