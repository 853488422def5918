"""What happens to a job as it happens: server-sent events, resumed where a connection broke."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import httpx

from fleetcast_client.answers.jobs import EventItem, EventMetric, EventProgress, EventReset, EventState, EventWarning, JobStatus
from fleetcast_client.errors import ConnectionFailed
from fleetcast_client.http import Ask, Http, below
from fleetcast_client.reading import Answer

EVENTS: Mapping[str, type[Answer]] = {
    "snapshot": JobStatus,
    "state": EventState,
    "progress": EventProgress,
    "metric": EventMetric,
    "item": EventItem,
    "warning": EventWarning,
    "end": JobStatus,
    "reset": EventReset,
}
#: A stream says something at least every 15 s; one that is silent for so long is dead.
SILENCE_S = 60.0
#: Pause before a broken stream is opened again, by chance between these, so that not all come back together.
BACK_S = (1.0, 3.0)


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    #: The stream can be resumed after it.
    id: str
    #: snapshot, state, progress, metric, item, warning, end or reset; a newer service may tell of more.
    type: str
    #: What it holds, by its type: JobStatus, EventState, EventProgress, EventMetric, EventItem, EventWarning or EventReset.
    data: Answer


class Deadline:
    """How much of the time given is left; None is all the time in the world."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; infinite where none were given."""
        return float("inf") if self._at is None else max(self._at - time.monotonic(), 0.0)


ENDLESS = Deadline(None)


def follow(
    http: Http, job_id: str, after: str | None = None, *, insist: bool = True, deadline: Deadline = ENDLESS
) -> Iterator[Event | None]:
    """A job's events until its end, or all after the one with the id `after`; None is a sign of life.

    A connection that breaks is made again, and goes on after the last event, unless the deadline is over. Raises ConnectionFailed when
    nothing is heard at all any more, and Problem when the service refuses: at once where the caller does not `insist`.
    """
    fruitless = 0
    while fruitless <= http.retries and (left := deadline.left()) > 0:
        fruitless += 1
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
        ask = Ask(method="GET", path=below("jobs", job_id, "events"), headers=headers, silence=min(SILENCE_S, left))
        with http.stream(ask, insist=insist) as response:
            if response.status_code == 204:  # the end has been seen
                return
            for event in _until_it_breaks(response):
                fruitless = 0
                after = event.id if event is not None else after
                yield event
                if event is not None and event.type == "end":
                    return
        time.sleep(min(random.uniform(*BACK_S), deadline.left()))
    if deadline.left() == 0:
        return
    raise ConnectionFailed(f"The events of {job_id} cannot be read: the stream was opened and broke {fruitless} times.")


def _until_it_breaks(response: httpx.Response) -> Iterator[Event | None]:
    try:
        yield from heard(response.iter_bytes())
    except httpx.TransportError:
        return


def heard(chunks: Iterable[bytes]) -> Iterator[Event | None]:
    """The events in what a server sends (the event stream format of HTML); None for a comment. What is not whole at the end is left out."""
    told: dict[str, str] = {}
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        if name:
            told[name] = value.removeprefix(" ") if name not in told else f"{told[name]}\n{value.removeprefix(' ')}"
        elif line:
            yield None
        elif told:
            if "data" in told:
                yield _event(told)
            told = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r").decode()


def _event(told: Mapping[str, str]) -> Event:
    kind, data = told.get("event", "message"), json.loads(told["data"])
    return Event(told.get("id", ""), kind, EVENTS.get(kind, Answer).read(data))
