"""What a worker makes of an entity that is erased meanwhile is not remembered."""

from __future__ import annotations

from typing import Any

import pytest

from db import entities
from tasks import predict, submit
from tasks.erase import follow, follow_all
from tasks.orders import PredictOrder, TrainOrder
from tasks.workshop import Workshop
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


def test_every_erasure_that_waits_is_followed(shop: Workshop) -> None:
    acme = tenant(shop)
    for name in ("a", "b"):
        ingest(shop, acme, name, wave(10))
        with shop.sessions.begin() as session:
            entities.delete(session, acme.tenant_id, name)
    assert follow_all(shop.runtime) == 2
    assert follow_all(shop.runtime) == 0
