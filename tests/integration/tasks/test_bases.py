"""Bases on the whole road: one network learned from many variants' prices, and a variant's own network that starts from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from sqlalchemy import select

from db import entities, registry
from db.errors import Conflict, NoActiveVersion, NotFound
from db.models import Model
from ml import artifact
from ml.errors import InsufficientData, SpecInvalid
from tasks import submit
from tasks.orders import BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.road import ingest, job, tenant, work_off

DAY = timedelta(days=1)
SMALL = {"hidden_size": 8, "num_layers": 1, "window": 14, "future_covariates": ["deal"], "epochs": 3}
VARIANTS = tuple(f"variant-{n}" for n in range(4))
ORDER = PretrainOrder("prices", "price-week", VARIANTS, overrides=SMALL)
FINE = {"epochs": 1, "learning_rate": 1e-6, "window": 14}


def prices(variant: int, days: int = 60) -> dict[str, list[float]]:
    """A level of its own, a weekly deal that takes a fifth off; some days it is not on sale, at a price of 0."""
    deal = [float((day + variant) % 7 in (4, 5)) for day in range(days + 7)]
    there = [float((day * 7 + variant) % 13 != 0) for day in range(days)]
    level = 10.0 + 7 * variant
    price = [on * (level * (1 - 0.2 * off) + 0.01 * (day % 5)) for day, (on, off) in enumerate(zip(there, deal, strict=False))]
    return {"price": price, "is_available": there, "deal": deal}


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """A tenant with four variants."""
    asker = tenant(shop)
    for n, name in enumerate(VARIANTS):
        ingest(shop, asker, name, prices(n), step=DAY)
    return asker


def pretrained(shop: Workshop, asker: Asker, order: PretrainOrder = ORDER) -> Any:
    """The job of a base once it has ended."""
    submitted = submit.pretrain(shop.runtime, asker, order)
    work_off(shop)
    return job(shop, asker, submitted.job.id)


def fine_tuning(**about: Any) -> TrainOrder:
    told = {"recipe": "price-week", "entities": ("variant-3",), "overrides": FINE, "base": BaseOrder(name="prices")}
    return TrainOrder(**told | about)


def test_a_base_is_learned_from_many_and_kept_under_an_entity_of_its_own(shop: Workshop, acme: Asker) -> None:
    done = pretrained(shop, acme)
    assert done.state == "succeeded", done.error
    assert (done.kind, done.result["base"], done.result["target"], done.result["entities"]) == ("pretrain", "prices", "price", 4)
    assert done.result["losses"].keys() == set(VARIANTS)
    with shop.sessions() as session:
        holder = entities.get(session, acme.tenant_id, "prices")
        [model] = session.scalars(select(Model).where(Model.entity_id == holder.id))
        version = registry.active(session, acme.tenant_id, holder.id, "price", "base")
    assert (holder.kind, model.kind, model.name) == ("base", "base", "price")
    assert version is not None
    assert (version.semver, version.spec["available"], version.metrics.keys()) == ("1.0.0", "is_available", {"seq2seq"})
    with pytest.raises(NoActiveVersion):
        submit.predict(shop.runtime, acme, PredictOrder(("prices",), ("price",)))


def test_a_variant_starts_from_the_base_and_serves_itself(shop: Workshop, acme: Asker) -> None:
    """One epoch at next to no rate leaves the network where it began: at the base, in another artefact."""
    base = pretrained(shop, acme).result
    submitted = submit.train(shop.runtime, acme, fine_tuning())
    assert submitted.job.spec["base"] == {"model": base["model"], "version": "1.0.0"}
    assert submitted.job.spec["spec"]["hidden_size"] == 8, "the shape is the base's"
    work_off(shop)
    done = job(shop, acme, submitted.job.id)
    assert done.state == "succeeded", done.error
    with shop.sessions() as session:
        trained = registry.version(session, acme.tenant_id, done.result["model"], done.result["version"])
        shared = registry.version(session, acme.tenant_id, base["model"], "1.0.0")
    assert trained.metrics.keys() == {"blend", "seq2seq", "persistence", "seasonal_naive"}
    weights = shop.model(trained).network.state_dict()
    start = artifact.load_base(shop.settings.model_dir, shared.artefact_sha256).network.state_dict()
    assert all(torch.allclose(weights[name], start[name], atol=1e-3) for name in start)

    asked = submit.predict(shop.runtime, acme, PredictOrder(("variant-3",), ("price",)))
    work_off(shop)
    answered = job(shop, acme, asked.job.id)
    assert answered.state == "succeeded", answered.error
    assert len(answered.result["forecast"]["points"]) == 7


def test_any_model_is_a_base_and_a_pinned_version_is_taken(shop: Workshop, acme: Asker) -> None:
    first = pretrained(shop, acme).result
    second = pretrained(shop, acme, PretrainOrder(**vars_of(ORDER) | {"activation": "always", "overrides": {**SMALL, "seed": 5}})).result
    assert (second["version"], second["active"]) == ("1.1.0", True)
    told = [
        BaseOrder(name="prices"),
        BaseOrder(name="prices", version="1.0.0"),
        BaseOrder(first["model"]),
        BaseOrder(first["model"], version="1.0.0"),
    ]
    jobs = [submit.train(shop.runtime, acme, fine_tuning(base=base)).job for base in told]
    assert [each.spec["base"]["version"] for each in jobs] == ["1.1.0", "1.0.0", "1.1.0", "1.0.0"]
    assert len({each.id for each in jobs}) == 2, "the same version is the same question"


def test_what_contradicts_the_base_is_refused_by_its_field(shop: Workshop, acme: Asker) -> None:
    base = pretrained(shop, acme).result
    for changes, field in (
        ({"horizon": 5}, "horizon"),
        ({"hidden_size": 16}, "hidden_size"),
        ({"network": "lstm"}, "network"),
        ({"covariates": ["views"]}, "covariates"),
        ({"future_covariates": []}, "future_covariates"),
        ({"rolling": [7]}, "rolling"),
    ):
        with pytest.raises(SpecInvalid, match=f"^{field} = ") as refused:
            submit.train(shop.runtime, acme, fine_tuning(overrides=FINE | changes))
        assert refused.value.field == field
    same = {"horizon": 7, "hidden_size": 8, "network": "seq2seq", "covariates": [], "future_covariates": ["deal"], "rolling": []}
    assert submit.train(shop.runtime, acme, fine_tuning(overrides=FINE | same)).job.state == "queued"
    with pytest.raises(NotFound):
        submit.train(shop.runtime, acme, fine_tuning(base=BaseOrder("mdl_none")))
    with pytest.raises(NotFound):
        submit.train(shop.runtime, acme, fine_tuning(base=BaseOrder(base["model"], version="9.9.9")))
    with pytest.raises(NoActiveVersion):
        submit.train(shop.runtime, acme, fine_tuning(base=BaseOrder(name="prices"), target="deal"))
    with pytest.raises(SpecInvalid, match="name one"):
        submit.train(shop.runtime, acme, fine_tuning(recipe="device-metric"))


def test_a_model_without_a_network_is_no_base(shop: Workshop, acme: Asker) -> None:
    with shop.sessions.begin() as session:
        holder = entities.get(session, acme.tenant_id, "variant-0")
        detector = registry.ensure_model(session, acme.tenant_id, holder.id, "price", "anomaly").id
    with pytest.raises(SpecInvalid, match="of kind anomaly"):
        submit.train(shop.runtime, acme, fine_tuning(base=BaseOrder(detector)))


def test_a_base_of_another_number_of_targets_is_refused(shop: Workshop, acme: Asker) -> None:
    pretrained(shop, acme)
    warm = {"temperature": prices(1)["price"], "humidity": prices(2)["price"]}
    ingest(shop, acme, "room", warm, step=DAY)
    with shop.sessions() as session:
        holder = entities.get(session, acme.tenant_id, "prices")
        model = registry.find_model(session, acme.tenant_id, holder.id, "price", "base")
    assert model is not None
    with pytest.raises(SpecInvalid, match="price"):
        submit.train(shop.runtime, acme, TrainOrder("sensor-climate", ("room",), base=BaseOrder(model.id)))


def test_a_pruned_base_is_refused(shop: Workshop, acme: Asker) -> None:
    base = pretrained(shop, acme).result
    pretrained(shop, acme, PretrainOrder(**vars_of(ORDER) | {"activation": "always"}))
    with shop.sessions.begin() as session:
        registry.delete_version(session, acme.tenant_id, base["model"], "1.0.0")
    for told in (BaseOrder(base["model"], version="1.0.0"), BaseOrder(name="prices", version="1.0.0")):
        with pytest.raises(Conflict, match="pruned"):
            submit.train(shop.runtime, acme, fine_tuning(base=told))


def test_who_cannot_be_learned_from_is_left_out_and_named(shop: Workshop, acme: Asker) -> None:
    ingest(shop, acme, "short", {name: values[:10] for name, values in prices(1).items()}, step=DAY)
    ingest(shop, acme, "flat", {"price": [5.0] * 60, "deal": [0.0] * 60}, step=DAY)
    done = pretrained(shop, acme, PretrainOrder("prices", "price-week", ("variant-0", "short", "flat", "variant-1"), overrides=SMALL))
    assert done.state == "succeeded", done.error
    assert done.result["losses"].keys() == {"variant-0", "variant-1"}
    assert [notice["entity"] for notice in done.warnings] == ["short", "flat"]
    few = pretrained(shop, acme, PretrainOrder("few", "price-week", ("variant-0", "short"), overrides=SMALL))
    assert (few.state, few.error["code"], few.error["requirements"][0]["have"]) == ("failed", "insufficient_data", 1)


def test_what_no_longer_fits_into_memory_is_left_out_and_said(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.pretrain.numbers_of", lambda _: 100)
    monkeypatch.setattr("tasks.pretrain.MOST_POOLED", 200)
    done = pretrained(shop, acme, PretrainOrder("prices", "price-week", ("variant-0", "variant-1", "variant-2"), overrides=SMALL))
    assert done.state == "succeeded", done.error
    assert done.result["entities"] == 2
    [notice] = done.warnings
    assert (notice["code"], notice["entity"]) == ("entity_left_out", "variant-2")


def test_a_base_needs_two_and_a_name_of_its_own(shop: Workshop, acme: Asker) -> None:
    with pytest.raises(InsufficientData, match="1 of 2 entities"):
        submit.pretrain(shop.runtime, acme, PretrainOrder("prices", "price-week", ("variant-0", "variant-0")))
    with pytest.raises(SpecInvalid, match="name = 'variant-0'"):
        submit.pretrain(shop.runtime, acme, PretrainOrder("variant-0", "price-week", VARIANTS))
    with pytest.raises(NotFound):
        submit.pretrain(shop.runtime, acme, PretrainOrder("prices", "price-week", ("variant-0", "nobody")))


def test_a_base_erased_is_gone(shop: Workshop, acme: Asker) -> None:
    """What started from it stays: it has a network of its own."""
    pretrained(shop, acme)
    waiting = submit.train(shop.runtime, acme, fine_tuning()).job
    with shop.sessions.begin() as session:
        entities.delete(session, acme.tenant_id, "prices")
    with pytest.raises(NotFound):
        submit.train(shop.runtime, acme, fine_tuning())
    work_off(shop)
    failed = job(shop, acme, waiting.id)
    assert (failed.state, failed.error and failed.error["code"]) == ("failed", "version_not_found")


def vars_of(order: PretrainOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in PretrainOrder.__dataclass_fields__}
