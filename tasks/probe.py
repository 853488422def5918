"""Whether each source can be read, for whoever watches: asked in rounds of the dispatcher."""

from __future__ import annotations

import structlog

from db.errors import SourceUnavailable, SourceUnreadable
from db.sources.source import Health
from tasks.metrics import SOURCE_LAG, SOURCE_UP
from tasks.runtime import Runtime

log = structlog.get_logger()


def probe_sources(runtime: Runtime) -> int:
    """Ask each that this process can read. Returns how many answered.

    Files are left out: only workers have what reads them, and a folder that is there says nothing of the file that a job will want.
    """
    found = {name: _health(runtime, name) for name, config in runtime.sources.configs.items() if config.light}
    for name, health in found.items():
        runtime.meter.hold(SOURCE_UP, float(health is not None), name)
        if health is not None and health.lag_s is not None:
            runtime.meter.hold(SOURCE_LAG, health.lag_s, name)
    return sum(health is not None for health in found.values())


def _health(runtime: Runtime, name: str) -> Health | None:
    try:
        return runtime.sources.open(name).health()
    except (SourceUnavailable, SourceUnreadable) as error:
        log.warning("source_away", source=name, error=str(error), cause=str(error.__cause__ or "").splitlines()[:1])
        return None
