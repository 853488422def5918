"""The clients' book: every 202 and every read of a job, as they were told, and what in them contradicts itself."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

Body = dict[str, Any]


@dataclass
class Seen:
    """What one client was told of one job."""

    kind: str
    entity: str
    accepted_at: float
    #: Whether somebody asked for its end.
    cancelled: bool = False
    place: tuple[int, int] = (-1, -1)
    #: The last document that said the job had ended.
    end: Body | None = None
    reads: int = 0


@dataclass
class Book:
    """Written by all clients. What was accepted is on disk before the client goes on."""

    file: TextIO
    jobs: dict[str, Seen] = field(default_factory=dict)
    #: What must never be seen, in words.
    contradictions: list[str] = field(default_factory=list)
    #: Of each submission: when it was begun, and the seconds until its 202.
    submits: list[tuple[float, float]] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accepted(self, found: Body, kind: str, entity: str, began: float, took_s: float) -> None:
        with self._lock:
            self._write({"accepted": found["id"], "kind": kind, "entity": entity, "took_s": round(took_s, 4)})
            self.submits.append((began, took_s))
            self.jobs.setdefault(found["id"], Seen(kind, entity, time.time()))

    def refused(self, what: str) -> None:
        with self._lock:
            self.refusals[what] += 1

    def read(self, found: Body) -> bool:
        """Note what was read; whether the job has ended."""
        with self._lock:
            seen = self.jobs[found["id"]]
            seen.reads += 1
            place = (found["rev"], found["seq"])
            self._write({"read": found["id"], "rev": place[0], "seq": place[1], "state": found["state"]})
            if place < seen.place:
                self.contradictions.append(f"{found['id']} went back from {seen.place} to {place}")
            if seen.end is not None and found["state"] != seen.end["state"]:
                self.contradictions.append(f"{found['id']} ended {seen.end['state']} and then was {found['state']}")
            if seen.end is not None and found["terminal"] and found["result"] != seen.end["result"]:
                self.contradictions.append(f"{found['id']} had two results")
            seen.place = max(place, seen.place)
            if found["terminal"]:
                seen.end = {name: found[name] for name in ("state", "result", "error")}
            return bool(found["terminal"])

    def _write(self, line: Body) -> None:
        self.file.write(json.dumps({"at": round(time.time(), 3), **line}) + "\n")
        self.file.flush()


@contextmanager
def opened(path: Path) -> Iterator[Book]:
    with path.open("a") as file:
        yield Book(file)
