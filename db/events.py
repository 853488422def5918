"""What is told of a job to those who watch it: events, each at a place that follows from the ledger, and who hears them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import redis

from db.breaker import Breaker
from db.models import Json

#: Events of a job that are kept: a training of a thousand epochs is among them whole.
EVENTS_KEPT = 2000
#: Places that each step of a document has in the order of its job's events. The last is the document's own; what is told with it stands
#: before. So many that what comes late, and takes the next free place, does not run into the steps that follow.
PLACES = 1024
#: How long one hearing waits for something to be told, which is also how long a job newly followed may wait for its first.
HEAR_MS = 200

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


class Event(NamedTuple):
    """An event as it was told."""

    place: Place
    event: str
    data: str
    #: The one before it. Its own place where what came before is unknown.
    after: Place


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
        if found is None:
            return None
        return {names[name]: [event_of(entry) for entry in entries] for name, entries in cast("list[Any]", found)}

    def close(self) -> None:
        """Give the connection up until the next hearing."""
        self._redis.close()


def event_of(entry: tuple[str, Mapping[str, str]]) -> Event:
    place, told = entry
    return Event(_place(place), told["event"], told["data"], _place(told["after"]))


def _place(text: str) -> Place:
    rev, _, number = text.partition("-")
    return Place(int(rev), int(number))


def key(tenant: str, job_id: str) -> str:
    return f"fleetcast:{tenant}:job:{job_id}"


def events_key(tenant: str, job_id: str) -> str:
    return f"{key(tenant, job_id)}:events"
