"""Orders as schedules keep them: as they were given, without whom they are about, and readable by the release before."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ml.errors import NewerRelease
from tasks import metrics
from tasks.alarms import DetectOrder, WatchOrder
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.templates import KINDS, Order, about, read, whom, written

SPEC = {"window": 7, "rolling": [7], "split": {"fit": 0.6, "stop": 0.1, "calibrate": 0.1, "test": 0.2}}
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS: dict[str, Order] = {
    "train": TrainOrder("health-daily", ("u", "v"), "rhr", "mine", SPEC, "never", 24.5, BaseOrder(name="hearts", version="1.0.0"), True),
    "pretrain": PretrainOrder("hearts", "health-daily", ("u", "v"), "rhr", SPEC, "always", 24.5),
    "predict": PredictOrder(("u", "v"), ("rhr", "hrv"), 3, 0.75, batch=True),
    "backtest": BacktestOrder("u", "rhr", version="1.0.0", begin=NEW_YEAR, end=NEW_YEAR),
    "anomaly_train": WatchOrder("u", "device-anomaly", ("cpu_usage",), "mine", {"trees": 20}, "never", 24.5),
    "anomaly_detect": DetectOrder("u", "mine", "1.0.0", NEW_YEAR, None, 48.0),
}


def test_there_is_an_order_of_every_kind() -> None:
    assert ORDERS.keys() == KINDS.keys()
    assert tuple(KINDS) == metrics.SCHEDULED
    assert all(type(ORDERS[kind]) is KINDS[kind].order for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_comes_back_as_it_was_given(kind: str) -> None:
    order, stored = ORDERS[kind], json.loads(json.dumps(written(kind, ORDERS[kind])))
    assert read(kind, stored, whom(order)) == order
    assert '"u"' not in json.dumps(stored), "no name of an entity is kept with it"
    assert whom(about(order, ("x", "y"))) == whom(read(kind, stored, ("x", "y")))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_newer_release_adds_is_passed_over_and_what_it_raises_is_let_be(kind: str) -> None:
    stored = written(kind, ORDERS[kind])
    assert read(kind, stored | {"surprise": 1}, whom(ORDERS[kind])) == ORDERS[kind]
    with pytest.raises(NewerRelease):
        read(kind, stored | {"v": 2}, ("u",))


def test_a_kind_of_a_newer_release_is_let_be() -> None:
    with pytest.raises(NewerRelease):
        read("dream", {}, ("u",))
