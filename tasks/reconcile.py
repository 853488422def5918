"""Reconciling: expired leases, deadlines, cancels, old rows and orphaned artefacts; safe to run anywhere, any number of times."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from db import ledger, registry
from tasks import problems, status
from tasks.runtime import Runtime

log = structlog.get_logger()

#: An artefact without a version row is left alone so long: its publication may be under way.
ORPHAN_AFTER_S = 3600.0


def reconcile_once(runtime: Runtime) -> dict[str, int]:
    """One round. Returns how many rows each sweep changed, and logs every broken invariant."""
    settings = runtime.settings
    lost = problems.problem("worker_lost", "Every try's worker fell silent.")
    late = problems.problem("deadline_exceeded", "The job was not finished before its deadline.")
    with runtime.sessions.begin() as session:
        ended = ledger.finish_cancels(session)
    with runtime.sessions.begin() as session:
        expired = ledger.expire(session, error=late)
    with runtime.sessions.begin() as session:
        reaped = ledger.reap(session, lease_s=settings.lease_s, error=lost)
    for moved in (*reaped, *expired, *ended):
        status.fresh(runtime, moved.tenant_id, moved.job_id)
    return {"reaped": len(reaped), "expired": len(expired), "cancelled": len(ended)}


def tidy_once(runtime: Runtime) -> dict[str, int]:
    """What can wait some minutes: old rows, orphaned artefacts, and a look at every invariant."""
    days, hours = runtime.settings.job_retention_days, runtime.settings.idempotency_hours
    with runtime.sessions.begin() as session:
        purged = ledger.purge(session, job_days=days, idempotency_hours=hours)
    return {**purged, "artefacts": len(collect_orphans(runtime)), "broken": sum(check_invariants(runtime).values())}


class Rounds:
    """When the next round of each kind is due, in one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._reconcile_at = self._tidy_at = 0.0

    def walk(self) -> None:
        """Do the rounds that are due."""
        now = time.monotonic()
        if now >= self._reconcile_at:
            self._reconcile_at = now + self._runtime.settings.reconcile_s
            reconcile_once(self._runtime)
        if now >= self._tidy_at:
            self._tidy_at = now + self._runtime.settings.tidy_s
            tidy_once(self._runtime)

    def rest(self) -> None:
        """After Postgres was out of reach: workers could not renew their leases either, so give them one lease's time to."""
        self._reconcile_at = time.monotonic() + self._runtime.settings.lease_s


def check_invariants(runtime: Runtime) -> dict[str, int]:
    """How often each invariant of the ledger is broken; always zero unless there is a fault in this program."""
    with runtime.sessions() as session:
        found = ledger.violations(session)
    for name, count in found.items():
        if count:
            log.error("invariant_broken", invariant=name, rows=count)
    return found


def collect_orphans(runtime: Runtime, *, older_than_s: float = ORPHAN_AFTER_S) -> list[str]:
    """Delete artefacts that no version names any more. Files are listed before rows are read, so a new one is never taken for old."""
    folders = [folder for folder in _artefacts(runtime.settings.model_dir) if _age_s(folder) > older_than_s]
    orphans = [folder for folder in folders if folder.name not in _kept(runtime)]
    return [folder.name for folder in orphans if _collect(runtime, folder, older_than_s)]


def _collect(runtime: Runtime, folder: Path, older_than_s: float) -> bool:
    """Set aside, look again, delete: a training that came to the very same weights may have taken the folder up meanwhile."""
    aside = folder.with_name(f".{folder.name}")
    try:
        folder.rename(aside)
    except FileNotFoundError:  # another process collects it
        return False
    if _age_s(aside) <= older_than_s or folder.name in _kept(runtime):
        aside.rename(folder)
        return False
    shutil.rmtree(aside)
    log.info("artefact_collected", artefact=folder.name)
    return True


def _kept(runtime: Runtime) -> set[str]:
    with runtime.sessions() as session:
        return registry.referenced_artefacts(session)


def _artefacts(root: Path) -> Iterator[Path]:
    """Folders `<aa>/<sha256>` under the root, and the temporary ones a killed save left behind."""
    return (folder for folder in root.glob("*/*") if folder.is_dir())


def _age_s(folder: Path) -> float:
    """Seconds since the folder was saved or taken up; one that is gone is as young as can be."""
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
