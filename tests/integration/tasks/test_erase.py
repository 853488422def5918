"""What a worker makes of an entity that is erased meanwhile is not remembered."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db import entities, receipts, registry
from db.models import Receipt
from db.sources.configs import FilesConfig
from ml import shelf
from tasks import predict, submit
from tasks.erase import follow, follow_all
from tasks.jobs import ReadinessJob
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import remove_erased
from tasks.workshop import Workshop
from tests.support import rows
from tests.support.memory import texts
from tests.support.road import SMALL, ingest, job, tenant, wave, work_off

NAME = "alice@example.org"


def test_a_forecast_published_before_and_cached_after_is_refused(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = tenant(shop)
    ingest(shop, acme, NAME, wave(300))
    submit.train(shop.runtime, acme, TrainOrder("device-metric", (NAME,), "cpu", overrides=SMALL))
    work_off(shop)
    asked = submit.predict(shop.runtime, acme, PredictOrder((NAME,), ("cpu",))).job.id
    remember = predict._remember

    def late(*about: Any) -> None:
        assert job(shop, acme, asked).state == "succeeded"
        with shop.sessions.begin() as session:
            erased = entities.delete(session, acme.tenant_id, NAME)
        assert follow(shop.runtime, erased.erasure)
        remember(*about)

    monkeypatch.setattr(predict, "_remember", late)
    work_off(shop)
    assert job(shop, acme, asked).spec == {}, "it was erased"
    assert [text for text in texts(shop.runtime.memory) if NAME in text] == []


def test_measurements_from_before_it_was_known_here_leave_with_it(shop: Workshop) -> None:
    acme, others = tenant(shop), tenant(shop, "globex")
    shop.runtime.sources.configs = {"lake": FilesConfig(name="lake", tenants=("*",), channels={}, path="/nowhere/{entity}.csv", at="at")}
    asked = ReadinessJob(NAME, "health-daily", "lake", "rhr")
    wanted = ((acme, asked), (acme, asked), (others, asked), (acme, replace(asked, entity="bob")))
    ended, ours, theirs, another = (submit.measure(shop.runtime, who, measured).job.id for who, measured in wanted)
    submit.cancel(shop.runtime, acme.tenant_id, ended)
    ingest(shop, acme, NAME, wave(2))
    with shop.sessions.begin() as session:
        erased = entities.delete(session, acme.tenant_id, NAME)
    assert sorted(erased.erasure.jobs) == sorted([ended, ours])
    for each in (ended, ours):
        assert (job(shop, acme, each).state, job(shop, acme, each).spec, job(shop, acme, each).label) == ("cancelled", {}, "erased")
    assert job(shop, others, theirs).spec["entity"] == NAME
    assert job(shop, acme, another).spec["entity"] == "bob"


def test_every_erasure_that_waits_is_followed(shop: Workshop) -> None:
    acme = tenant(shop)
    for name in ("a", "b"):
        ingest(shop, acme, name, wave(10))
        with shop.sessions.begin() as session:
            entities.delete(session, acme.tenant_id, name)
    assert follow_all(shop.runtime) == 2
    assert follow_all(shop.runtime) == 0


def test_an_erasure_is_done_when_redis_and_the_disk_have_followed(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, NAME, wave(300))
    submit.train(shop.runtime, acme, TrainOrder("device-metric", (NAME,), "cpu", overrides=SMALL))
    work_off(shop)
    lying = artefacts(shop)
    assert len(lying) == 1
    with shop.sessions.begin() as session:
        erased = entities.delete(session, acme.tenant_id, NAME)
    assert receipt(shop, acme, erased.receipt.id).artefacts == [lying[0].name]
    assert remove_erased(shop.runtime, older_than_s=-1) == 0, "Redis has not followed"
    assert artefacts(shop) == []
    assert follow_all(shop.runtime) == 1
    found = receipt(shop, acme, erased.receipt.id)
    assert (found.artefacts, found.done_at is not None) == ([], True)


def test_an_artefact_that_was_taken_up_a_moment_ago_waits_and_one_that_serves_others_stays(shop: Workshop) -> None:
    acme, root = tenant(shop), shop.settings.model_dir
    saved = [shelf.put(root, {"entity": NAME, "n": n}, {"weights.safetensors": bytes(8)}) for n in range(2)]
    with shop.sessions.begin() as session:
        mine = rows.entity(session, acme.tenant_id, NAME)
        model = registry.ensure_model(session, acme.tenant_id, mine.id, "cpu")
        for each in saved:
            rows.publish(session, model, artefact_sha256=each.sha256)
        erased = entities.delete(session, acme.tenant_id, NAME)
        other = registry.ensure_model(session, acme.tenant_id, rows.entity(session, acme.tenant_id, "other").id, "cpu")
        rows.publish(session, other, artefact_sha256=saved[1].sha256)  # the very same, published after the erasure
    assert follow_all(shop.runtime) == 1
    assert remove_erased(shop.runtime) == 0
    assert receipt(shop, acme, erased.receipt.id).artefacts == [saved[0].sha256], "it is too young; the other is nobody's to delete"
    os.utime(saved[0].path, (1, 1))
    assert remove_erased(shop.runtime) == 1
    assert artefacts(shop) == [saved[1].path]
    assert receipt(shop, acme, erased.receipt.id).done_at is not None


def test_without_the_disk_nothing_is_said_to_be_done(shop: Workshop, tmp_path: Path) -> None:
    acme = tenant(shop)
    with shop.sessions.begin() as session:
        mine = rows.entity(session, acme.tenant_id, NAME)
        rows.publish(session, registry.ensure_model(session, acme.tenant_id, mine.id, "cpu"), artefact_sha256="ab" * 32)
        erased = entities.delete(session, acme.tenant_id, NAME)
    follow_all(shop.runtime)
    elsewhere = replace(shop.runtime, settings=replace(shop.settings, model_dir=tmp_path / "not mounted"))
    assert remove_erased(elsewhere) == 0
    assert receipt(shop, acme, erased.receipt.id).artefacts == ["ab" * 32]


def artefacts(shop: Workshop) -> list[Path]:
    return sorted(shop.settings.model_dir.glob("??/*"))


def receipt(shop: Workshop, asker: Asker, receipt_id: str) -> Receipt:
    with shop.sessions() as session:
        return receipts.get(session, asker.tenant_id, receipt_id)
