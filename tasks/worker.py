"""The Celery side of a worker: one task per kind of job, each of one line; what happens when a child dies or the worker is told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from billiard.exceptions import WorkerLostError
from celery import Task
from celery.signals import task_failure, worker_process_init, worker_process_shutdown, worker_shutting_down

from db import ledger
from db.models import TERMINAL
from tasks import metrics, problems, status
from tasks.anomaly import anomaly_detect, anomaly_train
from tasks.backtest import backtest
from tasks.batch import predict
from tasks.celery import app
from tasks.environment import load
from tasks.execute import run
from tasks.jobs import SERVES
from tasks.measure import measure
from tasks.pretrain import pretrain_base
from tasks.runtime import Runtime, open_runtime
from tasks.train import train
from tasks.what_if import what_if
from tasks.workshop import Workshop, open_workshop

log = structlog.get_logger()

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


class Bench:
    """This process's workshop: opened after the fork, because connections must not be shared with the parent."""

    shop: Workshop | None = None

    @classmethod
    def open(cls) -> Workshop:
        if cls.shop is None:
            settings = load()
            cls.shop = open_workshop(open_runtime(settings, "worker"))
            cls.shop.runtime.serve(role(settings.host))
        return cls.shop

    @classmethod
    def close(cls) -> None:
        if cls.shop is not None:
            cls.shop.close()
            cls.shop = None


def role(name: str) -> str:
    """What a worker of this name is: `fleetcast worker train` calls itself `train@<host>`."""
    kind = name.partition("@")[0]
    return kind if kind in SERVES else metrics.WORKER


def answer(task: Task[Any, Any], job_id: str) -> None:
    """Answer a doorbell."""
    run(Bench.open(), HANDLERS, job_id, str(task.request.id))


for kind in HANDLERS:
    app.task(name=kind, bind=True)(answer)


@worker_process_init.connect
def open_bench(**_: Any) -> None:
    Bench.open()


@worker_process_shutdown.connect
def close_bench(**_: Any) -> None:
    Bench.close()


@task_failure.connect
def child_died(task_id: str = "", exception: BaseException | None = None, **_: Any) -> None:
    """A child was killed (out of memory, a crash in native code): count it against every job it held."""
    if not isinstance(exception, WorkerLostError):
        return
    error = problems.problem("worker_lost", f"The worker process died: {exception}")
    with _runtime() as runtime:
        with runtime.sessions.begin() as session:
            moved = ledger.crashed(session, f"{runtime.settings.host}/{task_id}", max_crashes=runtime.settings.max_crashes, error=error)
        runtime.meter.count(metrics.WORKER_CRASHES)
        for job in moved:
            found = status.fresh(runtime, job.tenant_id, job.job_id)
            if job.state in TERMINAL:
                metrics.count_end(runtime.meter, found)
    whose = sorted({job.tenant_id for job in moved})
    log.error("child_died", jobs=[job.job_id for job in moved], tenants=whose, reason=str(exception))


@worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Told to stop: the next heartbeat tells every running job to hand itself back."""
    with _runtime() as runtime, runtime.sessions.begin() as session:
        count = ledger.drain(session, runtime.settings.host)
    log.info("draining", jobs=count)


@contextmanager
def _runtime() -> Iterator[Runtime]:
    """The parent process holds no connection: its children are forked from it."""
    runtime = open_runtime(load(), "worker-parent", connections=2)
    try:
        yield runtime
    finally:
        runtime.close()
