"""What-if: named scenarios beside a baseline, answered in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ml.scenarios import Change, Direction, Scenario
from ml.what_if import what_if as ask
from tasks.execute import Work
from tasks.jobs import WhatIfJob
from tasks.predict import floor_of, serve
from tasks.workshop import Workshop


def what_if(shop: Workshop, works: Sequence[Work]) -> None:
    """Answer each what-if in hand."""
    for work in works:
        with work.outcome():
            _what_if(shop, work)


def _what_if(shop: Workshop, work: Work) -> None:
    job = WhatIfJob.from_dict(work.job.spec)
    served = serve(shop, work, job)
    work.progress("forecast", scenarios=len(job.scenarios))
    scenarios = [_scenario(stored) for stored in job.scenarios]
    asked = ask(
        served.fitted,
        served.raw,
        scenarios,
        horizon=job.horizon,
        level=job.level,
        bounds=job.bounds,
        direction=cast("Direction | None", served.channel and served.channel.direction),
        floor=floor_of(shop, served),
    )
    origin = asked.baseline.origin | {"model": served.version.model_id, "version": served.version.semver}
    body = asked.as_dict() | {"entity": served.entity.name, "served_by": origin}
    if not job.include_baseline:
        del body["baseline"]

    work.publish(lambda _: (body, list(asked.warnings)))


def _scenario(written: Mapping[str, Any]) -> Scenario:
    """A scenario as the client wrote it."""
    return Scenario(written["name"], tuple(_change(change) for change in written["changes"]))


def _change(written: Mapping[str, Any]) -> Change:
    steps = written.get("steps", "all")
    if steps == "all":
        return Change(written["channel"], written["op"], written["value"])
    [(where, count)] = steps.items()
    return Change(written["channel"], written["op"], written["value"], (where, count))
