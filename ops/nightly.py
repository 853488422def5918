"""The command `run`: one night's work for cron. Every entity is trained, from its base where there is one, and forecast into a sink.

It asks as the API does, and workers do the work. What it asks for is known by the day: started again, it goes on where it stood.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import entities, ledger, registry, tenants
from db.errors import NotFound, StoreError
from db.models import SUCCEEDED, TERMINAL, Job
from ml.errors import ModelError
from ml.recipes import recipe as preset
from ops import summary
from ops.asking import asking
from ops.durations import DURATION
from ops.house import folder_option
from ops.telling import advised, as_json_option, progress, tell
from tasks import sinks, sources, submit
from tasks.jobs import digest
from tasks.orders import BASE, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.runtime import Runtime
from tasks.sources import is_outside

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


@click.command()
@click.argument("recipe")
@click.option("--tenant", default="development", show_default=True, help="Whose entities.")
@click.option(
    "--entity", "names", multiple=True, help="Of this name; repeatable. Default: all that have the target, or that the source has."
)
@click.option("--kind", default=None, help="Only entities of this kind.")
@click.option("--target", default=None, help="Channel to forecast. Default: the recipe's own.")
@click.option("--source", default=None, help="Where their history is, by its name in SOURCES_FILE. Default: our own observations.")
@click.option("--sink", default=None, help="Where the forecasts go, by its name in SINKS_FILE. Default: our own table alone.")
@click.option("--base", default=None, help="Network to start from. Default: the base named like the recipe, where there is one.")
@click.option("--pretrain", is_flag=True, help="Make that base first, from these entities, where it is missing.")
@click.option("--look-back-days", type=click.FloatRange(0.1), default=None, help="Learn from the last so many days. Default: the recipe's.")
@click.option("--epochs", type=click.IntRange(1), default=None, help="Of each training. Default: the recipe's.")
@click.option("--again", is_flag=True, help="Do what was done today already once more.")
@click.option("--wait", type=DURATION, default="12h", show_default=True, help="Give up waiting after so long, as 90m or 12h.")
@as_json_option
@folder_option
def run_command(tenant: str, as_json: bool, folder: Path | None, **asked: Any) -> None:
    """Train every entity by RECIPE, from its base where there is one, and forecast it into a sink: a night's work in one command.

    Workers do it; this asks, waits and tells what came of it. Started again on the same day (UTC) it goes on where it stood, asks once more
    for what failed, and does nothing twice. Ends with 1 when anything failed, or nothing came out.
    """
    begun = time.monotonic()
    with asking(folder, "run") as runtime:
        try:
            night, pretrain = _night(runtime, tenant, **asked)
            if pretrain is not None:
                night.pretrain(pretrain)
            trained = night.train()
            predicted = night.predict(night.served(trained))
        except (ModelError, StoreError) as error:
            raise click.ClickException(advised(error)) from error
    told = summary.of(night.recipe, night.names, night.base, night.sink, trained, predicted, time.monotonic() - begun)
    tell(told, summary.text(told), as_json=as_json)
    if not told["succeeded"]:
        raise SystemExit(1)


def _night(
    runtime: Runtime, tenant: str, *, target: str | None, base: str | None, pretrain: bool, again: bool, wait: timedelta, **asked: Any
) -> tuple[Night, str | None]:
    """What is meant, and the base that must be made first."""
    now = datetime.now(UTC)
    channel = target or next(iter(preset(asked["recipe"], runtime.recipes).targets), None)
    if channel is None:
        raise click.UsageError(f"Recipe {asked['recipe']} forecasts any channel; name one with --target.")
    days = asked.pop("look_back_days")
    with runtime.sessions() as session:
        tenant_id = tenants.find_tenant(session, tenant).id
        sinks.require(runtime, session, tenant_id, PredictOrder((), (channel,), sink=asked["sink"]))
        there = _has_base(session, tenant_id, base or asked["recipe"], channel)
        names = asked.pop("names") or _all(runtime, session, tenant_id, channel, asked["source"], asked["kind"])
    asked.pop("kind")
    if base is not None and not there and not pretrain:
        raise click.ClickException(
            f"Model {base!r} not found: there is no base of this name for {channel}. `fleetcast run {asked['recipe']} --base {base} "
            "--pretrain`, and whatever else you said, makes it first from the same entities."
        )
    start = base or (asked["recipe"] if there or pretrain else None)
    about: dict[str, Any] = {"base": start, "look_back_hours": None if days is None else 24 * days, **asked}
    day, until = now.isoformat() if again else f"{now:%F}", time.monotonic() + wait.total_seconds()
    night = Night(runtime, tenant_id, target=channel, names=names, day=day, until=until, **about)
    return night, None if there else (start if pretrain else None)


def _all(runtime: Runtime, session: Session, tenant_id: str, channel: str, source: str | None, kind: str | None) -> tuple[str, ...]:
    """All that the source has, or all of ours that have the channel; bases have none. Raises SpecInvalid, SourceUnavailable."""
    most = runtime.settings.max_batch
    if is_outside(source):
        tenant = sources.require(session, runtime, tenant_id, source)
        found = runtime.sources.open(str(source)).entities(tenant, most + 1)
    else:
        found = [entity.name for entity in entities.select(session, tenant_id, kind=kind, has_channel=channel)]
    if not found:
        where = f"Source {source} has no rows" if is_outside(source) else f"No entity has the channel {channel}"
        raise click.ClickException(f"{where}: nothing to do. Look whether its rows arrive; `fleetcast import` brings observations.")
    if len(found) > most:
        raise click.ClickException(
            f"More entities than one batch may hold ({most}, MAX_BATCH). Name them with --entity, or narrow with --kind."
        )
    return tuple(found)


def _has_base(session: Session, tenant_id: str, name: str, channel: str) -> bool:
    try:
        registry.answering(session, tenant_id, name, channel, None, BASE)
    except NotFound:
        return False
    return True
