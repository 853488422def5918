"""Server-sent events of a job: all that happens to it, in order, from where the client left off until the end."""

from __future__ import annotations

import json
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from flask import Response, request

from db.board import Board
from db.errors import NotFound
from db.events import Event, Place
from tasks import documents, status
from tasks.runtime import Runtime
from webapp.auth import still_admitted
from webapp.context import runtime, tenant_id, wsgi
from webapp.contract import Blueprint
from webapp.feeds import Document, Watcher
from webapp.hub import Hub, hub
from webapp.schemas.events import EventItem, EventMetric, EventProgress, EventReset, EventState, EventWarning
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import LAST_EVENT_ID, always

blp = Blueprint("events", __name__, description="What happens to a job, as it happens")

MEDIA_TYPE = "text/event-stream"
#: Neither caches nor proxies hold back what is told now.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = ":\n\n"
#: The id of a `reset`. No event stands there, so who is cut off after it and comes back is reset again.
NOWHERE = Place(0, 0)
#: A client that takes nothing for so long is gone, and its place is free; the kernel alone would wait for a quarter of an hour.
GONE_MS = 60_000
#: Every event there is, and what its data holds.
EVENTS = {
    "snapshot": Job,
    "state": EventState,
    "progress": EventProgress,
    "metric": EventMetric,
    "item": EventItem,
    "warning": EventWarning,
    "end": Job,
    "reset": EventReset,
}
_STREAM = {
    "type": "string",
    "description": "Blocks of lines `id: …`, `event: …` and `data: …`, parted by empty lines (the event stream format of HTML).",
}


@blp.route("/jobs/<job_id>/events")
@blp.reads(LAST_EVENT_ID)
@blp.tells(EVENTS)
@blp.response(200, _STREAM, content_type=MEDIA_TYPE, headers=always("Cache-Control"))
@blp.alt_response(204, headers=always("Cache-Control"), description="The client has seen the end: it need not come back.", success=True)
@blp.refuses("job_not_found", "too_many_streams", "streams_saturated")
def watch_job(job_id: str) -> Response:
    """Watch a job as server-sent events

    Each has an `id`, an `event` and one JSON object as `data`, on one line. `x-events` names the schema of each event's data:

    | event | when | data |
    |---|---|---|
    | `snapshot` | first, and after `reset` | `Job`, as GET /jobs/{job_id} shows it |
    | `state` | another state, or another try | `EventState` |
    | `progress` | further in the same state | `EventProgress` |
    | `metric` | an epoch of a training ended | `EventMetric` |
    | `item` | an item of a batch ended | `EventItem` |
    | `warning` | just before the end | `EventWarning` |
    | `end` | last; then the server closes | `Job` |
    | `reset` | what came after `Last-Event-ID` is not known any more | `EventReset`; forget what was heard: a `snapshot` follows |

    Come back with the last `id` as `Last-Event-ID` to go on after that event, without a new `snapshot`; after `end` the answer is 204. A
    comment (`:`) is sent every 15 s. After an hour, or when the service restarts, the server closes before the end: come back.
    """
    found = status.read(runtime(), tenant_id(), job_id)
    last = request.headers.get("Last-Event-ID") or None
    if found["terminal"] and last is not None and (Place.read(last) or NOWHERE) >= documents.place(found):
        return Response(status=204, headers=HEADERS)
    seats, tenant = hub().seats, tenant_id()
    seats.take(tenant)
    there, admitted = _line(wsgi("gunicorn.socket")), still_admitted()
    told = _stream(runtime(), hub(), tenant, found, last, lambda: there() and admitted())
    response = Response(told, content_type=MEDIA_TYPE, headers=HEADERS)
    response.call_on_close(lambda: seats.leave(tenant))
    return response


def _line(connection: socket.socket | None) -> Callable[[], bool]:
    """Whether the client is still there. One that closed its end is seen at once, one that vanished when the kernel gives it up."""
    if connection is None or isinstance(connection, ssl.SSLSocket):
        return lambda: True
    if connection.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
    return lambda: _stands(connection)


def _stands(connection: socket.socket) -> bool:
    """A client says nothing while it listens: if there is anything to read, it is most likely its good-bye."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return not readable or connection.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


def _stream(runtime: Runtime, hub: Hub, tenant: str, found: Document, last: str | None, there: Callable[[], bool]) -> Iterator[str]:
    """What the client is sent, until the end, or until it is time to come back. No request and no connection is held meanwhile.

    `there` is asked at every turn: whether the client still listens, and with a key that still holds.
    """
    heartbeat = runtime.settings.stream_heartbeat_s
    beat, until = time.monotonic() + heartbeat, time.monotonic() + runtime.settings.stream_lifetime_s
    with hub.watch(tenant, found["id"], found, polls=False) as watcher:
        course = Course(runtime.board, hub, tenant, found["id"])
        yield "".join(course.begin(found, last))
        while not course.over and not hub.leaving and there() and time.monotonic() < until:
            watcher.wait(min(beat, until) - time.monotonic())
            text = "".join(course.go_on(watcher))
            if time.monotonic() >= beat:
                beat += heartbeat
                text += HEARTBEAT
            if text:
                yield text


class Course:
    """Where a client stands in the order of a job's events, and what it is owed.

    What was told comes from Redis. The document is the truth: one that is newer than all that was told was never told, as happens while
    Redis is away, and then the client is told from the document.
    """

    def __init__(self, board: Board, hub: Hub, tenant: str, job_id: str) -> None:
        self._board, self._hub, self._about = board, hub, (tenant, job_id)
        self._at = NOWHERE
        #: A document that was newer than all that was told. It is believed at the second look: what was told may be on its way.
        self._missed = NOWHERE
        #: What waits for a document to be looked up.
        self._owed: Literal["", "reset", "end"] = ""
        #: Whether the next event has to name the last one as its predecessor. After a snapshot any may be the next.
        self._strict = False
        #: The client was told from a document alone, so there may be events before its place that it has not seen.
        self._blind = False
        self.over = False

    def begin(self, found: Document, last: str | None) -> Iterator[str]:
        """Go on after the client's last event if that is still known, else begin with how the job stands."""
        seen = None if last is None else Place.read(last)
        told = self._told(seen) if seen is not None else []
        if seen is not None and told and told[0].place == seen:
            self._at, self._strict = seen, True
            yield from self._hear(told)
        else:
            yield from self._restart(found, reset=last is not None)
        yield from self._look(found)

    def go_on(self, watcher: Watcher) -> Iterator[str]:
        """What the client is sent after the watcher was woken."""
        while watcher.events:
            yield from self._hear([watcher.events.popleft()])
        found, watcher.document = watcher.document, None
        if found is not None:
            yield from self._look(found)
        # It was purged. Who comes back is told so.
        self.over = self.over or isinstance(watcher.trouble, NotFound)

    def _told(self, since: Place) -> list[Event]:
        return self._board.events(*self._about, since) or []

    def _hear(self, events: Iterable[Event]) -> Iterator[str]:
        for told in events:
            if self._owed or told.place <= self._at:
                continue
            if self._blind or (self._strict and told.after > self._at):
                self._owe("reset")
            elif told.event == "end":
                self._owe("end")
            else:
                self._at, self._strict = told.place, True
                yield _write(told.place, told.event, told.data)

    def _owe(self, what: Literal["reset", "end"]) -> None:
        self._owed = what
        self._hub.ask(*self._about)

    def _look(self, found: Document) -> Iterator[str]:
        """A document was looked up: pay what is owed, and tell what was never told."""
        if self._owed == "reset":
            yield from self._restart(found, reset=True)
        if not self._owed and documents.place(found) > self._at:
            yield from self._hear(self._told(self._at))
        if documents.place(found) <= self._at or self.over:
            return
        if self._owed == "end" and found["terminal"]:
            yield self._end(found)
        elif not self._owed and (self._hub.deaf or self._missed > self._at):
            yield from self._tell(found)
        else:
            self._missed = documents.place(found)

    def _restart(self, found: Document, *, reset: bool) -> Iterator[str]:
        if reset:
            yield _write(
                NOWHERE, "reset", _json({"detail": "What happened meanwhile is not known any more; how the job stands now follows."})
            )
        self._at, self._owed, self._strict, self._blind = documents.place(found), "", False, False
        if found["terminal"]:
            # The place before: who is cut off here and comes back has not seen the end.
            yield _write(self._at.before(), "snapshot", _json(found))
            yield self._end(found)
        else:
            yield _write(self._at, "snapshot", _json(found))
            yield from self._hear(self._told(self._at))

    def _end(self, found: Document) -> str:
        self._at, self.over = documents.place(found), True
        return _write(self._at, "end", _json(found))

    def _tell(self, found: Document) -> Iterator[str]:
        """From the document alone."""
        place = documents.place(found)
        if found["terminal"]:
            for number, warning in enumerate(found["warnings"]):
                yield _write(place.before(len(found["warnings"]) - number), "warning", _json(warning))
            yield self._end(found)
        else:
            event = "state" if place.rev > self._at.rev else "progress"
            self._at, self._blind = place, True
            yield _write(place, event, _json(documents.brief(found)))


def _json(value: Any) -> str:
    return json.dumps(value)


def _write(place: Place, event: str, data: str) -> str:
    return f"id: {place}\nevent: {event}\ndata: {data}\n\n"
