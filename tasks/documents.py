"""One shape of a job's status: the document that clients read, and what is told of it in brief."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from db import ledger
from db.events import Place
from db.models import RUNNING, TERMINAL, Job, Json
from tasks.jobs import FORMAT, BacktestJob
from tasks.settings import Settings

#: Below it the API answers; the links of a job begin with it.
API = "/api/v1"


def document(
    settings: Settings,
    job: Job,
    *,
    position: int | None = None,
    items: Mapping[str, int] | None = None,
    failures: Sequence[ledger.Failures] = (),
    left_s: float | None = None,
) -> dict[str, Any]:
    """The job as clients read it. `items` are a parent's children by state, `failures` those that failed by reason; `left_s` is how long it
    may still take.
    """
    progress = {k: v for k, v in job.progress.items() if k not in ("seq", "finish_at")}
    if items is not None:
        progress["items"] = {"total": job.children, **items}
    if failures:  # by their ids alone: what names an entity must not outlive it here
        progress["failures"] = [{"code": each.code, "count": each.count, "jobs": each.job_ids} for each in failures]
    return {
        "id": job.id,
        "kind": job.kind,
        "state": "cancelling" if job.state == RUNNING and job.cancel_requested else job.state,
        "terminal": job.terminal,
        "rev": job.rev,
        "seq": job.progress.get("seq", 0),
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "expires_at": _iso(job.finished_at and job.finished_at + timedelta(days=settings.job_retention_days)),
        "entity": job.spec.get("entity"),
        "target": job.spec.get("target"),
        "spec": {name: value for name, value in job.spec.items() if name != FORMAT},  # which format it has is between workers
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
        "deduplicated": False,
        "links": _links(job),
    }


def _links(job: Job) -> dict[str, str]:
    here = f"{API}/jobs/{job.id}"
    links = {"self": here, "events": f"{here}/events", "result": f"{here}/result", "cancel": f"{here}/cancel"}
    if job.kind == BacktestJob.kind:
        links["chart"] = f"{API}/backtests/{job.id}/chart.svg"
    return links if job.children is None else links | {"items": f"{here}/items"}


class Glance(NamedTuple):
    """What a poller needs of a job's status before it reads the rest."""

    etag: str
    terminal: bool
    queue: str
    estimated_finish_at: str | None

    @classmethod
    def at(cls, found: Mapping[str, Any]) -> Self:
        """`rev.seq` is the ETag. A batch has no progress of its own: there the items that ended are counted."""
        return cls(f"{found['rev']}.{step(found)}", found["terminal"], found["queue"]["name"], found["estimated_finish_at"])

    @property
    def place(self) -> tuple[int, int]:
        """Revision and step, in the order of time."""
        rev, _, step = self.etag.partition(".")
        return int(rev), int(step)

    def __str__(self) -> str:
        return f"{self.etag} {self.terminal:d} {self.queue} {self.estimated_finish_at or ''}"

    @classmethod
    def read(cls, line: str) -> Self:
        etag, terminal, queue, finish = line.split(" ")
        return cls(etag, terminal == "1", queue, finish or None)


def finish_at(seconds: float | None) -> str | None:
    """The moment so many seconds from now, as clients read it."""
    return None if seconds is None else _iso(datetime.now(UTC) + timedelta(seconds=seconds))


def brief(found: Mapping[str, Any]) -> Json:
    """What changes in a job while it goes on."""
    return {name: found[name] for name in ("id", "state", "rev", "seq", "attempt", "estimated_finish_at", "progress")}


def step(found: Mapping[str, Any]) -> int:
    """What rises within a revision: a job's progress, and of a batch, which has none of its own, the number of items that ended."""
    if not found["batch"]:
        return int(found["seq"])
    items = found["progress"].get("items", {})
    return sum(items.get(state, 0) for state in TERMINAL)


def place(found: Mapping[str, Any]) -> Place:
    """Where a document stands in the order of its job's events."""
    return Place.of(found["rev"], step(found))


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
