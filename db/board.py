"""The board: how each job stands and what happened to it, in Redis, where watchers need no Postgres. It may be wiped at any time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import redis

from db.breaker import Breaker, Call, called, in_parts, straight
from db.events import EVENTS_KEPT, Event, News, Place, event_of, events_key, key
from db.models import Json
from db.session import to_json

#: The revision of a status that was buried: higher than any, so that whatever else would be put up there is older.
BURIED = 2**53
#: For so long nobody can put a status up that was buried: whoever had read its job before is through by then.
BURIED_S = 600

# KEYS: the status, its events, and where they tell of items of a batch, the status of each, in the order of the events. ARGV: rev, seq,
# body, seconds/1000 of the status; then, where something is told: the document's place, how many events are kept, seconds/1000 of them,
# whether it is the last document, and for each event its name, its data, and 1 if it is told however late it comes.
#
# The status takes only what is newer by (rev, seq): a slow writer cannot turn the board back. So do the events, by their place; one that
# may be late takes the next free place of its revision. `state` is told once for each revision, and after that it is `progress`. Each event
# names the one that it came after: the first of a stream that was wiped, or faded, names itself, and so nobody takes it for the next one.
# Of what was buried (its revision is 2^53, and it has no body) nothing is told, nor of an item that was.
_SHOW = """
local rev, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local shown = 1
local held = redis.call('HMGET', KEYS[1], 'rev', 'seq')
if held[1] then
  local held_rev, held_seq = tonumber(held[1]), tonumber(held[2])
  if held_rev >= 2^53 then return 0 end
  if held_rev > rev or (held_rev == rev and held_seq >= seq) then shown = 0 end
end
if shown == 1 then
  redis.call('HSET', KEYS[1], 'rev', ARGV[1], 'seq', ARGV[2], 'body', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if #ARGV == 4 then return shown end

local place, last = tonumber(ARGV[5]), ARGV[8] == '1'
local top, top_rev, top_number = nil, 0, -1
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if newest[1] then
  top = newest[1][1]
  local a, b = string.match(top, '(%d+)-(%d+)')
  top_rev, top_number = tonumber(a), tonumber(b)
end
local known_rev = top_rev
local newer = rev > top_rev or (rev == top_rev and place > top_number)
if rev < top_rev or (last and not newer) then return shown end
local count = (#ARGV - 8) / 3
for i = 1, count do
  local name, data, late = ARGV[6 + 3 * i], ARGV[7 + 3 * i], ARGV[8 + 3 * i] == '1'
  local gone = KEYS[2 + i] and tonumber(redis.call('HGET', KEYS[2 + i], 'rev') or 0) >= 2^53
  if (newer or late) and not gone then
    local number = math.max(place - count + i, 0)
    if rev == top_rev then number = math.max(number, top_number + 1) end
    if name == 'state' and rev == known_rev then name = 'progress' end
    local id = string.format('%.0f-%.0f', rev, number)
    local after = top or ((rev == 1 and seq == 0) and '0-0' or id)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], id, 'event', name, 'data', data, 'after', after)
    top, top_rev, top_number = id, rev, number
  end
end
if top then redis.call('PEXPIRE', KEYS[2], ARGV[7]) end
return shown
"""

# KEYS: status and events of each job. ARGV: seconds.
_BURY = """
for i = 1, #KEYS, 2 do
  redis.call('UNLINK', KEYS[i], KEYS[i + 1])
  redis.call('HSET', KEYS[i], 'rev', string.format('%.0f', 2^53), 'seq', 0)
  redis.call('EXPIRE', KEYS[i], ARGV[1])
end
return 1
"""


class Status(NamedTuple):
    """How a job stands, on its way to the board: the arguments of `show`."""

    tenant: str
    job_id: str
    rev: int
    seq: int
    body: Json
    ttl_s: float
    news: News | None = None
    head: str = ""


class Board:
    """The status of jobs. Every method answers a miss, never an error, when Redis does not."""

    def __init__(self, client: redis.Redis, breaker: Breaker | None = None) -> None:
        self._redis = client
        self._breaker = breaker or Breaker()
        self._show = client.register_script(_SHOW)
        self._bury = client.register_script(_BURY)

    def show(
        self, tenant: str, job_id: str, rev: int, seq: int, body: Json, ttl_s: float, news: News | None = None, *, head: str = ""
    ) -> bool | None:
        """Put up a status, unless a newer one hangs there, and tell its news in the same step. Whether it was put up; None for a miss.

        `head` is one line, for those in a hurry.
        """
        return self.show_all([Status(tenant, job_id, rev, seq, body, ttl_s, news, head)])[0]

    def show_all(self, statuses: Sequence[Status]) -> list[bool | None]:
        """The same of many, in their order and in few round trips."""
        return [shown for some in in_parts(statuses) for shown in self._show_some([_shown(status) for status in some])]

    def _show_some(self, calls: Sequence[Call]) -> list[bool | None]:
        shown: list[Any] = self._breaker.ask(lambda: called(self._redis, self._show, calls), [None] * len(calls))
        return [None if each is None else bool(each) for each in shown]

    def events(self, tenant: str, job_id: str, since: Place) -> list[Event] | None:
        """What was told from that place on, itself included. None: Redis is away."""
        found = self._breaker.ask(lambda: self._redis.xrange(events_key(tenant, job_id), min=str(since)), None)
        return None if found is None else [event_of(entry) for entry in cast("list[Any]", found)]

    def places(self, about: Sequence[tuple[str, str]]) -> list[Place | None]:
        """Where the status of each (tenant, job) stands, in one round trip; None for those that do not hang here."""
        found: list[Any] = self._breaker.ask(lambda: self._ask_each(about), [])
        return [None if rev is None or int(rev) >= BURIED else Place.of(int(rev), int(seq)) for rev, seq in found] or [None] * len(about)

    def _ask_each(self, about: Sequence[tuple[str, str]]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for each in about:
                pipe.hmget(key(*each), "rev", "seq")
            return pipe.execute()

    def forget(self, tenant: str, job_ids: Sequence[str]) -> bool:
        """Take statuses and events down before their time. Whether Redis was there to do it."""
        return self._take_down(tenant, job_ids, lambda keys: self._redis.unlink(*keys))

    def bury(self, tenant: str, job_ids: Sequence[str]) -> bool:
        """The same for good, as when an entity is erased: who comes late cannot put them up again. Whether Redis was there to do it."""
        return self._take_down(tenant, job_ids, lambda keys: self._bury(keys=keys, args=[BURIED_S]))

    def _take_down(self, tenant: str, job_ids: Sequence[str], command: Callable[[list[str]], object]) -> bool:
        def take(some: Sequence[str]) -> bool:
            keys = [name(tenant, job_id) for job_id in some for name in (key, events_key)]
            return self._breaker.insist(lambda: command(keys), None) is not None

        return all(take(some) for some in in_parts(job_ids))

    def written(self, tenant: str, job_id: str) -> tuple[str, str] | None:
        """The status as it was put up: its head, which is read without reading the rest, and its body as JSON."""
        held = self._breaker.ask(lambda: straight(self._redis, "HGET", key(tenant, job_id), "body"), None)
        if held is None:
            return None
        head, _, body = cast("str", held).partition("\n")
        return head, body

    def doubtful(self, within_s: float) -> bool:
        """Whether what hangs here may be from before an outage, during which others were told more."""
        return self._breaker.tripped(within_s)

    def read(self, tenant: str, job_id: str) -> Json | None:
        held = self.written(tenant, job_id)
        return None if held is None else cast("Json", json.loads(held[1]))


def _shown(status: Status) -> Call:
    """The keys and arguments of `_SHOW`."""
    news = status.news
    arguments: list[str | int] = [status.rev, status.seq, f"{status.head}\n{json.dumps(status.body)}", int(status.ttl_s * 1000)]
    if news is not None and news.events:
        arguments += [Place.of(status.rev, status.seq).number, EVENTS_KEPT, int(news.ttl_s * 1000), int(news.last)]
        for told in news.events:
            arguments += [told.event, "" if told.data is None else to_json(told.data), int(told.late)]
    items = [] if news is None else [key(status.tenant, item) for item in news.items]
    return [key(status.tenant, status.job_id), events_key(status.tenant, status.job_id), *items], arguments
