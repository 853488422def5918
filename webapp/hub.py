"""The hub: two threads of a web process find out what happens to the jobs that its requests wait for, and wake them. Nobody else looks.

The listener hears what is told of all watched jobs, in one Redis read. The looker reads the document of one for which somebody waits: when
something was told of it, and some times at first, for a forecast takes less time than it takes to join a hearing. Every two seconds it asks
where all of them stand, in one read, for what was told and never heard. So hundreds who wait need no more than one connection to Postgres
between them, and hold none while nothing is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import cast

import structlog
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from db.breaker import make_redis
from db.errors import NotFound
from db.events import HEAR_MS, Event, Follower, Place
from tasks import documents, status
from tasks.runtime import Runtime
from webapp.feeds import NEVER, Document, Feed, Trouble, Watcher
from webapp.seats import Seats

log = structlog.get_logger()

EXTENSION = "fleetcast.hub"
#: Pause before the first look at a job that nobody waited for yet. Each is by GROWTH longer than the one before; after LAST_S it is heard.
FIRST_S, GROWTH, LAST_S = 0.03, 2.0, 0.2
#: How often it is asked where all of them stand.
SWEEP_S = 2.0
#: Pause after a hearing: with hundreds of jobs in it, each costs a millisecond, and what is told meanwhile is heard together.
GATHER_S = 0.03
#: Pause after a hearing that Redis did not answer.
REST_S = 0.5
#: How soon the threads notice that this process is told to stop.
NOTICE_S = 0.25
#: How long the threads stay when nobody waits any more.
LINGER_S = 5.0
#: Redis is given so long beyond what a hearing takes.
MARGIN_S = 1.0


class Hub:
    """Opened with the app; its threads begin with the first who waits, and end a while after the last."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._somebody = threading.Condition(self._lock)
        self._poke = threading.Event()
        self._sweep_at = 0.0
        self._told_to_leave: Callable[[], bool] = lambda: False
        #: Redis did not answer the last hearing: what is told meanwhile is not heard.
        self.deaf = False
        settings = runtime.settings
        self.seats = Seats(settings.max_streams, settings.tenant_max_streams)
        #: Of requests that wait for a job.
        self.waits = Seats(settings.max_waits, settings.tenant_max_waits)

    def leave_when(self, told: Callable[[], bool]) -> None:
        """Ask this to know whether the process is told to stop: nobody is kept waiting then."""
        self._told_to_leave = told

    @property
    def leaving(self) -> bool:
        return self._told_to_leave()

    @property
    def watched(self) -> int:
        """How many jobs somebody waits for."""
        return len(self._feeds)

    @contextmanager
    def watch(self, tenant_id: str, job_id: str, found: Document, *, polls: bool) -> Iterator[Watcher]:
        """Wait for what comes after this document. Who `polls` is given each new one at once, others when they ask for it."""
        watcher = Watcher()
        feed = self._join(watcher, (tenant_id, job_id), documents.place(found), polls)
        try:
            yield watcher
        finally:
            self._part(watcher, feed, polls)

    def ask(self, tenant_id: str, job_id: str) -> None:
        """Look at this job now."""
        with self._lock:
            feed = self._feeds.get((tenant_id, job_id))
            if feed is not None:
                feed.look_at = 0.0
        self._poke.set()

    def _join(self, watcher: Watcher, about: tuple[str, str], seen: Place, polls: bool) -> Feed:
        with self._lock:
            feed = self._feeds.setdefault(about, Feed(about, seen))
            feed.watchers.append(watcher)
            feed.pollers += polls
            if polls and seen < feed.heard:
                feed.look_at = 0.0  # others have heard already of what came after this document
            if polls and len(feed.watchers) == 1:
                feed.pause = FIRST_S
                feed.look_at = min(feed.look_at, time.monotonic() + FIRST_S)
            for work in (self._listen, self._look):
                if work.__name__ not in self._threads:
                    self._start(work)
            self._somebody.notify_all()
        self._poke.set()
        return feed

    def _part(self, watcher: Watcher, feed: Feed, polls: bool) -> None:
        with self._lock:
            feed.watchers.remove(watcher)
            feed.pollers -= polls
            if not feed.watchers:
                del self._feeds[feed.about]

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:  # also after a mistake of ours: the next who waits starts another
                with self._lock:
                    if self._threads.get(work.__name__) is thread:
                        del self._threads[work.__name__]

        thread = self._threads[work.__name__] = threading.Thread(target=run, name=f"hub{work.__name__}", daemon=True)
        thread.start()

    def _wanted(self, work: Callable[[], None]) -> bool:
        """Whether anybody waits, now or within a while; otherwise this thread is to end."""
        with self._lock:
            if not self._feeds:
                self._somebody.wait(LINGER_S)
            if not self._feeds:
                del self._threads[work.__name__]
            return bool(self._feeds)

    def _listen(self) -> None:
        with closing(Follower(make_redis(self._runtime.settings.cache, HEAR_MS / 1000 + MARGIN_S))) as follower:
            while self._wanted(self._listen):
                with self._lock:
                    since = {feed.about: feed.heard for feed in self._feeds.values()}
                heard = follower.hear(since) if since else {}
                self.deaf = heard is None
                for about, events in (heard or {}).items():
                    self._tell(about, events)
                time.sleep(REST_S if heard is None else GATHER_S)

    def _tell(self, about: tuple[str, str], events: Sequence[Event]) -> None:
        with self._lock:
            feed = self._feeds.get(about)
            if feed is None:
                return
            feed.tell(events)
            if feed.pollers:
                feed.look_at = 0.0
                self._poke.set()

    def _look(self) -> None:
        while self._wanted(self._look):
            if time.monotonic() >= self._sweep_at:
                self._sweep()
                self._ring_all()  # a stream whose client has gone sees it when it is woken
            feed, rest = self._next()
            if feed is not None:
                self._look_up(feed)
            if self.leaving:
                self._ring_all()
            self._poke.wait(rest)
            self._poke.clear()

    def _next(self) -> tuple[Feed | None, float]:
        """The job that is to be looked at first, if it is time, and for how long nothing else is to be done.

        One at a time: while Redis is away each look asks Postgres, and whoever waits for a forecast must not wait for hundreds of them.
        """
        now = time.monotonic()
        with self._lock:
            feed = min(self._feeds.values(), key=lambda feed: feed.look_at, default=None)
            if feed is None or feed.look_at > now:
                return None, NOTICE_S if feed is None else min(NOTICE_S, feed.look_at - now)
            feed.pause = feed.pause * GROWTH if feed.pause < LAST_S else NEVER
            feed.look_at = now + feed.pause
        return feed, 0.0

    def _sweep(self) -> None:
        """Find those that moved on without being heard of, or are no more. While Redis is away Postgres is asked, once for all of them."""
        self._sweep_at = time.monotonic() + SWEEP_S
        with self._lock:
            feeds = list(self._feeds.values())
        watched = [feed.about for feed in feeds]
        try:
            found = status.places(self._runtime, watched)
        except SQLAlchemyError as error:
            for feed, mirrored in zip(feeds, self._runtime.board.places(watched), strict=True):
                if mirrored is None:
                    self._give(feed, None, error)
            return
        with self._lock:
            for feed in feeds:
                if feed.about not in found or found[feed.about] > feed.heard or feed.trouble is not None:
                    feed.look_at = 0.0

    def _look_up(self, feed: Feed) -> None:
        found: Document | None = None
        trouble: Trouble | None = None
        try:
            found = status.read(self._runtime, *feed.about)
        except (NotFound, SQLAlchemyError) as error:
            trouble = error
        self._give(feed, found, trouble)

    def _give(self, feed: Feed, found: Document | None, trouble: Trouble | None) -> None:
        if trouble is not None and feed.trouble is None:
            log.warning("job_not_looked_up", tenant=feed.about[0], job=feed.about[1], error=type(trouble).__name__)
        with self._lock:
            feed.give(found, trouble)

    def _ring_all(self) -> None:
        with self._lock:
            for feed in self._feeds.values():
                feed.ring()


def hub() -> Hub:
    """That of this request's app."""
    return cast(Hub, current_app.extensions[EXTENSION])
