"""The campaign: the whole product under load while everything about it fails, and what is left of its promises in the end.

python -m tests.chaos.campaign --seed 7 --minutes 8                   # scaled time constants, a fault a second
python -m tests.chaos.campaign --seed 7 --minutes 25 --pauses 3       # fewer faults, which leave time for thousands of jobs
python -m tests.chaos.campaign --seed 7 --minutes 20 --production     # the defaults of production, one fault after another
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import httpx

from ops.processes import wait_until
from tests.chaos import report
from tests.chaos.book import Book, opened
from tests.chaos.clients import CHANNEL, ENTITIES, POISONED, Client, Mix, Order, rows
from tests.chaos.faults import FAULTS, Gremlin, Hit
from tests.chaos.points import POINTS
from tests.chaos.stage import Stage
from tests.chaos.verdict import POSTGRES_STOPPED, RETURNED_S, Verdict, judge

#: What takes half a minute in production takes seconds. Tries are many, because faults are a thousand times as frequent as in life.
SCALED = {
    "LEASE_S": "3",
    "REDISPATCH_S": "3",
    "RECONCILE_S": "0.5",
    "TIDY_S": "5",
    "RETRY_BASE_S": "0.2",
    "RETRY_CAP_S": "2",
    "MAX_ATTEMPTS": "60",
    "KEEP_VERSIONS": "1000",
    "DISPATCH_POLL_S": "0.2",
}
#: The defaults, named because the campaign reads them; and commits that reach the disk.
PRODUCTION = {"LEASE_S": "30", "KEEP_VERSIONS": "1000", "DURABLE": "1"}
READY_S, SET_UP_S, DRAIN_S = 90.0, 180.0, 180.0
#: Twice the rest in which the rate after Postgres' return is measured, as the shortest pause is half of the mean.
AFTER_POSTGRES_S = 2 * RETURNED_S[1]
#: Pause between two poisoned jobs.
POISON_EVERY_S = 45.0


@dataclass(frozen=True)
class Plan:
    """How long, how hard, and by which constants."""

    seed: int
    minutes: float
    clients: int = 6
    #: Jobs that each client has under way at most, and its pause between two submissions.
    most: int = 12
    every_s: float = 0.4
    #: Mean pause between two quick faults, and between two that last.
    quick_s: float = 1.5
    lasting_s: float = 2.0
    #: One fault at a time, quick or lasting, and after Postgres came back a rest in which the rate can be seen.
    alone: bool = False
    #: Seconds without faults at the beginning.
    calm_s: float = 5.0
    settings: Mapping[str, str] = field(default_factory=lambda: dict(SCALED))
    without: Sequence[str] = ()
    faults: Sequence[str] = tuple(FAULTS)
    #: All named points are armed from the beginning: whoever comes by first dies. End as soon as somebody has died at every one.
    points: bool = False


def production(seed: int, minutes: float) -> Plan:
    """One fault at a time, with a rest after each in which its end can be seen."""
    return Plan(seed, minutes, clients=4, every_s=1.0, quick_s=8.0, calm_s=60.0, settings=dict(PRODUCTION), alone=True)


@dataclass
class Outcome:
    plan: Plan
    verdict: Verdict
    hits: list[Hit]

    @property
    def faults(self) -> Counter[str]:
        return Counter(hit.name for hit in self.hits if hit.name != "calm")


def run(plan: Plan, folder: Path, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Raise the stage, let the storm pass over it, wait until nothing is under way, and judge."""
    with opened(folder / "clients.jsonl") as book, Stage(folder, plan.settings, without=plan.without) as stage:
        stage.start_all()
        set_up(stage, book)
        say(f"seed {plan.seed}: the stage is set; {plan.minutes:g} minutes of faults begin.")
        hits = _storm(stage, book, plan, say)
        return Outcome(plan, judge(stage, book, hits), hits)


def set_up(stage: Stage, book: Book) -> None:
    """Data, a version and a detector for everybody, in peace; data for the poisoned ones."""
    if not wait_until(lambda: ready(stage), READY_S, pause=0.2):
        raise RuntimeError(f"The product did not come up; see {stage.folder / 'logs'}.")
    first = Client(stage.url, stage.key, book, iter(()), most=0, every_s=1, told=threading.Event())
    mix, waiting = Mix(random.Random(1)), []
    for n, entity in enumerate((*ENTITIES, *POISONED)):
        sent = first.ask("POST", f"/entities/{entity}/observations", {"observations": rows(phase=n)})
        assert sent.status == 200, sent.body
        if entity in ENTITIES:
            waiting += [first.order(mix.train(entity)), first.order(mix.watch(entity))]
    ids = [job["id"] for job in waiting if job is not None]
    assert len(ids) == 2 * len(ENTITIES), book.refusals
    first.close()
    done = "SELECT count(*) FROM jobs WHERE id = ANY(%(ids)s) AND state = 'succeeded'"
    if not wait_until(lambda: stage.rows(done, ids=ids) == [(len(ids),)], SET_UP_S, pause=0.3):
        raise RuntimeError(f"The first {CHANNEL} models were not trained; see {stage.folder / 'logs'}.")


def ready(stage: Stage) -> bool:
    try:
        return httpx.get(f"{stage.url}/readyz", timeout=3).status_code == 200
    except httpx.TransportError:
        return False


def _storm(stage: Stage, book: Book, plan: Plan, say: Callable[[str], None]) -> list[Hit]:
    dice, told, over = random.Random(plan.seed), threading.Event(), threading.Event()
    clients = [_client(stage, book, plan, random.Random(dice.random()), told) for _ in range(plan.clients)]
    for client in clients:
        client.start()
    began = time.time()
    time.sleep(plan.calm_s)
    for point in POINTS if plan.points else ():
        stage.arm(point.name)
    hits = [Hit("calm", began, time.time())]
    kinds = [(False, True)] if plan.alone else [(False,), (True,)]
    workers = [threading.Thread(target=_befall, args=(stage, plan, random.Random(dice.random()), hits, over, kind)) for kind in kinds]
    workers.append(threading.Thread(target=_poison, args=(stage, book, random.Random(dice.random()), over)))
    for worker in workers:
        worker.start()
    _watch(stage, book, plan, hits, say)
    over.set()
    for worker in workers:
        worker.join()
    _heal(stage)
    told.set()
    say("The faults are over; waiting for what is under way.")
    drain(stage, clients)
    return hits


def _client(stage: Stage, book: Book, plan: Plan, dice: random.Random, told: threading.Event) -> Client:
    return Client(stage.url, stage.key, book, iter(Mix(dice)), most=plan.most, every_s=plan.every_s, told=told)


def _befall(stage: Stage, plan: Plan, dice: random.Random, hits: list[Hit], over: threading.Event, lasting: Collection[bool]) -> None:
    """One fault after another, of the quick ones, of those that last, or of both."""
    gremlin = Gremlin(stage, dice)
    chosen = {name: FAULTS[name].weight for name in plan.faults if FAULTS[name].lasts in lasting}
    mean_s = plan.lasting_s if lasting == (True,) else plan.quick_s
    rest_s = mean_s
    while chosen and not over.wait(dice.uniform(0.5, 1.5) * rest_s):
        hit = gremlin.strike(dice.choices(list(chosen), list(chosen.values()))[0])
        rest_s = mean_s
        if hit is not None:
            hits.append(hit)
            rest_s = AFTER_POSTGRES_S if plan.alone and hit.name == POSTGRES_STOPPED else mean_s


def _poison(stage: Stage, book: Book, dice: random.Random, over: threading.Event) -> None:
    """Now and then a job that takes down whoever works on it."""
    client = Client(stage.url, stage.key, book, iter(()), most=0, every_s=1, told=over)
    mix = Mix(dice)
    while True:
        made = mix.poison(dice.choice(POISONED))
        client.order(Order(made.kind, made.entity, made.path, made.body))
        if over.wait(POISON_EVERY_S):
            client.close()
            return


def _watch(stage: Stage, book: Book, plan: Plan, hits: Sequence[Hit], say: Callable[[str], None]) -> None:
    """Say every ten seconds how it goes."""
    end = time.monotonic() + plan.minutes * 60
    while (left := end - time.monotonic()) > 0 and not (plan.points and len(stage.hit()) == len(POINTS)):
        time.sleep(min(10.0, left))
        ended = sum(seen.end is not None for seen in list(book.jobs.values()))
        left = max(0.0, end - time.monotonic())
        say(f"{left:5.0f} s left: {len(book.jobs)} jobs accepted, {ended} read to their end, {len(hits) - 1} faults")


def _heal(stage: Stage) -> None:
    """Everything is as it should be again. Points that nobody reached are taken away."""
    for wire in stage.wires:
        stage.wire(wire, "pass")
    for part in stage.parts.values():
        stage.free(part)
    for file in stage.armed.glob("*"):
        stage.points.discard(file.name)
        file.unlink(missing_ok=True)


def drain(stage: Stage, clients: Sequence[Client] = (), patience_s: float = DRAIN_S) -> None:
    """What does not end within the time is judged as lost."""
    deadline = time.monotonic() + patience_s
    for client in clients:
        client.idle.wait(max(0.0, deadline - time.monotonic()))
    unfinished = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
    wait_until(lambda: stage.rows(unfinished) == [(0,)], max(1.0, deadline - time.monotonic()), pause=0.5)


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    plan = production(options.seed, options.minutes) if options.production else Plan(options.seed, options.minutes)
    plan = replace(plan, quick_s=plan.quick_s * options.pauses, lasting_s=plan.lasting_s * options.pauses)
    outcome = run(plan, folder, lambda line: print(line, file=sys.stderr, flush=True))
    told = {"plan": asdict(plan), "red": outcome.verdict.red, "faults": outcome.faults, "jobs": outcome.verdict.jobs}
    print(json.dumps(told | {"figures": outcome.verdict.figures}, indent=1) if options.json else report.written(outcome), flush=True)
    if outcome.verdict.red:
        print(json.dumps({name: found[:5] for name, found in outcome.verdict.broken.items() if found}, indent=1), file=sys.stderr)
        print(f"Red. What the processes logged is kept in {folder}.", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--production", action="store_true", help="time constants as in production, one fault after another")
    parser.add_argument("--pauses", type=float, default=1.0, help="how many times as long the pauses between faults are")
    parser.add_argument("--json", action="store_true", help="all figures, instead of tables")
    parser.add_argument("--keep", action="store_true", help="keep the logs and the clients' book also when nothing is wrong")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
