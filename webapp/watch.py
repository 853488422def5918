"""Watching a job without holding a database connection: look once, then be woken by the hub when there is something new."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from db.errors import NotFound
from tasks import status
from tasks.runtime import Runtime
from webapp.hub import hub

Document = dict[str, Any]


def ended(tenant_id: str, found: Document, patience_s: float) -> Document:
    """This job once it is terminal, or as it stands when patience ends. Raises as `until` does."""
    return _then(tenant_id, found, patience_s, lambda now: bool(now["terminal"]))


def until(runtime: Runtime, tenant_id: str, job_id: str, patience_s: float, good: Callable[[Document], bool]) -> Document:
    """The first document that is good, or the last one seen. Raises NotFound when there is no such job, or no longer.

    Patience ends early in a process that is told to stop, and at once where too many wait already. Where Postgres could not be asked in
    the end, its error is raised.
    """
    return _then(tenant_id, status.read(runtime, tenant_id, job_id), patience_s, good)


def _then(tenant_id: str, found: Document, patience_s: float, good: Callable[[Document], bool]) -> Document:
    """What comes of a document that was just read."""
    if patience_s <= 0 or good(found):
        return found
    with hub().waits.offered(tenant_id) as seated:
        return _wait(tenant_id, found, time.monotonic() + patience_s, good) if seated else found


def _wait(tenant_id: str, found: Document, deadline: float, good: Callable[[Document], bool]) -> Document:
    with hub().watch(tenant_id, found["id"], found, polls=True) as watcher:
        while not good(found) and time.monotonic() < deadline and not hub().leaving:
            watcher.wait(deadline - time.monotonic())
            if isinstance(watcher.trouble, NotFound):
                raise watcher.trouble
            found = cast(Document, watcher.document or found)
        if watcher.trouble is not None and not good(found):
            raise watcher.trouble
        return found
