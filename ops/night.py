"""A night's work asked for: the base, every training, every forecast; known by the day, so that a second start goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import OperationalError

from db import entities, ledger, registry
from db.models import SUCCEEDED, TERMINAL, Job
from ops.telling import progress
from tasks import submit
from tasks.jobs import digest
from tasks.orders import BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.runtime import Runtime

#: How often a batch is looked at, and how many items are read at once.
LOOK_S, PAGE = 1.0, 500
#: What asks for a batch about these entities, under this asker.
Place = Callable[[Asker, tuple[str, ...]], Submitted]


@dataclass(frozen=True)
class Night:
    """What is to be done, for whom."""

    runtime: Runtime
    tenant_id: str
    recipe: str
    target: str
    names: tuple[str, ...]
    base: str | None
    source: str | None
    sink: str | None
    look_back_hours: float | None
    epochs: int | None
    #: The day, or something that was never said before.
    day: str
    #: When to stop waiting, by time.monotonic().
    until: float

    def pretrain(self, name: str) -> None:
        """Make the base. Nothing is trained from one that failed."""
        order = PretrainOrder(name, self.recipe, self.names, self.target, look_back_hours=self.look_back_hours, source=self.source)
        for number in count(1):
            asked = submit.pretrain(self.runtime, self._asker("pretrain", order, number), order)
            made = self._ended(asked.job, "pretrain")
            if made.state == SUCCEEDED:
                return
            if not asked.replayed:
                raise click.ClickException(f"The base {name} did not come out: {(made.error or {}).get('detail', made.state)}")

    def train(self) -> Mapping[str, Job]:
        """The last item of each entity."""
        overrides = {} if self.epochs is None else {"epochs": self.epochs}
        base = None if self.base is None else BaseOrder(name=self.base)
        order = TrainOrder(
            self.recipe,
            (),
            self.target,
            overrides=overrides,
            look_back_hours=self.look_back_hours,
            base=base,
            source=self.source,
            batch=True,
        )

        def place(asker: Asker, names: tuple[str, ...]) -> Submitted:
            return submit.train(self.runtime, asker, replace(order, entities=names))

        return self._all("train", place, order, self.names)

    def predict(self, names: tuple[str, ...]) -> Mapping[str, Job]:
        order = PredictOrder((), (self.target,), source=self.source, sink=self.sink, batch=True)

        def place(asker: Asker, names: tuple[str, ...]) -> Submitted:
            return submit.predict(self.runtime, asker, replace(order, entities=names))

        return self._all("predict", place, order, names) if names else {}

    def served(self, trained: Mapping[str, Job]) -> tuple[str, ...]:
        """Those that can be forecast: an entity whose training failed tonight may have a version of an earlier night."""
        with self.runtime.sessions() as session:
            known = entities.find_many(session, self.tenant_id, trained)
            active = registry.active
            return tuple(
                name
                for name, item in trained.items()
                if item.state == SUCCEEDED or (name in known and active(session, self.tenant_id, known[name].id, self.target) is not None)
            )

    def _all(self, what: str, place: Place, order: object, names: tuple[str, ...]) -> Mapping[str, Job]:
        """The batches of the day, as far as they have come; what did not succeed in an earlier start is asked for once more."""
        found: dict[str, Job] = {}
        number, replayed = 0, True
        while names and replayed:
            number += 1
            asked = place(self._asker(what, order, names, number), names)
            replayed = asked.replayed
            self._ended(asked.job, what)
            found |= self._items(asked.job.id)
            names = tuple(name for name in names if found[name].state != SUCCEEDED)
        return found

    def _asker(self, what: str, *about: object) -> Asker:
        """The same words on the same day are the same wish."""
        asked = digest(self.recipe, what, *map(repr, about))
        return Asker(self.tenant_id, "fleetcast run", f"{self.day} {what} {asked}", asked, {"run": self.day})

    def _ended(self, job: Job, what: str) -> Job:
        """Wait for a job, with a bar of its items. Postgres may be away for a while."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with progress(*columns) as bar:
            task = bar.add_task(what, total=job.children or 1)
            while True:
                try:
                    with self.runtime.sessions() as session:
                        job = ledger.get(session, self.tenant_id, job.id)
                        done = int(job.terminal) if job.children is None else _done(ledger.item_counts(session, job.id))
                except OperationalError as error:
                    bar.console.print(f"Postgres does not answer ({type(error.orig).__name__}); asking again.")
                else:
                    bar.update(task, completed=done)
                    if job.terminal:
                        return job
                if time.monotonic() > self.until:
                    raise click.ClickException(f"{what} takes too long ({job.id}). The workers go on; start this again to go on waiting.")
                time.sleep(LOOK_S)

    def _items(self, batch_id: str) -> dict[str, Job]:
        """By entity."""
        found: list[Job] = []
        with self.runtime.sessions() as session:
            while page := ledger.items(session, self.tenant_id, batch_id, limit=PAGE, after=found[-1].id if found else None):
                found += page
        return {str(item.spec.get("entity")): item for item in found}


def _done(counts: Mapping[str, int]) -> int:
    return sum(number for state, number in counts.items() if state in TERMINAL)
