"""Hundreds who watch: event streams and long polls on raw sockets, in one thread of a process of its own.

Reads its plan from the first line of stdin, prints a line when every stream has its snapshot, and tells what it heard when stdin closes.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Longest a long poll asks to wait; then it is sent anew.
WAIT_S = 25
_EPOCH = re.compile(rb'event: metric\ndata: .*?"epoch": (\d+)')
_ETAG = re.compile(rb'\r\nETag: ("[^"]*")', re.IGNORECASE)
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    port: int
    key: str
    #: The job of each stream, and of each long poll.
    streams: Sequence[str]
    polls: Sequence[str]


@dataclass
class Told:
    """What was heard: for each epoch the moments (by the machine's monotonic clock) at which the streams had it."""

    snapshots: int = 0
    polls: int = 0
    epochs: dict[int, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)


class Line:
    """One connection of a client that waits."""

    def __init__(self, plan: Plan, job: str, told: Told) -> None:
        self.plan, self.job, self.told = plan, job, told
        self.socket = socket.create_connection(("127.0.0.1", plan.port))
        self.held = b""

    def ask(self, path: str, more: str = "") -> None:
        head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {self.plan.key}\r\n{more}"
        self.socket.sendall(f"GET /api/v1/jobs/{self.job}{path} HTTP/1.1\r\n{head}\r\n".encode())

    def begin(self) -> None: ...

    def take(self) -> None: ...


class Stream(Line):
    def begin(self) -> None:
        self.ask("/events")

    def take(self) -> None:
        """Whole events only; what is cut in the middle waits for the rest."""
        whole, cut, self.held = self.held.rpartition(b"\n\n")
        text = whole + cut
        if text.startswith(b"HTTP/1.1 "):
            self.told.statuses[text[9:12].decode()] += 1
        self.told.snapshots += text.count(b"event: snapshot\n")
        for epoch in _EPOCH.findall(text):
            self.told.epochs.setdefault(int(epoch), []).append(time.monotonic())


class Poll(Line):
    def begin(self) -> None:
        self.ask(f"?wait={WAIT_S}")

    def take(self) -> None:
        """The next poll as soon as one is answered."""
        head, end, body = self.held.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or (head[9:12] == b"200" and len(body) < int(length[1] if length else 0)):
            return
        self.held = b""
        self.told.polls += 1
        self.told.statuses[head[9:12].decode()] += 1
        etag = _ETAG.search(head)
        self.ask(f"?wait={WAIT_S}", f"If-None-Match: {etag[1].decode()}\r\n" if etag else "")


def watch(plan: Plan) -> Told:
    told = Told()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for kind, jobs in ((Stream, plan.streams), (Poll, plan.polls)):
            for job in jobs:
                line = kind(plan, job, told)
                selector.register(line.socket, selectors.EVENT_READ, line)
                line.begin()
        greeted = False
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return told
                _receive(key.data)
            if not greeted and told.snapshots >= len(plan.streams):
                print("watching", flush=True)
                greeted = True


def _receive(line: Line) -> None:
    some = line.socket.recv(262_144)
    if not some:
        raise ConnectionError(f"The server closed a connection: {line.held[-500:]!r}")
    line.held += some
    line.take()


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[attr-defined]
    told = watch(Plan(**given))
    print(json.dumps({"polls": told.polls, "epochs": told.epochs, "statuses": told.statuses}))


if __name__ == "__main__":
    main()
