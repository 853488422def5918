"""The meter: what every process counts, added up in Redis, where one look finds it. Wiped, all counts begin again at zero.

Counts are kept in memory and sent every few seconds as one numbered packet. A packet that may or may not have arrived is sent again under
its number, and Redis takes each number once: nothing is counted twice, and nothing is lost but what a killed process had not sent yet.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis

from db.breaker import Breaker
from db.models import new_id
from db.readings import OTHER, Cells, Labels, Metric, Reading, add_up, bring_together

#: What all processes have counted since Redis was last emptied: a field for each number.
COUNTS = "fleetcast:metrics"
#: The processes that live, by the moment until which that is believed, and what each of them holds.
ALIVE, CARDS = "fleetcast:metrics:alive", "fleetcast:metrics:cards"
#: How often a process sends what it has counted, and how long it counts as alive afterwards: seven sendings may fail.
FLUSH_S, ALIVE_S = 2.0, 15
#: How long Redis remembers the number of a process's last packet. One cut off for longer may have its last two seconds counted twice.
MARK_S = 3600
#: Longest wait for the last packet of a process that ends.
JOIN_S = 3.0

# KEYS: counts, alive, cards, this process's mark. ARGV: process, packet number, card, seconds alive, seconds marked, then field and amount.
# pcall: a field that somebody spoilt must not stop the packet halfway, for it would be sent again.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('HDEL', KEYS[3], gone)
end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
end
if #ARGV > 5 and tonumber(redis.call('GET', KEYS[4]) or '0') < tonumber(ARGV[2]) then
  for i = 6, #ARGV, 2 do redis.pcall('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1]) end
  redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[5])
end
return 1
"""


class Undeclared(Exception):
    """A mistake of ours: this metric, or so many labels of it, is not in the catalogue."""


@dataclass(slots=True)
class _Followed:
    metric: Metric
    labels: Labels
    read: Callable[[], float]
    seen: float = 0.0


class Meter:
    """Counts for this process, from any thread. While Redis is away the counts wait here, one number for each series."""

    def __init__(self, client: redis.Redis, catalogue: Iterable[Metric], breaker: Breaker | None = None) -> None:
        self._redis = client
        # Not the pollers' breaker: what the meter sends is larger, and its being slow must not keep them from the board.
        self._breaker = breaker or Breaker()
        self._take_up = client.register_script(_TAKE)
        self._declared = {metric.name: metric for metric in catalogue}
        self._name = new_id("prc")
        self._counts: dict[tuple[Metric, Labels], Cells] = {}
        self._levels: dict[tuple[Metric, Labels], float] = {}
        self._followed: list[_Followed] = []
        self._lock = threading.Lock()
        #: Under way to Redis, perhaps there already.
        self._packet: list[str | float] = []
        self._number = 0
        #: Whether Redis tells that this process lives.
        self._shown = False
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told = threading.Event()

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        key = (metric, labels)
        with self._lock:
            cells = self._counts.get(key) or self._begin(key)
            cells[0] += by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put a value into its bucket."""
        key = (metric, labels)
        place = bisect_left(metric.buckets, value)
        with self._lock:
            cells = self._counts.get(key) or self._begin(key)
            cells[place] += 1.0
            cells[-1] += value

    def hold(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge: it is told for as long as this process lives."""
        with self._lock:
            self._levels[self._checked((metric, labels))] = value

    def follow(self, metric: Metric, read: Callable[[], float], *labels: str) -> None:
        """Ask `read` before each sending: a counter takes its growth over, a gauge its value."""
        self._followed.append(_Followed(metric, labels, read))

    def start(self) -> None:
        """Send every few seconds from now on. Only after a fork: threads do not survive one."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_on, name="meter", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Send what is left, and tell that this process goes."""
        self._told.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
        self._followed = [each for each in self._followed if each.metric.kind != "gauge"]
        self._levels = {}
        self.flush()
        self._redis.close()

    def flush(self) -> bool:
        """Send what was counted. False: Redis is away, and it is kept for the next time."""
        with self._sending:
            self._ask(self._followed)
            # First what was under way when Redis went, under its old number.
            if self._packet and not self._deliver():
                return False
            self._pack()
            return not (self._packet or self._levels or self._shown) or self._deliver()

    def read(self) -> Reading | None:
        """All processes' counts, this one's included. None while Redis is away: half the truth would look like counters set back."""
        self.flush()
        found = self._breaker.ask(self._fetch, None)
        if found is None:
            return None
        counts, (now, _), alive, cards = found
        living = {name for name, until in alive if until > now}
        return Reading(add_up(self._declared, counts), bring_together(self._declared, (cards[name] for name in living if name in cards)))

    def _begin(self, key: tuple[Metric, Labels]) -> Cells:
        metric, labels = self._checked(key)
        return self._counts.setdefault((metric, labels), metric.empty())

    def _checked(self, key: tuple[Metric, Labels]) -> tuple[Metric, Labels]:
        metric, labels = key
        if self._declared.get(metric.name) is not metric or len(labels) != len(metric.labels):
            raise Undeclared(f"{metric.name} with the labels {labels}")
        pairs = zip(labels, metric.labels.values(), strict=True)
        return metric, tuple(value if known is None or value in known else OTHER for value, known in pairs)

    def _ask(self, followed: Iterable[_Followed]) -> None:
        for each in followed:
            now = each.read()
            if each.metric.kind == "gauge":
                self.hold(each.metric, now, *each.labels)
            elif now != each.seen:
                self.count(each.metric, *each.labels, by=now - each.seen)
            each.seen = now

    def _pack(self) -> None:
        with self._lock:
            taken, self._counts = self._counts, {}
        for (metric, labels), cells in taken.items():
            for cell, amount in zip(metric.cells(), cells, strict=True):
                if amount:
                    self._packet += (json.dumps([metric.name, *labels, cell]), amount)
        self._number += bool(self._packet)

    def _deliver(self) -> bool:
        if self._breaker.ask(self._send, None) is None:
            return False
        self._packet, self._shown = [], bool(self._levels)
        return True

    def _send(self) -> Any:
        with self._lock:
            held = [[metric.name, labels, value] for (metric, labels), value in self._levels.items()]
        card = json.dumps(held) if held else ""
        return self._take_up(
            keys=[COUNTS, ALIVE, CARDS, f"{COUNTS}:mark:{self._name}"],
            args=[self._name, self._number, card, ALIVE_S, MARK_S, *self._packet],
        )

    def _send_on(self) -> None:
        self.flush()
        while not self._told.wait(FLUSH_S):
            self.flush()

    def _fetch(self) -> Any:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(COUNTS)
            pipe.time()
            pipe.zrange(ALIVE, 0, -1, withscores=True)
            pipe.hgetall(CARDS)
            return pipe.execute()
