"""What does a batch of thousands cost? Accepted, answered together against one after another, in the same run.

    python -m bench.batch [--entities 512] [--accepted 10000] [--cohorts 1,64] [--window 50 --hidden 64]

accepted    POST /predict/batch and POST /models/train by a selector that finds so many entities, into an app in this process; and the retry
            of those trainings after they were cancelled. Seconds until the answer, that is until all items are committed; and the memory
            that this process takes more meanwhile.
pass        The networks alone, loaded: each entity's forecast by itself, against all of them in one call.
queue       The items of a batch through claim, fetch, load, pass, publication and mirror, one worker, no broker between: in cohorts of 1,
            which is one model after another, against cohorts of 64. Every entity has a version and an artefact of its own, none loaded.
source      The same, of rows that lie in a table of somebody else's, as a source of the kind `sql` reads them.

Memory is this process's. Other processes may be using the machine, so CPU seconds of this process stand beside the clock's.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
from sqlalchemy import text

from bench.fleet import CHANNEL, START, furnish, wave
from bench.house import Ground, forget_most, ground, most_held
from bench.tables import figure, markdown
from db import entities, ledger
from db.sources.catalogue import read
from db.sources.opened import Sources
from db.sources.source import Limits
from ml import artifact
from ml.fitted import Fitted
from ml.forecaster import forecast
from ml.recipes import recipe
from tasks import submit
from tasks.batch import predict
from tasks.execute import run
from tasks.orders import PredictOrder
from tasks.placing import Asker
from tasks.train import train
from tasks.workshop import Workshop, open_workshop

HANDLERS = {"predict": predict, "train": train}


@dataclass(frozen=True)
class Cost:
    name: str
    items: int
    seconds: float
    cpu_seconds: float
    #: Megabytes.
    grew: float


def main() -> None:
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with ground() as here:
        accepted = _accepted(here, options.accepted)
        shop = open_workshop(replace(here.house.runtime, settings=replace(here.house.runtime.settings, model_dir=here.folder / "models")))
        changes = {"window": options.window, "hidden_size": options.hidden, "network": options.network, "epochs": 2}
        spec = recipe("device-metric", shop.runtime.recipes).resolve(CHANNEL, {}, changes)
        names = furnish(shop.sessions, here.me.tenant_id, shop.settings.model_dir, options.entities, spec)
        costs = _pass(shop, options.entities)
        costs += [_queue(shop, Asker(here.me.tenant_id), names, size) for size in options.cohorts]
        shop = _elsewhere(here, shop)
        costs += [_queue(shop, Asker(here.me.tenant_id), names, size, "source") for size in options.cohorts]
    heads = ["what", "items", "seconds", "items/s", "CPU ms an item", "memory grew by, MB"]
    print(markdown(heads, [_row(cost) for cost in (*accepted, *costs)]))
    for one, other in zip(costs[::2], costs[1::2], strict=True):
        print(f"{other.name}: {one.seconds / other.seconds:.1f}× by the clock, {one.cpu_seconds / other.cpu_seconds:.1f}× in CPU time")


def _accepted(here: Ground, number: int) -> list[Cost]:
    names = [f"w{n:05}" for n in range(number)]
    with here.house.runtime.sessions.begin() as session:
        entities.ensure(session, here.me.tenant_id, names)
        session.execute(text("UPDATE entities SET kind = 'waiting'"))
    whom = {"selector": {"kind": "waiting"}}
    asked = {
        "/predict/batch": whom | {"targets": [CHANNEL]},
        "/models/train": whom | {"recipe": "device-metric", "target": CHANNEL},
    }
    here.me.get("/entities")  # connections are open then
    found = [_asked(here, path, body, number) for path, body in asked.items()]
    trainings = here.me.get("/jobs").json["data"][0]["id"]
    here.me.post(f"/jobs/{trainings}/cancel")
    found.append(_asked(here, "/jobs/{job}/retry", {}, number, trainings))
    with here.house.runtime.sessions.begin() as session:
        session.execute(text("DELETE FROM jobs"))
        session.execute(text("DELETE FROM entities"))
    return found


def _asked(here: Ground, path: str, body: dict[str, Any], number: int, job: str = "") -> Cost:
    def ask() -> None:
        answer = here.me.post(path.format(job=job), body)
        if answer.status_code != 202:
            raise SystemExit(f"{path} was answered {answer.status_code}: {answer.text}")

    return _measured(f"POST {path}", number, ask)


def _pass(shop: Workshop, number: int) -> list[Cost]:
    at = np.datetime64(START.replace(tzinfo=None), "ms") + np.arange(336) * np.timedelta64(3_600_000, "ms")
    requests = [(fitted, {CHANNEL: (at, np.array(wave(n, 336)))}) for n, fitted in enumerate(_loaded(shop, min(number, 256)))]
    forecast(requests[:2])
    one = _measured("pass, one by one", len(requests), lambda: [forecast([each]) for each in requests])
    return [one, _measured("pass, together", len(requests), lambda: forecast(requests))]


def _loaded(shop: Workshop, number: int) -> list[Fitted]:
    with shop.sessions() as session:
        addresses = session.scalars(text("SELECT artefact_sha256 FROM versions LIMIT :number"), {"number": number}).all()
    return [artifact.load(shop.settings.model_dir, sha256) for sha256 in addresses]


def _elsewhere(here: Ground, shop: Workshop) -> Workshop:
    """The same rows in a table of somebody else's, in which every version has learned. Nothing is loaded."""
    with shop.sessions.begin() as session:
        for statement in _MOVED:
            session.execute(text(statement))
    told = f'[sources.follower]\nkind = "sql"\nurl = "{here.database_url}"\ntable = "elsewhere.readings"\nentity = "name"\nat = "at"\n'
    configs = read(f'{told}tenants = ["*"]\n[sources.follower.channels]\n{CHANNEL} = "value"\n')
    limits = Limits(shop.settings.source_max_rows, shop.settings.source_timeout_s)
    return Workshop(replace(shop.runtime, sources=Sources(configs, limits)), shop.device)


_MOVED = (
    "CREATE SCHEMA elsewhere",
    "CREATE TABLE elsewhere.readings AS SELECT e.name, o.at, o.value FROM observations o JOIN channels c ON c.id = o.channel_id "
    "JOIN entities e ON e.id = c.entity_id",
    "CREATE INDEX ON elsewhere.readings (name, at)",
    "UPDATE versions SET source = 'follower'",
)


def _queue(shop: Workshop, asker: Asker, names: Sequence[str], size: int, where: str = "queue") -> Cost:
    shop = Workshop(replace(shop.runtime, settings=replace(shop.settings, prediction_cohort=size)), shop.device)
    order = PredictOrder(tuple(names), (CHANNEL,), level=0.5 + size / 1000, batch=True)
    batch = submit.predict(shop.runtime, asker, order).job.id
    cost = _measured(f"{where}, cohorts of {size}", len(names), lambda: work_off(shop))
    with shop.sessions() as session:
        assert ledger.get(session, asker.tenant_id, batch).state == "succeeded"
        assert ledger.item_counts(session, batch) == {"succeeded": len(names)}
    return cost


def work_off(shop: Workshop, queue: str = "batch") -> None:
    """Everything that is due, as a dispatcher and a worker would."""
    while bells := _rung(shop, queue):
        for bell in bells:
            run(shop, HANDLERS, bell.job_id, f"{bell.job_id}:{bell.dispatch_no}")


def _rung(shop: Workshop, queue: str) -> list[ledger.Bell]:
    with shop.sessions.begin() as session:
        bells = ledger.due(session, queue, shop.settings.dispatch_window, shop.settings.prediction_cohort)
        ledger.dispatched(session, [bell.job_id for bell in bells])
    return bells


def _measured(name: str, items: int, work: Callable[[], Any]) -> Cost:
    held, spent, began = forget_most(os.getpid()), time.process_time(), time.perf_counter()
    work()
    return Cost(name, items, time.perf_counter() - began, time.process_time() - spent, most_held(os.getpid()) - held)


def _row(cost: Cost) -> list[str]:
    numbers = (cost.seconds, cost.items / cost.seconds, 1000 * cost.cpu_seconds / cost.items, cost.grew)
    return [cost.name, f"{cost.items:,}", *(figure(number, digits) for number, digits in zip(numbers, (2, 0, 2, 0), strict=True))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=512, help="whose items are answered")
    parser.add_argument("--accepted", type=int, default=10_000, help="items of the batches that are only accepted")
    parser.add_argument("--cohorts", type=lambda told: [int(size) for size in told.split(",")], default=[1, 64])
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--network", default="lstm", choices=("lstm", "seq2seq"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
