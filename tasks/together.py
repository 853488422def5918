"""The execution loop's other hand: what members of a cohort have made is published in one transaction, and told at one stroke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import ledger
from db.errors import SinkRefused
from db.models import Json
from tasks import metrics, status
from tasks.execute import Work
from tasks.workshop import Workshop

log = structlog.get_logger()

#: Writes the effects of some works in the transaction that ends them, and returns of each its result and warnings, by the job's id.
PublishAll = Callable[[Session, Sequence[Work]], Mapping[str, tuple[Json, Sequence[Json]]]]


def publish_together(shop: Workshop, works: Sequence[Work], write: PublishAll) -> list[Work]:
    """Commit the effects and the success of each, under its own fence. The works that are left without an outcome.

    Those whose fence is gone are left, and all where the transaction fails or a sink refuses: whoever publishes them one by one learns
    which of them it was. Raises SinkUnavailable, which none of them would fare better with.
    """
    try:
        held, moved = _commit(shop, works, write)
    except (SQLAlchemyError, SinkRefused) as error:
        log.warning("cohort_not_published", jobs=[work.job.id for work in works], error=str(error).splitlines()[0])
        return list(works)
    for work in held:
        work.let_go("succeeded", ended=True)
    _tell(shop, [work.job.id for work in held], moved)
    return [work for work in works if not work.settled]


def _commit(shop: Workshop, works: Sequence[Work], write: PublishAll) -> tuple[list[Work], list[ledger.Moved]]:
    fences = {work.job.id: work.claim.fence for work in works}
    with shop.sessions.begin() as session:
        under = ledger.hold_all(session, fences)
        held = [work for work in works if work.job.id in under]
        if not held:
            return [], []
        moved = ledger.succeed_all(session, fences, write(session, held))
        ledger.ring(session)  # there is room for the next cohort
        return held, moved


def _tell(shop: Workshop, job_ids: Sequence[str], moved: Sequence[ledger.Moved]) -> None:
    """Mirror what moved and count it: the jobs, then a batch that ended with them."""
    if not moved:
        return
    tenant_id = moved[0].tenant_id
    try:
        ended = status.fresh_all(shop.runtime, tenant_id, job_ids)
        ended += [status.fresh(shop.runtime, tenant_id, each.job_id) for each in moved if each.job_id not in set(job_ids)]
    except SQLAlchemyError:
        log.warning("status_not_mirrored", jobs=list(job_ids), tenant=tenant_id)
        return
    for found in ended:
        metrics.count_end(shop.runtime.meter, found)
