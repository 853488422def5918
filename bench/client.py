"""A load client: one thread, raw sockets kept alive, one request under way on each. Run as a process of its own; reads its plan from stdin.

It does as little per request as Python allows, so that the server is what is measured; `respond` is what it is itself measured against.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Longest that nothing may come back before the run is given up.
SILENCE_S = 30.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Plan:
    """What to send where. `%(n)d` in the path or the body becomes a number that no request before had."""

    port: int
    method: str
    path: str
    headers: dict[str, str]
    body: str
    concurrency: int
    seconds: float
    #: Seconds at the beginning that are not counted.
    warm_up: float
    first: int


@dataclass
class Tally:
    """What came back after the warm-up."""

    taken: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    #: The first refusal, for the eye.
    odd: str = ""

    def count(self, seconds: float, answer: bytes) -> None:
        self.taken.append(seconds)
        status = answer[9:12].decode()
        self.statuses[status] += 1
        if status[0] in "45" and not self.odd:
            self.odd = answer[-1000:].decode(errors="replace")

    def told(self, seconds: float) -> dict[str, Any]:
        taken = sorted(self.taken)
        at = {name: taken[min(len(taken) - 1, int(len(taken) * share))] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
        return at | {"rate": len(taken) / seconds, "answers": len(taken), "statuses": self.statuses, "odd": self.odd}


class Line:
    """One connection and the request under way on it."""

    def __init__(self, plan: Plan) -> None:
        self.socket = socket.create_connection(("127.0.0.1", plan.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begun = 0.0
        self.held = b""

    def send(self, request: bytes) -> None:
        self.begun = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, or None while some of it is missing."""
        some = self.socket.recv(65_536)
        if not some:
            raise ConnectionError("The server closed a connection that was to be kept alive.")
        self.held += some
        head = self.held.find(b"\r\n\r\n")
        if head < 0 or len(self.held) < head + 4 + _length(self.held[:head]):
            return None
        whole, self.held = self.held, b""
        return whole


def _length(head: bytes) -> int:
    """Bytes of the body. A 304 has none, whatever its headers say."""
    if head[9:12] in (b"204", b"304"):
        return 0
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError("An answer without Content-Length.")
    return int(head[at + 17 :].split(b"\r\n", 1)[0])


def drive(plan: Plan) -> dict[str, Any]:
    """Send for the planned time, each connection its next request when the answer to the one before has come."""
    write, tally, numbers = _writer(plan), Tally(), itertools.count(plan.first)
    lines = [Line(plan) for _ in range(plan.concurrency)]
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
            line.send(write(next(numbers)))
        now = time.perf_counter()
        counted_from, until = now + plan.warm_up, now + plan.warm_up + plan.seconds
        while now < until:
            for line, answer in _answers(selector):
                now = time.perf_counter()
                if now > counted_from:
                    tally.count(now - line.begun, answer)
                line.send(write(next(numbers)))
    for line in lines:
        line.socket.close()
    return tally.told(now - counted_from) | {"sent": next(numbers) - plan.first}


def _answers(selector: selectors.BaseSelector) -> Iterator[tuple[Line, bytes]]:
    """Those that have come since the last look."""
    ready = selector.select(SILENCE_S)
    if not ready:
        raise TimeoutError(f"No answer for {SILENCE_S:g} s.")
    for key, _ in ready:
        answer = key.data.receive()
        if answer is not None:
            yield key.data, answer


def _writer(plan: Plan) -> Callable[[int], bytes]:
    """A function from a number to the bytes of its request."""
    head = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "127.0.0.1"} | plan.headers).items())
    numbered = "%(n)" in plan.path + plan.body

    def write(n: int) -> bytes:
        path, body = (plan.path % {"n": n}, plan.body % {"n": n}) if numbered else (plan.path, plan.body)
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if plan.method == "POST" else ""
        return f"{plan.method} {path} HTTP/1.1\r\n{head}{length}\r\n{body}".encode()

    if numbered:
        return write
    once = write(0)
    return lambda _: once


def respond(port: int) -> None:
    """Answer every request with the same few bytes, until killed: what any server costs at least."""
    with selectors.DefaultSelector() as selector, socket.create_server(("127.0.0.1", port), backlog=256) as door:
        selector.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is door:
                    guest, _ = door.accept()
                    guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(guest, selectors.EVENT_READ, guest)
                elif not _answered(key.data):
                    selector.unregister(key.data)
                    key.data.close()


def _answered(guest: socket.socket) -> bool:
    try:
        if guest.recv(65_536):
            guest.sendall(ANSWER)
            return True
    except ConnectionError:
        pass  # it left in the middle of a request, as the client does when its time is over
    return False


if __name__ == "__main__":
    if sys.argv[1:]:
        respond(int(sys.argv[1]))
    else:
        print(json.dumps(drive(Plan(**json.load(sys.stdin)))))
