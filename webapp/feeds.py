"""Feeds: the jobs that somebody in this process waits for, who waits, and what each of them was given meanwhile."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from db.errors import NotFound
from db.events import EVENTS_KEPT, Event, Place

Document = Mapping[str, Any]
#: Why a look found nothing.
Trouble = NotFound | SQLAlchemyError

NEVER = math.inf


class Watcher:
    """One who waits for a job: what came since it last looked up."""

    def __init__(self) -> None:
        #: Those that a reader is too slow for are lost from the front; the next one then names a predecessor that it has not seen.
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        #: The newest that was looked up.
        self.document: Document | None = None
        #: Why the last look found nothing.
        self.trouble: Trouble | None = None
        self._bell = threading.Event()

    def wait(self, seconds: float) -> None:
        """Until something came, or the time is over."""
        self._bell.wait(max(0.0, seconds))
        self._bell.clear()

    def ring(self) -> None:
        self._bell.set()


@dataclass(eq=False)
class Feed:
    """One job that somebody in this process waits for. The hub calls its methods under its lock."""

    about: tuple[str, str]
    #: What was told up to here is known.
    heard: Place
    watchers: list[Watcher] = field(default_factory=list)
    #: How many of them want documents as soon as there is a new one.
    pollers: int = 0
    pause: float = NEVER
    look_at: float = NEVER
    trouble: Trouble | None = None

    def tell(self, events: Sequence[Event]) -> None:
        """What was heard, the oldest first, at least one."""
        self.heard = events[-1].place
        for watcher in self.watchers:
            watcher.events.extend(events)
        self.ring()

    def give(self, found: Document | None, trouble: Trouble | None) -> None:
        """What a look at it found, or why it found nothing."""
        self.trouble = trouble
        for watcher in self.watchers:
            watcher.document = found or watcher.document
            watcher.trouble = trouble
        self.ring()

    def ring(self) -> None:
        """Wake all who wait, whether there is anything new or not."""
        for watcher in self.watchers:
            watcher.ring()
