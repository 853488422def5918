"""The board: how each job stands and what happened to it, in Redis, where watchers need no Postgres. It may be wiped at any time."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from db.models import Json
from db.session import to_json

Answer = TypeVar("Answer")
Each = TypeVar("Each")
#: Keys and arguments of a script.
Call = tuple[list[str], list[str | int]]

#: Events of a job that are kept: a training of a thousand epochs is among them whole.
EVENTS_KEPT = 2000
#: Places that each step of a document has in the order of its job's events. The last is the document's own; what is told with it stands
#: before. So many that what comes late, and takes the next free place, does not run into the steps that follow.
PLACES = 1024
#: The revision of a status that was buried: higher than any, so that whatever else would be put up there is older.
BURIED = 2**53
#: For so long nobody can put a status up that was buried: whoever had read its job before is through by then.
BURIED_S = 600
#: Jobs, or answers of the cache, that one command takes down: well within the shortest of timeouts.
AT_ONCE = 100
#: How long one hearing waits for something to be told, which is also how long a job newly followed may wait for its first.
HEAR_MS = 200

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

_PLACE = re.compile(r"([0-9]{1,16})-([0-9]{1,16})")


class Place(NamedTuple):
    """Where something stands in the order of a job's events. It follows from the ledger alone, so it means the same after a wipe."""

    rev: int
    number: int

    @classmethod
    def of(cls, rev: int, seq: int) -> Self:
        """A document's own."""
        return cls(rev, (seq + 1) * PLACES - 1)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """From the id of an event; None for what cannot be one."""
        found = _PLACE.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None

    def before(self, places: int = 1) -> Place:
        return Place(self.rev, max(0, self.number - places))

    def __str__(self) -> str:
        return f"{self.rev}-{self.number}"


class Told(NamedTuple):
    """An event to be told."""

    event: str
    #: One JSON object; None where the document itself is meant.
    data: Json | None
    #: Told also when the events have gone past its document, as those of several writers may.
    late: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What a document tells those who watch its job."""

    events: Sequence[Told]
    ttl_s: float
    #: No document follows this one.
    last: bool = False
    #: The items of a batch that the first of them tell of, one each: their ids.
    items: Sequence[str] = ()


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


class Event(NamedTuple):
    """An event as it was told."""

    place: Place
    event: str
    data: str
    #: The one before it. Its own place where what came before is unknown.
    after: Place


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
    """Asks a Redis that may be away. After a failure nobody asks for `rest_s`: an outage costs a timeout a second, not one per request."""

    def __init__(self, rest_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = rest_s
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
            self._closed_until = self._tripped_at + self._rest_s
            self.trips += 1
            return miss
        except redis.RedisError:  # it is there and refuses this one command: out of memory, a key of another type
            return miss
        self._closed_until = None
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
        self._closed_until = now + self._rest_s
        return False


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
        return None if found is None else [_event(entry) for entry in cast("list[Any]", found)]

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


def called(client: redis.Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """What the script answers to each call, in one round trip."""
    if len(calls) == 1:  # a pipeline would ask first whether the script is known
        return [script(keys=calls[0][0], args=calls[0][1])]
    with client.pipeline(transaction=False) as pipe:
        for keys, arguments in calls:
            script(keys=keys, args=arguments, client=pipe)
        return pipe.execute()


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


class Follower:
    """Hears what is told of many jobs at once. Its client must wait for longer than HEAR_MS."""

    def __init__(self, client: redis.Redis, breaker: Breaker | None = None) -> None:
        self._redis = client
        self._breaker = breaker or Breaker()

    def hear(self, since: Mapping[tuple[str, str], Place]) -> dict[tuple[str, str], list[Event]] | None:
        """What was told of each (tenant, job) after its place, as soon as there is anything. None: Redis is away."""
        names: dict[Any, tuple[str, str]] = {events_key(*about): about for about in since}
        places: dict[Any, Any] = {name: str(since[about]) for name, about in names.items()}
        found = self._breaker.ask(lambda: self._redis.xread(places, block=HEAR_MS), None)
        return None if found is None else {names[name]: [_event(entry) for entry in entries] for name, entries in cast("list[Any]", found)}

    def close(self) -> None:
        """Give the connection up until the next hearing."""
        self._redis.close()


def _event(entry: tuple[str, Mapping[str, str]]) -> Event:
    place, told = entry
    return Event(_place(place), told["event"], told["data"], _place(told["after"]))


def _place(text: str) -> Place:
    rev, _, number = text.partition("-")
    return Place(int(rev), int(number))


def in_parts(of: Sequence[Each]) -> Iterator[Sequence[Each]]:
    """So many as one command may take."""
    return (of[n : n + AT_ONCE] for n in range(0, len(of), AT_ONCE))


def key(tenant: str, job_id: str) -> str:
    return f"fleetcast:{tenant}:job:{job_id}"


def events_key(tenant: str, job_id: str) -> str:
    return f"{key(tenant, job_id)}:events"
