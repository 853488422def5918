"""How a job stands: read from the mirror in Redis, else from Postgres, and shown to those who watch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from db import ledger
from db.board import Status
from db.events import News, Place, Told
from db.models import FAILED, Job, Json
from tasks.documents import Glance, brief, document, step
from tasks.metrics import CACHE_LOOKUPS
from tasks.runtime import Runtime

#: Seconds an unfinished job's mirror lives: a lost write misleads a poller for no longer.
UNFINISHED_TTL_S = 15
#: The same of a batch, whose count of items changes without its revision: many who watch it share one look a second.
BATCH_TTL_S = 1
#: Seconds the events of an unfinished job are kept after the last one. Unlike the mirror they cannot mislead, and whoever was cut off comes
#: back for them: an epoch, or the wait in the queue, may well take longer than the mirror lives.
UNFINISHED_EVENTS_TTL_S = 3600


def read(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    """The newest document: the mirror's, else Postgres's, which then refills the mirror. Raises NotFound."""
    found: dict[str, Any] = json.loads(glance(runtime, tenant_id, job_id)[1])
    return found


def glance(runtime: Runtime, tenant_id: str, job_id: str) -> tuple[Glance, str]:
    """What `read` finds, as JSON that need not be read: pollers get the mirror's own text, which nobody writes anew for each of them.

    For as long after an outage of Redis as a status from before may hang there, Postgres is asked as well, and the later one counts:
    while Redis was away somebody may have been told that the job had ended.
    """
    mirrored = runtime.board.written(tenant_id, job_id)
    runtime.meter.count(CACHE_LOOKUPS, "status", "miss" if mirrored is None else "hit")
    shown = None if mirrored is None else (Glance.read(mirrored[0]), mirrored[1])
    if shown is not None and (shown[0].terminal or not runtime.board.doubtful(UNFINISHED_TTL_S)):
        return shown
    found = fresh(runtime, tenant_id, job_id)
    known = Glance.at(found), json.dumps(found)
    return known if shown is None or known[0].place >= shown[0].place else shown


def fresh(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    """The document as Postgres knows it."""
    found = describe(runtime, tenant_id, job_id)
    if show(runtime, tenant_id, found) and found["terminal"] and found["parent"] is not None:
        _tell_parents(runtime, tenant_id, [found])
    return found


def fresh_all(runtime: Runtime, tenant_id: str, job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The same of many that have ended: nothing about them is left to be estimated."""
    with runtime.sessions() as session:
        found = [document(runtime.settings, job) for job in ledger.get_many(session, tenant_id, job_ids)]
    shown = show_all(runtime, [(tenant_id, each, ()) for each in found])
    _tell_parents(runtime, tenant_id, [each for each, new in zip(found, shown, strict=True) if new and each["parent"] is not None])
    return found


def newborn(runtime: Runtime, job: Job, ahead: int) -> dict[str, Any]:
    """The document of a job that was written a moment ago, behind so many others: nothing about it has to be asked.

    It is mirrored by whoever asks for it first, or works on it.
    """
    return document(runtime.settings, job, position=ahead, left_s=runtime.pace.seconds_left(job, ahead))


def describe(runtime: Runtime, tenant_id: str, job_id: str) -> dict[str, Any]:
    with runtime.sessions() as session:
        job = ledger.get(session, tenant_id, job_id)
        items = ledger.item_counts(session, job.id) if job.children is not None else None
        failures = ledger.failures(session, job.id) if items and items.get(FAILED) else []
        position = ledger.position(session, job)
        if not job.terminal:
            runtime.pace.learn(session)
        left_s = runtime.pace.seconds_left(job, position)
        return document(runtime.settings, job, position=position, items=items, failures=failures, left_s=left_s)


def show(runtime: Runtime, tenant_id: str, found: Mapping[str, Any], told: Sequence[Told] = (), *, itself: bool = True) -> bool | None:
    """Mirror a document and tell watchers: first what is `told` with it, then, unless that is enough, how the job stands now.

    Best effort: a Redis that is away (None) costs a read of Postgres later, nothing else. True: nobody had shown this or a newer one.
    """
    return runtime.board.show_all([_status(runtime, tenant_id, found, told, itself=itself)])[0]


def show_all(runtime: Runtime, shown: Sequence[tuple[str, Mapping[str, Any], Sequence[Told]]]) -> list[bool | None]:
    """The same of many (tenant, document, told)."""
    return runtime.board.show_all([_status(runtime, tenant_id, found, told) for tenant_id, found, told in shown])


def _status(
    runtime: Runtime, tenant_id: str, found: Mapping[str, Any], told: Sequence[Told], *, itself: bool = True, items: Sequence[str] = ()
) -> Status:
    ended = found["terminal"]
    ttl = runtime.settings.status_ttl_s if ended else BATCH_TTL_S if found["batch"] else UNFINISHED_TTL_S
    own = _own(found) if ended or itself else ()
    news = News((*told, *own), runtime.settings.status_ttl_s if ended else UNFINISHED_EVENTS_TTL_S, ended, items)
    return Status(tenant_id, found["id"], found["rev"], step(found), dict(found), ttl, news, str(Glance.at(found)))


def _own(found: Mapping[str, Any]) -> Sequence[Told]:
    """The events of a document itself. The last one stands for the document, which watchers have from the mirror."""
    if found["terminal"]:
        return (*(Told("warning", warning) for warning in found["warnings"]), Told("end", None))
    return (Told("state", brief(found)),)


def places(runtime: Runtime, about: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Place]:
    """Where many (tenant, job) stand: one look at the mirror, and for those it does not hold one at Postgres. Unknown ones are left out."""
    mirrored = dict(zip(about, runtime.board.places(about), strict=True))
    missing = [each for each, found in mirrored.items() if found is None]
    found = {each: place for each, place in mirrored.items() if place is not None}
    if missing:
        with runtime.sessions() as session:
            stood = ledger.steps(session, [job_id for _, job_id in missing])
        found |= {each: Place.of(*stood[each]) for each in missing if each in stood}
    return found


def _tell_parents(runtime: Runtime, tenant_id: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Items ended: those who watch their batch are told of each, and of the counts.

    These are read anew once a second: to count ten thousand items at the end of each of them would take longer than their work.
    """
    statuses = []
    for parent in sorted({item["parent"] for item in items}):
        batch = runtime.board.read(tenant_id, parent) or describe(runtime, tenant_id, parent)
        ours = [item for item in items if item["parent"] == parent]
        told = [Told("item", _brief_item(item) | {"items": batch["progress"]["items"]}, late=True) for item in ours]
        statuses.append(_status(runtime, tenant_id, batch, told, itself=False, items=[item["id"] for item in ours]))
    runtime.board.show_all(statuses)


def _brief_item(item: Mapping[str, Any]) -> Json:
    """What its batch tells of an item."""
    return {"job": item["id"], **{name: item[name] for name in ("entity", "target", "state", "error")}}
