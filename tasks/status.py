"""One shape of a job's status: from the row to the document that clients read and Redis mirrors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from db import ledger
from db.models import RUNNING, Job
from tasks.runtime import Runtime

#: Seconds an unfinished job's mirror lives: a lost write misleads a poller for no longer.
UNFINISHED_TTL_S = 15
#: The same of a batch, whose count of items changes without its revision: many who watch it share one look a second.
BATCH_TTL_S = 1


def document(job: Job, *, position: int | None = None, items: Mapping[str, int] | None = None, left_s: float | None = None) -> dict[str, Any]:
    """The job as clients read it, without links. `items` are a parent's children by state; `left_s` is how long it may still take."""
    progress = {k: v for k, v in job.progress.items() if k not in ("seq", "finish_at")}
    if items is not None:
        progress["items"] = {"total": job.children, **items}
    return {
        "id": job.id,
        "tenant": job.tenant_id,
        "kind": job.kind,
        "state": "cancelling" if job.state == RUNNING and job.cancel_requested else job.state,
        "terminal": job.terminal,
        "rev": job.rev,
        "seq": job.progress.get("seq", 0),
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "entity": job.spec.get("entity"),
        "target": job.spec.get("target"),
        "spec": job.spec,
        "queue": {"name": job.queue, "position": position},
        "estimated_finish_at": None if job.terminal else job.progress.get("finish_at") or finish_at(left_s),
        "progress": progress,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "retry_of": job.retry_of,
        "parent": job.parent_id,
        "batch": job.children is not None,
        "result": job.result,
        "error": job.error,
        "warnings": job.warnings,
        "metadata": job.client_metadata,
    }


def read(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    """The newest document: the mirror's, else Postgres's, which then refills the mirror. Raises NotFound."""
    mirrored = runtime.board.read(tenant_id, job_id)
    return mirrored if mirrored is not None else fresh(runtime, tenant_id, job_id)


def fresh(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    """The document as Postgres knows it."""
    found = describe(runtime, tenant_id, job_id)
    show(runtime, found)
    return found


def describe(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    with runtime.sessions() as session:
        job = ledger.get(session, tenant_id, job_id)
        items = ledger.item_counts(session, job.id) if job.children is not None else None
        position = ledger.position(session, job)
        if not job.terminal:
            runtime.pace.learn(session)
        return document(job, position=position, items=items, left_s=runtime.pace.seconds_left(job, position))


def finish_at(seconds: float | None) -> str | None:
    """The moment so many seconds from now, as clients read it."""
    return None if seconds is None else _iso(datetime.now(UTC) + timedelta(seconds=seconds))


def show(runtime: Runtime, found: Mapping[str, Any]) -> None:
    """Mirror a document. Best effort: a Redis that is away costs a read of Postgres later, nothing else."""
    ttl = runtime.settings.status_ttl_s if found["terminal"] else BATCH_TTL_S if found["batch"] else UNFINISHED_TTL_S
    runtime.board.show(found["tenant"], found["id"], found["rev"], found["seq"], dict(found), ttl)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
