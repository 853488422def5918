"""Readiness measured by a worker: of sources that only workers can read, for a request that waits."""

from __future__ import annotations

from collections.abc import Sequence

from ml.recipes import recipe
from tasks.execute import Work
from tasks.jobs import ReadinessJob
from tasks.readiness import readiness
from tasks.sources import outside
from tasks.workshop import Workshop


def measure(shop: Workshop, works: Sequence[Work]) -> None:
    """Make each measurement in hand."""
    for work in works:
        with work.outcome():
            _measure(shop, work)


def _measure(shop: Workshop, work: Work) -> None:
    job = ReadinessJob.from_dict(work.job.spec)
    work.progress("fetch")
    with shop.sessions() as session:
        place = outside(session, shop.runtime, work.job.tenant_id, job.entity, job.source)
    ready = readiness(place, recipe(job.recipe, shop.runtime.recipes), job.target, {}, None)
    work.publish(lambda _: (ready.told(job.entity, job.recipe), []))
