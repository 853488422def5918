"""A short road for tests: a tenant, an entity with data, and a workshop that runs jobs in this process, without a broker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from db import entities, ledger, observations, tenants
from db.models import Job
from db.observations import Row
from tasks.anomaly import anomaly_detect, anomaly_train
from tasks.backtest import backtest
from tasks.batch import predict
from tasks.environment import load
from tasks.execute import run
from tasks.measure import measure
from tasks.placing import Asker
from tasks.pretrain import pretrain_base
from tasks.runtime import open_runtime
from tasks.settings import Settings
from tasks.train import train
from tasks.what_if import what_if
from tasks.workshop import Workshop, open_workshop

HANDLERS = {
    "train": train,
    "pretrain": pretrain_base,
    "predict": predict,
    "what_if": what_if,
    "backtest": backtest,
    "anomaly_train": anomaly_train,
    "anomaly_detect": anomaly_detect,
    "readiness": measure,
}
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Small enough that a training takes a fraction of a second.
SMALL = {"hidden_size": 8, "num_layers": 1, "epochs": 3, "window": 12, "horizon": 3}


def settings_for(database_url: str, redis_url: str, folder: Path, **changes: Any) -> Settings:
    """Short times, so that what takes a minute in production takes a second here."""
    scaled = {"lease_s": 3.0, "retry_base_s": 0.0, "redispatch_s": 1.0, "reconcile_s": 0.5, "worker_name": "test-worker", "device": "cpu"}
    return replace(load({}), database_url=database_url, redis_url=redis_url, model_dir=folder, **scaled | changes)


@contextmanager
def workshop(settings: Settings) -> Iterator[Workshop]:
    shop = open_workshop(open_runtime(settings, "test", connections=20))
    try:
        yield shop
    finally:
        shop.close()


def tenant(shop: Workshop, name: str = "acme", **limits: int) -> Asker:
    with shop.sessions.begin() as session:
        made = tenants.create_tenant(session, name, **{"max_unfinished": 1000, "max_running": 100} | limits)
        return Asker(made.id)


def wave(hours: int, *, noise: float = 0.1, level: float = 20.0) -> dict[str, list[float]]:
    """A daily rhythm, hour by hour, that a covariate drives: the same numbers each time."""
    load_ = [math.sin(2 * math.pi * h / 24) + noise * math.sin(h * 12.9898) * math.cos(h * 78.233) for h in range(hours)]
    target = [level + 5 * load_[max(0, h - 1)] + noise * math.cos(h * 39.425) for h in range(hours)]
    return {"cpu": target, "load": load_}


def ingest(shop: Workshop, asker: Asker, entity: str, channels: Mapping[str, list[float]], step: timedelta = timedelta(hours=1)) -> None:
    with shop.sessions.begin() as session:
        made = entities.put(session, asker.tenant_id, entity)
        rows = (Row(name, START + i * step, value) for name, values in channels.items() for i, value in enumerate(values))
        observations.upsert(session, made, rows)


def work_off(shop: Workshop, handlers: Any = HANDLERS, *, most: int = 100) -> list[str]:
    """Run everything that is due, as a worker would, in order. Returns the ids in the order they were rung."""
    done: list[str] = []
    while len(done) < most:
        with shop.sessions.begin() as session:
            bells = [
                bell
                for queue in ("interactive", "batch", "train")
                for bell in ledger.due(session, queue, 100, shop.settings.prediction_cohort)
            ]
            ledger.dispatched(session, [bell.job_id for bell in bells])
        if not bells:
            return done
        for bell in bells:
            run(shop, handlers, bell.job_id, f"{bell.job_id}:{bell.dispatch_no}")
            done.append(bell.job_id)
    return done


def job(shop: Workshop, asker: Asker, job_id: str) -> Job:
    with shop.sessions() as session:
        return ledger.get(session, asker.tenant_id, job_id)
