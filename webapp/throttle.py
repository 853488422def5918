"""The throttle: how many requests a minute a tenant may send, counted in Redis for all web processes together."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Flask, g
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from db.breaker import Breaker, make_redis
from tasks.settings import Settings
from webapp.problems import Refusal

WINDOW_S = 60
#: Most requests taken from the shared count at a time: a tenth of a second's worth, so that most need no word with Redis.
BLOCK_S = 0.1
#: What was taken and not used is given up after so long, and a refusal stands for so long without being asked again.
HELD_S = 1.0

#: Put to a counter: whether there may be one more.
Question = Callable[[SlidingWindowCounterRateLimiter], bool]


@dataclass(slots=True)
class Allowance:
    """What this process may still let through for a tenant without asking, or how many seconds the tenant has to wait."""

    #: How many are taken at a time. It doubles while they are used up, and begins at one again when they are not: what is taken and not
    #: used is lost to the tenant.
    block: int = 1
    left: int = 0
    wait_s: int = 0
    until: float = 0.0
    #: One asks, and whoever comes meanwhile waits for what it brings.
    asking: threading.Lock = field(default_factory=threading.Lock)


class Window:
    """Counts in a sliding window of a minute, in Redis for all web processes. Where that is away, each process counts for itself."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._most = RateLimitItemPerMinute(most)
        self._breaker = Breaker()
        pool = make_redis(settings.cache, settings.cache_timeout_s).connection_pool
        storage = RedisStorage(settings.cache, connection_pool=pool, key_prefix="fleetcast:rate")
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, who: str, cost: int = 1) -> int:
        """Count so much for somebody: 0, or the seconds after which there may be one, and then nothing was counted."""
        return self._ask(lambda counter: counter.hit(self._most, who, cost=cost), who)

    def full(self, who: str) -> int:
        """Nothing is counted: 0, or the seconds after which there may be one."""
        return self._ask(lambda counter: counter.test(self._most, who), who)

    def _ask(self, question: Question, who: str) -> int:
        shared = self._breaker.ask(lambda: self._asked(self._shared, question, who), None)
        return self._asked(self._own, question, who) if shared is None else shared

    def _asked(self, counter: SlidingWindowCounterRateLimiter, question: Question, who: str) -> int:
        if question(counter):
            return 0
        reset = counter.get_window_stats(self._most, who).reset_time - time.time()
        return min(WINDOW_S, max(1, math.ceil(reset)))


class Throttle:
    """Counts requests of tenants. Where Redis is away, each process lets through as much alone."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.rate_limit_per_minute
        self._largest = max(1, int(self._most * BLOCK_S / WINDOW_S))
        self._window = Window(settings, self._most)
        self._allowed: dict[str, Allowance] = {}

    def admit(self, tenant_id: str) -> None:
        """Raises Refusal when the tenant has sent too many."""
        held = self._allowed.get(tenant_id) or self._allowed.setdefault(tenant_id, Allowance())
        while not _take(held):
            if held.wait_s and time.monotonic() < held.until:
                raise self._refusal(held.wait_s)
            with held.asking:
                if held.left <= 0 or time.monotonic() >= held.until:
                    self._ask(tenant_id, held)

    def _ask(self, tenant_id: str, held: Allowance) -> None:
        used_up = held.left <= 0 and time.monotonic() < held.until
        held.block = min(self._largest, held.block * 2) if used_up else 1
        wait_s = self._window.take(tenant_id, held.block)
        if wait_s and held.block > 1:  # the last few of the window
            held.block = 1
            wait_s = self._window.take(tenant_id)
        held.left, held.wait_s, held.until = 0 if wait_s else held.block, wait_s, time.monotonic() + HELD_S

    def _refusal(self, wait_s: int) -> Refusal:
        headers = {
            "Retry-After": str(wait_s),
            "RateLimit-Policy": f'"tenant";q={self._most};w={WINDOW_S}',
            "RateLimit": f'"tenant";r=0;t={wait_s}',
        }
        return Refusal("rate_limited", f"The tenant may send {self._most} requests a minute.", headers=headers)


def _take(held: Allowance) -> bool:
    if held.left <= 0 or time.monotonic() >= held.until:
        return False
    held.left -= 1
    return True


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
