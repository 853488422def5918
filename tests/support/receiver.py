"""A receiver of webhooks that does as a test wishes: it answers well, badly, slowly, at length, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Letter:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[BaseHTTPRequestHandler, threading.Event], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def hang(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait()


def hang_up(handler: BaseHTTPRequestHandler, _: threading.Event) -> None:
    handler.connection.close()


def drip(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """A byte of a header now and then: each comes well before a timeout of one reading."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.05):
        handler.wfile.write(b".")


def pour(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """A body without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while not over.is_set():
        handler.wfile.write(b"x" * 65_536)


@dataclass
class Receiver:
    """What it was sent, and how it behaves from now on."""

    port: int
    over: threading.Event = field(default_factory=threading.Event)
    letters: list[Letter] = field(default_factory=list)
    behave: Behaviour = field(default_factory=lambda: answer(204))
    #: The most that were in its hands at once.
    most_at_once: int = 0
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/news"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            self._held += 1
            self.most_at_once = max(self.most_at_once, self._held)
            self.letters.append(Letter(handler.path, {name.lower(): value for name, value in handler.headers.items()}, body))
        try:
            self.behave(handler, self.over)
        except OSError:
            pass  # the sender hung up first
        finally:
            with self._lock:
                self._held -= 1


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that listens on a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.close_connection = True
            made.serve(self)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
