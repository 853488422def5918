"""A TCP proxy that cuts connections where a test wants them cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: Looks at what a client sends. Once it says yes, the client hears nothing more: the bytes go on to the server, and the connection breaks
#: when its answer is there, so that what was asked has happened.
Sees = Callable[[bytes], bool]


class Proxy:
    """Passes bytes between clients and one server, until told to cut."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cut_answer_to: Sees | None = None
        #: What never reaches the server.
        self.drop: Sees | None = None
        #: How many answers were cut off.
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                cut = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, cut), daemon=True).start()
                threading.Thread(target=_pump, args=(server, client, cut), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while said := client.recv(65_536):
                if self.drop is not None and self.drop(said):
                    self.cuts += 1
                    break
                if self.cut_answer_to is not None and self.cut_answer_to(said):
                    self.cuts += 1
                    cut.set()
                server.sendall(said)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
            client.shutdown(socket.SHUT_RDWR)


def _pump(server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
    with suppress(OSError), server, client:
        while (said := server.recv(65_536)) and not cut.is_set():
            client.sendall(said)
        client.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    made = Proxy(host, port)
    try:
        yield made
    finally:
        made.close()
