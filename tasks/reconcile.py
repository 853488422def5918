"""Reconciling: expired leases, deadlines, cancels, schedules, old rows, orphaned artefacts; safe to run anywhere, any number of times."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import anomalies, audit, census, deliveries, expected, forecasts, ledger, logins, receipts, registry, schedules
from db.models import TERMINAL, Json
from ml import shelf
from tasks import metrics, problems, status
from tasks.deliver import Courier
from tasks.drift import judge_once
from tasks.erase import follow_all
from tasks.expected import promises
from tasks.firing import fire_due
from tasks.probe import probe_sources
from tasks.runtime import Runtime

log = structlog.get_logger()

#: An artefact without a version row is left alone so long: its publication may be under way.
ORPHAN_AFTER_S = 3600.0
#: The same of an artefact whose entity was erased. Its own publication is over; only somebody who made the very same one could need longer.
ERASED_AFTER_S = 120.0


def reconcile_once(runtime: Runtime) -> dict[str, int]:
    """One round. Returns how many rows each sweep changed, and logs every broken invariant."""
    settings = runtime.settings
    lost = problems.problem("worker_lost", "Every try's worker fell silent.")
    late = problems.problem("deadline_exceeded", "The job was not finished before its deadline.")
    ended = _all(runtime, ledger.finish_cancels)
    expired = _all(runtime, lambda session: ledger.expire(session, error=late))
    reaped = _all(runtime, lambda session: ledger.reap(session, lease_s=settings.lease_s, error=lost))
    for moved in (*expired, *ended):
        _tell(runtime, moved)
    for found in [_tell(runtime, moved) for moved in reaped]:
        if not found["batch"]:  # one that ended with its last item
            runtime.meter.count(metrics.LEASES_REAPED, found["kind"])
    return {
        "reaped": len(reaped),
        "expired": len(expired),
        "cancelled": len(ended),
        "erased": follow_all(runtime),
        "done": remove_erased(runtime),
    }


def _tell(runtime: Runtime, moved: ledger.Moved) -> Json:
    """Mirror a job that a sweep moved, and count its end if it is one. Returns its document."""
    log.info("job_swept", job=moved.job_id, tenant=moved.tenant_id, state=moved.state)
    found = status.fresh(runtime, moved.tenant_id, moved.job_id)
    if moved.state in TERMINAL:
        metrics.count_end(runtime.meter, found)
    return found


def _all(runtime: Runtime, sweep: Callable[[Session], Sequence[ledger.Moved]]) -> list[ledger.Moved]:
    """A sweep takes a bounded number of rows in one transaction; go on until it finds no more."""
    found: list[ledger.Moved] = []
    while True:
        with runtime.sessions.begin() as session:
            moved = sweep(session)
        found += moved
        if len(moved) < ledger.LIMIT:
            return found


def tidy_once(runtime: Runtime) -> dict[str, int]:
    """What can wait some minutes: old rows, orphaned artefacts, taking stock, and a look at every invariant."""
    days, hours = runtime.settings.job_retention_days, runtime.settings.idempotency_hours
    purged: Counter[str] = Counter()
    while True:
        with runtime.sessions.begin() as session:
            found = ledger.purge(session, job_days=days, idempotency_hours=hours)
            kept_days = runtime.settings.schedule_run_retention_days
            found["schedule_runs"] = schedules.purge(session, days=kept_days, limit=ledger.LIMIT)
            found["anomalies"] = anomalies.purge(session, days=runtime.settings.anomaly_retention_days, limit=ledger.LIMIT)
            span = {"days": runtime.settings.forecast_retention_days, "accuracy_days": runtime.settings.accuracy_days}
            found["forecasts"] = forecasts.purge(session, **span, limit=ledger.LIMIT)
            found["deliveries"] = deliveries.purge(session, days=runtime.settings.delivery_retention_days, limit=ledger.LIMIT)
            found["audit"] = audit.purge(session, days=runtime.settings.audit_retention_days, limit=ledger.LIMIT)
            found["logins"] = logins.purge(session, limit=ledger.LIMIT)
        purged.update(found)
        if max(found.values()) < ledger.LIMIT:
            break
    take_stock(runtime)
    return {**purged, "artefacts": len(collect_orphans(runtime)), "broken": sum(check_invariants(runtime).values())}


class Patrol(threading.Thread):
    """One kind of round, again and again, in a thread of its own: a slow or failing one keeps nothing else waiting."""

    def __init__(self, name: str, action: Callable[[], object], *, every_s: float, rest_s: float, told: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._action, self._every_s, self._rest_s, self._told = action, every_s, rest_s, told

    def run(self) -> None:
        """Until told to stop. After Postgres was out of reach it rests: workers could not renew their leases either.

        An error that nobody foresaw ends the whole process, which is started again. Without its rounds it would seem well, and what
        died would run for ever.
        """
        try:
            self._go_round()
        except Exception:
            log.exception("round_broken", round=self.name)
        finally:
            self._told.set()

    def _go_round(self) -> None:
        pause = 0.0
        while not self._told.wait(pause):
            try:
                self._action()
                pause = self._every_s
            except (SQLAlchemyError, OSError) as error:
                log.warning("round_failed", round=self.name, error=str(error).splitlines()[0])
                pause = max(self._rest_s, self._every_s)


def patrols(runtime: Runtime, told: threading.Event) -> list[Patrol]:
    """Those that every dispatcher keeps."""
    settings = runtime.settings
    return [
        Patrol("reconcile", lambda: reconcile_once(runtime), every_s=settings.reconcile_s, rest_s=settings.lease_s, told=told),
        Patrol("drift", lambda: judge_once(runtime), every_s=min(settings.drift_s, settings.tidy_s), rest_s=settings.lease_s, told=told),
        Patrol("deliver", Courier(runtime, told).round, every_s=settings.dispatch_poll_s, rest_s=settings.reconcile_s, told=told),
        Patrol("schedules", lambda: fire_due(runtime), every_s=settings.dispatch_poll_s, rest_s=settings.lease_s, told=told),
        Patrol("sources", lambda: probe_sources(runtime), every_s=settings.source_probe_s, rest_s=settings.lease_s, told=told),
        Patrol("tidy", lambda: tidy_once(runtime), every_s=settings.tidy_s, rest_s=settings.lease_s, told=told),
    ]


def check_invariants(runtime: Runtime) -> dict[str, int]:
    """How often each invariant of the ledger is broken; always zero unless there is a fault in this program."""
    with runtime.sessions() as session:
        found = ledger.violations(session)
    for name, count in found.items():
        if count:
            log.error("invariant_broken", invariant=name, rows=count)
    for name in ledger.INVARIANTS:
        runtime.meter.hold(metrics.BROKEN, found.get(name, 0), name)
    return found


def take_stock(runtime: Runtime) -> None:
    """What is kept, for operators. It reads whole tables, so no scrape asks for it."""
    with runtime.sessions() as session:
        kept = census.stock(session)
        standing = expected.count(session, promises(session, runtime))
    runtime.meter.hold(metrics.TENANTS, kept.tenants)
    runtime.meter.hold(metrics.ENTITIES, kept.entities)
    runtime.meter.hold(metrics.VERSIONS, kept.versions)
    runtime.meter.hold(metrics.ARTEFACT_BYTES, kept.artefact_bytes)
    for state, models in standing.items():
        runtime.meter.hold(metrics.EXPECTED, models, state)


def collect_orphans(runtime: Runtime, *, older_than_s: float = ORPHAN_AFTER_S) -> list[str]:
    """Delete artefacts that no version names any more. Files are listed before rows are read, so a new one is never taken for old."""
    root = runtime.settings.model_dir
    if not root.is_dir():
        return []
    now = _now(root)
    folders = [folder for folder in _artefacts(root) if _age_s(folder, now) > older_than_s]
    kept = _kept(runtime)
    return [folder.name for folder in folders if folder.name not in kept and _collect(runtime, folder, now - older_than_s)]


def remove_erased(runtime: Runtime, *, older_than_s: float = ERASED_AFTER_S) -> int:
    """Delete the artefacts of erased entities, and note erasures that every store has followed. How many those were.

    One that was taken up a moment ago waits: the very same one may be under publication for somebody else.
    """
    with runtime.sessions() as session:
        waiting = receipts.undone(session)
    left = {receipt.id: _lying(runtime, receipt.artefacts, older_than_s) for receipt in waiting if receipt.artefacts}
    if not waiting:
        return 0
    with runtime.sessions.begin() as session:
        for receipt_id, artefacts in left.items():
            receipts.leave(session, receipt_id, artefacts)
        return receipts.finish(session)


def _lying(runtime: Runtime, addresses: Sequence[str], older_than_s: float) -> list[str]:
    """Those of the artefacts that nobody needs and that could not be deleted yet. Without their disk, all of them."""
    root = runtime.settings.model_dir
    if not root.is_dir():
        return list(addresses)
    now, kept = _now(root), _kept(runtime)
    homes = {address: shelf.folder(root, address) for address in addresses if address not in kept}
    places = [(address, place) for address, home in homes.items() for place in (home, home.with_name(f".{address}")) if place.is_dir()]
    return [address for address, place in places if _age_s(place, now) <= older_than_s or not _collect(runtime, place, now - older_than_s)]


def _collect(runtime: Runtime, folder: Path, before: float) -> bool:
    """Set aside, look again, delete: a training that came to the very same weights may have taken the folder up meanwhile.

    A folder that cannot be moved or deleted (another process collects it, the disk is read-only) is left for the next round.
    """
    name = folder.name.removeprefix(".")  # a collection cut short left it set aside
    home, aside = folder.with_name(name), folder.with_name(f".{name}")
    try:
        folder.rename(aside)
        if aside.stat().st_mtime >= before or name in _kept(runtime):
            aside.rename(home)
            return False
        shutil.rmtree(aside)
    except OSError as error:
        log.warning("artefact_not_collected", artefact=folder.name, error=str(error))
        return False
    log.info("artefact_collected", artefact=folder.name)
    return True


def _kept(runtime: Runtime) -> set[str]:
    with runtime.sessions() as session:
        return registry.referenced_artefacts(session)


def _artefacts(root: Path) -> Iterator[Path]:
    """Folders `<aa>/<sha256>` under the root, and the temporary ones a killed save left behind."""
    return (folder for pattern in ("??/*", ".tmp-*") for folder in root.glob(pattern) if folder.is_dir())


def _now(root: Path) -> float:
    """The time by the clock that stamps artefacts: this process's own may be wrong by hours, and a file server has another."""
    probe = root / ".clock"
    probe.touch()
    return probe.stat().st_mtime


def _age_s(folder: Path, now: float) -> float:
    """Seconds since the folder was saved or taken up; one that is gone is as young as can be."""
    try:
        return now - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
