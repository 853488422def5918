"""The throttle: how many requests a minute a tenant may send, counted in Redis for all web processes together."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from flask import Flask, g
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from db.board import Breaker, make_redis
from tasks.settings import Settings
from webapp.problems import Refusal

WINDOW_S = 60
#: Requests are taken from the shared count a tenth of a second's worth at a time, so that most need no word with Redis.
BLOCK_S = 0.1
#: What was taken and not used is given up after so long, and a refusal stands for so long without being asked again.
HELD_S = 1.0


@dataclass(slots=True)
class Allowance:
    """What this process may still let through for a tenant without asking, or how many seconds the tenant has to wait."""

    left: int
    wait_s: int
    until: float


class Throttle:
    """Counts requests in a sliding window. Where Redis is away, each process counts for itself and lets through as much alone."""

    def __init__(self, settings: Settings) -> None:
        self._most = RateLimitItemPerMinute(settings.rate_limit_per_minute)
        self._block = max(1, int(settings.rate_limit_per_minute * BLOCK_S / WINDOW_S))
        self._breaker = Breaker()
        pool = make_redis(settings.cache, settings.cache_timeout_s).connection_pool
        storage = RedisStorage(settings.cache, connection_pool=pool, key_prefix="fleetcast:rate")
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._allowed: dict[str, Allowance] = {}

    def admit(self, tenant_id: str) -> None:
        """Raises Refusal when the tenant has sent too many."""
        now = time.monotonic()
        held = self._allowed.get(tenant_id)
        if held is None or now >= held.until or held.left == held.wait_s == 0:
            held = self._allowed[tenant_id] = self._ask(tenant_id, now)
        if held.wait_s:
            raise self._refusal(held.wait_s)
        held.left -= 1

    def _ask(self, tenant_id: str, now: float) -> Allowance:
        wait_s = self._breaker.ask(lambda: self._take(self._shared, tenant_id), None)
        if wait_s is None:
            wait_s = self._take(self._own, tenant_id)
        return Allowance(0 if wait_s else self._block, wait_s, now + HELD_S)

    def _take(self, counter: SlidingWindowCounterRateLimiter, tenant_id: str) -> int:
        """Take a block of requests: 0, or the seconds after which there may be one."""
        if counter.hit(self._most, tenant_id, cost=self._block):
            return 0
        reset = counter.get_window_stats(self._most, tenant_id).reset_time - time.time()
        return min(WINDOW_S, max(1, math.ceil(reset)))

    def _refusal(self, wait_s: int) -> Refusal:
        headers = {
            "Retry-After": str(wait_s),
            "RateLimit-Policy": f'"tenant";q={self._most.amount};w={WINDOW_S}',
            "RateLimit": f'"tenant";r=0;t={wait_s}',
        }
        return Refusal("rate_limited", f"The tenant may send {self._most.amount} requests a minute.", headers=headers)


def limit_rate(app: Flask, settings: Settings) -> None:
    """After the door: whoever has no key is not counted as anybody."""
    if settings.rate_limit_per_minute == 0:
        return
    throttle = Throttle(settings)

    @app.before_request
    def check() -> None:
        identity = g.get("identity")
        if identity is not None:
            throttle.admit(identity.tenant_id)
