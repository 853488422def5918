"""Erasing in Redis what was erased in Postgres: at once where Redis is there, else as soon as it is back."""

from __future__ import annotations

from itertools import takewhile

from db import erasures, receipts
from db.models import Erasure
from tasks.runtime import Runtime


def follow(runtime: Runtime, erasure: Erasure) -> bool:
    """Have Redis forget. Only after commit: until then the rows could be mirrored anew. Whether Redis was there to do it.

    The events of a batch go whole, for single ones name the entity; the batch itself goes on.
    """
    tenant = erasure.tenant_id
    forgotten = (
        runtime.board.bury(tenant, erasure.jobs)
        and runtime.board.forget(tenant, erasure.batches)
        and runtime.cache.forget(tenant, erasures.questions(erasure))
    )
    if forgotten:
        with runtime.sessions.begin() as session:
            erasures.end(session, erasure)
            receipts.finish(session)
    return forgotten


def follow_all(runtime: Runtime) -> int:
    """Have Redis follow the erasures that it missed, until it is found away. How many it followed."""
    with runtime.sessions() as session:
        missed = erasures.waiting(session)
    return sum(takewhile(bool, (follow(runtime, each) for each in missed)))
