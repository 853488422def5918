"""COMMIT goes through, or the statement that is a transaction by itself, and its answer does not: what is accepted exists, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError

from db.models import Job
from tasks import submit
from tasks.orders import TrainOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support import road
from tests.support.proxy import Proxy, proxy

ORDER = TrainOrder("device-metric", ("pump",), "cpu", overrides=road.SMALL, look_back_hours=None)


@pytest.fixture
def wire(engine: Engine) -> Iterator[Proxy]:
    with proxy(engine.url.host or "127.0.0.1", engine.url.port or 5432) as made:
        yield made


@pytest.fixture
def shop(engine: Engine, redis_url: str, tmp_path: Path, wire: Proxy) -> Iterator[Workshop]:
    url = engine.url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
    with road.workshop(road.settings_for(url, redis_url, tmp_path)) as made:
        yield made


@pytest.fixture
def asker(shop: Workshop) -> Asker:
    asker = road.tenant(shop)
    road.ingest(shop, asker, "pump", road.wave(200))
    return asker


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Job)).scalar_one()


def again(asker: Asker) -> Asker:
    """The same tenant with a new request."""
    return Asker(asker.tenant_id)


def cut_next_commit(wire: Proxy) -> None:
    cuts = wire.cuts
    wire.cut_answer_to = lambda said: b"COMMIT" in said and wire.cuts == cuts


@pytest.mark.parametrize("key", [None, "k"])
def test_the_job_is_there_and_is_answered(shop: Workshop, asker: Asker, wire: Proxy, engine: Engine, key: str | None) -> None:
    cut_next_commit(wire)
    answered = submit.train(shop.runtime, Asker(asker.tenant_id, "POST /train", key), ORDER)
    assert wire.cuts == 1
    assert road.job(shop, asker, answered.job.id).state == "queued"
    assert count(engine) == 1


def another(seed: int) -> TrainOrder:
    return replace(ORDER, overrides=road.SMALL | {"seed": seed})


def cut_next_job(wire: Proxy) -> None:
    cuts = wire.cuts
    wire.cut_answer_to = lambda said: b"INSERT INTO jobs" in said and wire.cuts == cuts


def test_the_job_of_a_single_statement_is_there_and_is_answered(shop: Workshop, asker: Asker, wire: Proxy, engine: Engine) -> None:
    submit.train(shop.runtime, again(asker), ORDER)  # the first training of a model writes that down too, in one transaction
    cut_next_job(wire)
    answered = submit.train(shop.runtime, again(asker), another(seed=2))
    assert wire.cuts == 1
    assert road.job(shop, asker, answered.job.id).state == "queued"
    assert (answered.job.spec["spec"]["seed"], count(engine)) == (2, 2)


def test_a_single_statement_that_never_arrived_is_an_error_and_leaves_nothing(
    shop: Workshop, asker: Asker, wire: Proxy, engine: Engine
) -> None:
    submit.train(shop.runtime, again(asker), ORDER)
    cuts = wire.cuts
    wire.drop = lambda said: b"INSERT INTO jobs" in said and wire.cuts == cuts
    with pytest.raises(OperationalError):
        submit.train(shop.runtime, again(asker), another(seed=2))
    assert (wire.cuts, count(engine)) == (1, 1)


def test_a_training_has_two_words_with_postgres(shop: Workshop, asker: Asker, wire: Proxy) -> None:
    """One that looks at the entity, one that writes the job; no word begins or ends a transaction."""
    submit.train(shop.runtime, again(asker), ORDER)
    heard: list[bytes] = []
    wire.drop = lambda said: heard.append(said) is not None
    submit.train(shop.runtime, again(asker), another(seed=2))
    words = (b"BEGIN", b"COMMIT", b"FROM entities", b"FROM observations", b"INSERT INTO models", b"INSERT INTO jobs")
    assert [word for said in heard for word in words if word in said] == [b"FROM entities", b"INSERT INTO jobs"]


def test_the_key_still_brings_the_same_job(shop: Workshop, asker: Asker, wire: Proxy, engine: Engine) -> None:
    keyed = Asker(asker.tenant_id, "POST /train", "k", "ab")
    cut_next_commit(wire)
    first = submit.train(shop.runtime, keyed, ORDER)
    again = submit.train(shop.runtime, keyed, ORDER)
    assert (again.job.id, again.replayed, count(engine)) == (first.job.id, True, 1)


def test_a_commit_that_never_arrived_is_an_error_and_leaves_nothing(shop: Workshop, asker: Asker, wire: Proxy, engine: Engine) -> None:
    """The connection breaks before COMMIT: nothing was promised, and the same key may be used again."""
    keyed = Asker(asker.tenant_id, "POST /train", "k", "ab")
    cuts = wire.cuts
    wire.cut_answer_to = lambda said: b"INSERT INTO jobs" in said and wire.cuts == cuts
    with pytest.raises(OperationalError):
        submit.train(shop.runtime, keyed, ORDER)
    assert (wire.cuts, count(engine)) == (1, 0)
    again = submit.train(shop.runtime, keyed, ORDER)
    assert (again.replayed, count(engine)) == (False, 1)


def test_a_database_that_does_not_come_back_is_an_error(shop: Workshop, asker: Asker, wire: Proxy) -> None:
    """Whether the job is there cannot be found out: it is not called accepted."""
    wire.cut_answer_to = lambda said: wire.cuts > 0 or b"COMMIT" in said
    with pytest.raises(OperationalError):
        submit.train(shop.runtime, asker, ORDER)


def test_a_twin_that_stood_before_proves_nothing_of_a_commit(shop: Workshop, asker: Asker, wire: Proxy, engine: Engine) -> None:
    """The key was rolled back with the transaction: calling it accepted would let the same key make a second job."""
    submit.train(shop.runtime, asker, ORDER)
    cuts = wire.cuts
    wire.drop = lambda said: b"COMMIT" in said and wire.cuts == cuts
    with pytest.raises(OperationalError):
        submit.train(shop.runtime, Asker(asker.tenant_id, "POST /train", "k", "ab"), ORDER)
    again = submit.train(shop.runtime, Asker(asker.tenant_id, "POST /train", "k", "ab"), ORDER)
    assert (again.replayed, again.deduplicated, count(engine)) == (False, True, 1)
