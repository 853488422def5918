"""Asking a Redis that may be away: clients that would rather have no answer than wait, and who stops them from asking on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

Answer = TypeVar("Answer")
Each = TypeVar("Each")
#: Keys and arguments of a script.
Call = tuple[list[str], list[str | int]]
#: Jobs, or answers of the cache, that one command takes down: well within the shortest of timeouts.
AT_ONCE = 100
#: How many times as long as the first the longest rest is: so long may it take until a Redis that is back is asked.
LONGEST = 4


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


def straight(client: redis.Redis, *command: str) -> Any:
    """The answer to one command that redis-py neither translates nor tries again: what most requests ask.

    Its own way around (a closure and two measurements for each command, a retry that nobody wants here) is a sixth of the asking. A
    connection that fails closes itself, and is made anew by who takes it next.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*command)  # type: ignore[no-untyped-call]
        return connection.read_response()
    finally:
        pool.release(connection)


class Breaker:
    """Asks a Redis that may be away. After a failure nobody asks for `rest_s`, after the next ones for twice and four times as long.

    So an outage costs a timeout every few seconds, not one per request: less than one in a hundred, where there are many.
    """

    def __init__(self, rest_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = self._next_rest_s = rest_s
        self._clock = clock
        self._closed_until: float | None = None
        self._tripped_at = -math.inf
        #: How often Redis was found away.
        self.trips = 0

    def ask(self, question: Callable[[], Answer], miss: Answer) -> Answer:
        """The answer, or `miss` when Redis is away or refuses."""
        return miss if self._resting() else self.insist(question, miss)

    def insist(self, question: Callable[[], Answer], miss: Answer) -> Answer:
        """As `ask`, also while others rest: for what is rare and must not be left undone because of one slow answer a moment ago."""
        try:
            answer = question()
        except (redis.ConnectionError, redis.TimeoutError):
            self._tripped_at = self._clock()
            self._closed_until = self._tripped_at + self._next_rest_s
            self.trips += 1
            return miss
        except redis.RedisError:  # it is there and refuses this one command: out of memory, a key of another type
            return miss
        self._closed_until = None
        self._next_rest_s = self._rest_s
        return answer

    def tripped(self, within_s: float) -> bool:
        """Whether Redis was found away in the last so many seconds."""
        return self._clock() - self._tripped_at < within_s

    def _resting(self) -> bool:
        """After the rest one caller tries, and the others go on resting until it knows."""
        until, now = self._closed_until, self._clock()
        if until is None:
            return False
        if now < until:
            return True
        self._next_rest_s = min(2 * self._next_rest_s, LONGEST * self._rest_s)
        self._closed_until = now + self._next_rest_s
        return False


def called(client: redis.Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """What the script answers to each call, in one round trip."""
    if len(calls) == 1:  # a pipeline would ask first whether the script is known
        return [script(keys=calls[0][0], args=calls[0][1])]
    with client.pipeline(transaction=False) as pipe:
        for keys, arguments in calls:
            script(keys=keys, args=arguments, client=pipe)
        return pipe.execute()


def in_parts(of: Sequence[Each]) -> Iterator[Sequence[Each]]:
    """So many as one command may take."""
    return (of[n : n + AT_ONCE] for n in range(0, len(of), AT_ONCE))
