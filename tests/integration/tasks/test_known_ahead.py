"""Known-future covariates on the whole road: what is stored ahead is read, what is missing is named, and a request may bring its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from db import entities, forecasts
from ml.errors import SpecInvalid
from tasks import submit
from tasks.execute import run
from tasks.jobs import Ahead, WhatIfJob
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.workshop import Workshop
from tests.support.road import HANDLERS, SMALL, START, ingest, job, tenant, work_off

ROWS = 400
HOUR = timedelta(hours=1)
TRAIN = TrainOrder(
    "device-metric",
    ("shop",),
    target="sales",
    overrides={**SMALL, "future_covariates": ["deal"], "hidden_size": 16, "epochs": 30, "batch_size": 16},
    look_back_hours=9999,
)
NEXT = [(START + (ROWS + n) * HOUR).isoformat().replace("+00:00", "Z") for n in range(3)]


def deals(rows: int) -> list[float]:
    """On and off without a pattern that the past would tell: a linear congruence, so that they are the same each time."""
    state, found = 1, []
    for _ in range(rows):
        state = (1103515245 * state + 12345) % 2**31
        found.append(float(state >> 16 & 1))
    return found


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """A tenant with a trained shop whose sales follow its deals, of which none is stored ahead."""
    asker, deal = tenant(shop), deals(ROWS)
    ingest(shop, asker, "shop", {"sales": [20 + 5 * now + 0.01 * (n % 7) for n, now in enumerate(deal)], "deal": deal})
    trained = submit.train(shop.runtime, asker, TRAIN)
    work_off(shop)
    result = job(shop, asker, trained.job.id).result
    assert result is not None
    assert result["served_by"] == "blend", "the network must have a part, or nothing ahead is read"
    return asker


def store_ahead(shop: Workshop, asker: Asker, values: list[float]) -> None:
    ingest(shop, asker, "shop", {"deal": deals(ROWS) + values})
    with shop.sessions.begin() as session:
        entities.put(session, asker.tenant_id, "shop")


def predict(shop: Workshop, asker: Asker, **about: Any) -> Any:
    """The job of a prediction once it has ended."""
    submitted = submit.predict(shop.runtime, asker, PredictOrder(("shop",), ("sales",), **about))
    assert submitted.forecast is None
    work_off(shop)
    return job(shop, asker, submitted.job.id)


def values_of(done: Any) -> list[float]:
    assert done.state == "succeeded", done.error
    return [point["value"] for point in done.result["forecast"]["points"]]


def newest(shop: Workshop, asker: Asker) -> Any:
    with shop.sessions() as session:
        return forecasts.newest(session, asker.tenant_id, entities.get(session, asker.tenant_id, "shop").id, "sales")


def test_what_is_not_stored_ahead_is_named_moment_by_moment(shop: Workshop, acme: Asker) -> None:
    failed = predict(shop, acme)
    assert (failed.state, failed.error["code"], failed.error["channels"]) == ("failed", "feature_missing", ["deal"])
    assert failed.error["missing"] == {"deal": NEXT}
    store_ahead(shop, acme, [1.0])
    partly = predict(shop, acme)
    assert partly.error["missing"] == {"deal": NEXT[1:]}
    assert len(values_of(predict(shop, acme, horizon=1))) == 1, "what is asked for is known"


def test_what_a_request_brings_is_read_and_kept_for_nobody_else(shop: Workshop, acme: Asker) -> None:
    on, off = (predict(shop, acme, future={"deal": [now] * 3}) for now in (1.0, 0.0))
    assert all(high > low + 2 for high, low in zip(values_of(on), values_of(off), strict=True))
    assert newest(shop, acme) is None
    again = predict(shop, acme, future={"deal": [1.0] * 3})
    assert (again.id != on.id, values_of(again)) == (True, values_of(on))
    store_ahead(shop, acme, [0.0, 0.0, 0.0])
    stored = predict(shop, acme)
    assert values_of(stored) == pytest.approx(values_of(off))
    assert predict(shop, acme, future={"deal": [1.0] * 3}).result["forecast"]["points"] == again.result["forecast"]["points"]
    assert newest(shop, acme).job_id == stored.id
    cached = submit.predict(shop.runtime, acme, PredictOrder(("shop",), ("sales",)))
    assert cached.job.id == stored.id, "the answer in the cache is still that of what is stored"


def test_two_that_suppose_the_same_at_once_are_one(shop: Workshop, acme: Asker) -> None:
    def ask(future: Ahead) -> Submitted:
        return submit.predict(shop.runtime, acme, PredictOrder(("shop",), ("sales",), future=future))

    first, same, other = ask({"deal": [1, 1, 1]}), ask({"deal": [1, 1, 1]}), ask({"deal": [1, 1, 0]})
    assert (same.job.id, same.deduplicated) == (first.job.id, True)
    assert other.job.id != first.job.id


def test_a_what_if_changes_the_future(shop: Workshop, acme: Asker) -> None:
    change = {"channel": "deal", "op": "set", "value": 1.0, "steps": {"future": 2}}
    asked = WhatIfJob("shop", "sales", scenarios=({"name": "two deals", "changes": [change]},), future={"deal": [0.0] * 3})
    whole, without = (
        submit.what_if(shop.runtime, acme, WhatIfJob.from_dict(asked.as_dict() | {"include_baseline": told})).job.id
        for told in (True, False)
    )
    work_off(shop)
    result, shorter = (job(shop, acme, each).result for each in (whole, without))
    assert result is not None
    assert shorter is not None
    [scenario] = result["scenarios"]
    assert scenario["used"] == {"deal": [{"at": at, "value": 1.0} for at in NEXT[:2]]}
    assert [delta > 2 for delta in scenario["delta"][:2]] == [True, True]
    baseline = [point["value"] for point in result["baseline"]["points"]]
    assert [p["value"] - b for p, b in zip(scenario["points"], baseline, strict=True)] == pytest.approx(scenario["delta"])
    assert shorter == {name: value for name, value in result.items() if name != "baseline"}


def test_a_version_that_knows_nothing_ahead_refuses_what_was_asked_of_another(shop: Workshop, acme: Asker) -> None:
    """It became active after the request was taken in."""
    order = TrainOrder("device-metric", ("shop",), target="sales", overrides=SMALL, activation="always", look_back_hours=9999)
    asked = submit.predict(shop.runtime, acme, PredictOrder(("shop",), ("sales",), future={"deal": [1.0] * 3}))
    trained = submit.train(shop.runtime, acme, order).job.id
    run(shop, HANDLERS, trained, "first")
    work_off(shop)
    failed = job(shop, acme, asked.job.id)
    assert (failed.state, failed.error and failed.error["code"]) == ("failed", "validation_failed")
    with pytest.raises(SpecInvalid, match="no channel"):
        submit.predict(shop.runtime, acme, PredictOrder(("shop",), ("sales",), future={"deal": [1.0] * 3}))
