"""Commands around jobs: list, show, retry, cancel; the jobs of every tenant, for whoever runs the house."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import ledger, tenants
from db.errors import NotFound
from db.models import CANCELLED, FAILED, TERMINAL, UNFINISHED, Job, Tenant
from ops import pages
from ops.asking import asking
from ops.durations import DURATION
from ops.house import database, folder_option
from ops.telling import NEXT, Group, Undone, as_json_option, counted, put, tell_each
from tasks import documents, problems, status, submit
from tasks.jobs import QUEUES
from tasks.placing import Asker
from tasks.runtime import Runtime

APPLICATION = "fleetcast-jobs"
#: What one `ls` shows at most: more is a matter for a program, which can ask by `--since`.
MOST_LISTED = 10_000
#: What one `retry --failed` takes up at most: a wrong guess at the cause should cost minutes of work, not days.
MOST_RETRIED = 1_000

tenant_option = click.option("--tenant", default=None, help="Whose, by name. Default: everybody's.")
kind_option = click.option("--kind", default=None, help="As `train` or `predict`.")
queue_option = click.option("--queue", type=click.Choice(QUEUES), default=None, help="Of this queue.")
entity_option = click.option("--entity", default=None, help="About the entity of this name.")
since_option = click.option("--since", type=DURATION, default=None, help="Asked for or ended no longer ago, as 2h or 3d.")
code_option = click.option(
    "--code", type=click.Choice(sorted(problems.CATALOGUE)), default=None, metavar="CODE", help="Failed with it, as `worker_lost`."
)


@click.group(cls=Group)
def jobs_command() -> None:
    """List, show, retry and cancel jobs, those of every tenant."""


@jobs_command.command()
@tenant_option
@click.option("--state", type=click.Choice((*UNFINISHED, *TERMINAL)), default=None, help="In this state.")
@kind_option
@queue_option
@entity_option
@since_option
@code_option
@click.option("--items", is_flag=True, help="Items of batches too.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@as_json_option
@folder_option
def ls(tenant: str | None, entity: str | None, items: bool, limit: int, as_json: bool, folder: Path | None, **narrow: Any) -> None:
    """Jobs, newest first. Items of batches appear with `--items`, or when an entity is asked for.

    With `--json` each line is the job as the API tells it, with the name of its tenant.
    """
    with database(folder, APPLICATION) as (sessions, settings), sessions() as session:
        sought = ledger.Sought(tenant_id=owner(session, tenant), entity=entity, items=items or entity is not None, **narrow)
        found = [(job, name, documents.document(settings, job)) for job, name in ledger.survey(session, sought, limit)]
        now = now_by_postgres(session)
    if as_json:
        for job, name, document in found:
            click.echo(json.dumps(document | {"label": job.label, "tenant_name": name}))
    else:
        put(pages.listing(found, now) if found else "No such jobs.")


@jobs_command.command()
@click.argument("job_id")
@as_json_option
@folder_option
def show(job_id: str, as_json: bool, folder: Path | None) -> None:
    """All that is known of one job: how it stands, what was asked, every try, who holds it, why it failed."""
    with database(folder, APPLICATION) as (sessions, settings), sessions() as session:
        job = ledger.find(session, job_id)
        name = session.get_one(Tenant, job.tenant_id).name
        items = None if job.children is None else ledger.item_counts(session, job.id)
        document = documents.document(settings, job, position=ledger.position(session, job), items=items)
        tries, now = ledger.attempts(session, job.id), now_by_postgres(session)
    if as_json:
        click.echo(json.dumps(document | pages.carriage(job, name, tries), indent=1))
    else:
        put(pages.page(job, name, document, now))
        put(pages.attempts(tries, now) if tries else "No try was made yet.")
        for title in ("spec", "progress", "warnings", "error"):
            if document[title]:
                put(f"{title}\n{json.dumps(document[title], indent=1, ensure_ascii=False)}")


@jobs_command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@as_json_option
@folder_option
def cancel(ids: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Cancel jobs: at once while they wait, by asking their worker to stop while they run. Ends with 1 when one could not be."""
    if not ids:
        raise click.UsageError("Name the jobs; `fleetcast jobs ls` shows them.")
    with asking(folder, "jobs") as runtime:
        tell_each(ids, lambda job_id: _cancel(runtime, job_id), as_json=as_json)


@jobs_command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="Instead of naming them: those that failed and that nobody has asked for again.")
@tenant_option
@kind_option
@queue_option
@entity_option
@since_option
@code_option
@click.option("--yes", is_flag=True, help="Do not ask before many are retried.")
@as_json_option
@folder_option
def retry(ids: tuple[str, ...], failed: bool, tenant: str | None, yes: bool, as_json: bool, folder: Path | None, **narrow: Any) -> None:
    """Ask for failed or cancelled jobs again, each as a new job. Ends with 1 when one could not be.

    Of a batch that is named, its items that did not succeed are asked for. With `--failed` and what narrows it, such items are found by
    themselves and asked for one by one, a thousand at most.
    """
    narrowed = tenant is not None or any(value is not None for value in narrow.values())
    if bool(ids) == failed or (narrowed and not failed):
        raise click.UsageError("Either name the jobs, or say --failed and which of those, as `--failed --code worker_lost --since 1h`.")
    with asking(folder, "jobs") as runtime:
        if failed:
            with runtime.sessions() as session:
                sought = ledger.Sought(tenant_id=owner(session, tenant), state=FAILED, not_retried=True, **narrow)
                found = ledger.survey(session, sought, MOST_RETRIED)
            if not found and not as_json:
                click.echo("No such failed jobs.")
            ids = _agreed(found, yes=yes)
        tell_each(ids, lambda job_id: _retry(runtime, job_id), as_json=as_json)


def _cancel(runtime: Runtime, job_id: str) -> str:
    with runtime.sessions() as session:
        job = ledger.find(session, job_id)
    found = submit.cancel(runtime, job.tenant_id, job_id)
    if job.state == CANCELLED:
        return "was cancelled already"
    if found["state"] == CANCELLED:
        return "cancelled at once"
    if found["terminal"]:
        raise Undone(f"had ended already: {found['state']}")
    return ("was asked to stop already" if job.cancel_requested else "asked to stop") + pages.of_items(found)


def _retry(runtime: Runtime, job_id: str) -> str:
    """As its tenant would: the tenant's quota holds for operators too."""
    with runtime.sessions() as session:
        asker = Asker(ledger.find(session, job_id).tenant_id)
    new = submit.retry(runtime, asker, job_id).job
    status.fresh(runtime, asker.tenant_id, new.id)
    return f"again as {new.id}" if new.retry_of == job_id else f"the same is under way already as {new.id}"


def _agreed(found: Sequence[tuple[Job, str]], *, yes: bool) -> tuple[str, ...]:
    """The jobs, oldest first, once the operator has seen how many they are."""
    if not found:
        return ()
    kinds = Counter(f"{name}: {job.kind} failed with {(job.error or {}).get('code')}" for job, name in found)
    for line, count in kinds.most_common():
        click.echo(f"{count:>6}  {line}", err=True)
    if len(found) == MOST_RETRIED:
        click.echo(f"These are the newest {MOST_RETRIED}; say the same again for the next.", err=True)
    if not yes:
        click.confirm(f"Retry {counted(len(found), 'job')}?", abort=True, err=True)
    return tuple(job.id for job, _ in reversed(found))


def owner(session: Session, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return tenants.find_tenant(session, name).id
    except NotFound as error:
        known = ", ".join(tenant.name for tenant in tenants.list_tenants(session)) or "none yet"
        raise click.ClickException(f"{error} Those there are: {known}. {NEXT['tenant'].format(name=name)}") from error


def now_by_postgres(session: Session) -> datetime:
    """By Postgres' clock, as every stamp of a job is."""
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now
