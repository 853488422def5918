"""The command `run`: one night's work for cron. Every entity is trained, from its base where there is one, and forecast into a sink.

It asks as the API does, and workers do the work. What it asks for is known by the day: started again, it goes on where it stood.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from db import entities, registry, tenants
from db.errors import NotFound, StoreError
from ml.errors import ModelError
from ml.recipes import recipe as preset
from ops import summary
from ops.asking import asking
from ops.durations import DURATION
from ops.house import folder_option
from ops.night import Night
from ops.telling import advised, as_json_option, tell
from tasks import sinks, sources
from tasks.orders import BASE, PredictOrder
from tasks.runtime import Runtime
from tasks.sources import is_outside


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
