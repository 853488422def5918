"""The board: how each job stands, in Redis, where pollers read it without asking Postgres. It may be wiped at any time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from db.models import Json

Answer = TypeVar("Answer")

# Takes only what is newer by (rev, seq): a slow writer cannot turn the board back.
_SHOW = """
local rev, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'rev', 'seq')
if held[1] then
  local held_rev, held_seq = tonumber(held[1]), tonumber(held[2])
  if held_rev > rev or (held_rev == rev and held_seq >= seq) then return 0 end
end
redis.call('HSET', KEYS[1], 'rev', ARGV[1], 'seq', ARGV[2], 'body', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""


def make_redis(url: str, timeout_s: float = 0.05) -> redis.Redis:
    """A client that would rather have no answer than wait for one: short timeouts, no retries, the shortest handshake.

    (redis-py by itself retries each command ten times, and greets each new connection with three round trips.)
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
        decode_responses=True,
    )


class Breaker:
    """Asks a Redis that may be away. After a failure nobody asks for `rest_s`: an outage costs a timeout a second, not one per request."""

    def __init__(self, rest_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = rest_s
        self._clock = clock
        self._closed_until: float | None = None
        #: How often Redis was found away.
        self.trips = 0

    def ask(self, question: Callable[[], Answer], miss: Answer) -> Answer:
        """The answer, or `miss` when Redis is away or refuses."""
        if self._resting():
            return miss
        try:
            answer = question()
        except (redis.ConnectionError, redis.TimeoutError):
            self._closed_until = self._clock() + self._rest_s
            self.trips += 1
            return miss
        except redis.RedisError:  # it is there and refuses this one command: out of memory, a key of another type
            return miss
        self._closed_until = None
        return answer

    def _resting(self) -> bool:
        """After the rest one caller tries, and the others go on resting until it knows."""
        until, now = self._closed_until, self._clock()
        if until is None:
            return False
        if now < until:
            return True
        self._closed_until = now + self._rest_s
        return False


class Board:
    """The status of jobs. Every method answers a miss, never an error, when Redis does not."""

    def __init__(self, client: redis.Redis, breaker: Breaker | None = None) -> None:
        self._redis = client
        self._breaker = breaker or Breaker()
        self._show = client.register_script(_SHOW)

    def show(self, tenant: str, job_id: str, rev: int, seq: int, body: Json, ttl_s: float) -> bool:
        """Put up a status, unless a newer one hangs there. Whether it was put up."""
        arguments: list[str | int] = [rev, seq, json.dumps(body), int(ttl_s * 1000)]
        return bool(self._breaker.ask(lambda: self._show(keys=[key(tenant, job_id)], args=arguments), 0))

    def forget(self, tenant: str, job_ids: Sequence[str]) -> bool:
        """Take statuses down before their time, as when an entity is erased. Whether Redis was there to do it."""
        keys = [key(tenant, job_id) for job_id in job_ids]
        return not keys or self._breaker.ask(lambda: self._redis.unlink(*keys), None) is not None

    def read(self, tenant: str, job_id: str) -> Json | None:
        held = self._breaker.ask(lambda: self._redis.hget(key(tenant, job_id), "body"), None)
        return None if held is None else cast("Json", json.loads(cast("str", held)))


def key(tenant: str, job_id: str) -> str:
    return f"fleetcast:{tenant}:job:{job_id}"
