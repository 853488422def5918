"""A Redis of the test's own, to be emptied, killed and brought back."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import redis

from db.breaker import make_redis
from ops.valkey import find_program


class OwnServer:
    """Listens on the same port each time it is started."""

    def __init__(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            self.port: int = listening.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [find_program().path, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with make_redis(self.url, timeout_s=1) as client:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def own_server() -> Iterator[OwnServer]:
    server = OwnServer()
    server.start()
    try:
        yield server
    finally:
        server.kill()
