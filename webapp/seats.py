"""Seats: how many may wait or watch in one process at a time, and how many of them for one tenant."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.problems import Refusal


class Seats:
    """How many watch in this process, and whose they are."""

    def __init__(self, most: int, most_of_tenant: int) -> None:
        self._most, self._most_of_tenant = most, most_of_tenant
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, tenant_id: str) -> None:
        """Raises Refusal when all are taken."""
        with self._lock:
            if self._taken[tenant_id] >= self._most_of_tenant:
                raise Refusal("too_many_streams", f"The tenant holds {self._most_of_tenant} event streams open.")
            if self._taken.total() >= self._most:
                raise Refusal("streams_saturated", f"{self._most} event streams are open here.")
            self._taken[tenant_id] += 1

    @contextmanager
    def offered(self, tenant_id: str) -> Iterator[bool]:
        """Whether there was one, which is kept until the block ends."""
        try:
            self.take(tenant_id)
        except Refusal:
            yield False
            return
        try:
            yield True
        finally:
            self.leave(tenant_id)

    def leave(self, tenant_id: str) -> None:
        with self._lock:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]

    @property
    def taken(self) -> int:
        return self._taken.total()
