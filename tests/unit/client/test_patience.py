"""A wait ends when it was to end, whatever the service says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleetcast_client import Client, WaitTimedOut

JOB = {"id": "job_1", "kind": "train", "state": "running", "terminal": False, "rev": 2, "seq": 0, "progress": {}}
OVER = threading.Event()


class Mute(BaseHTTPRequestHandler):
    """A service that opens its streams and says nothing in them."""

    def do_GET(self) -> None:
        silent = self.path.endswith("/events")
        body = b"" if silent else json.dumps(JOB).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if silent else "application/json")
        self.end_headers()
        self.wfile.write(body)
        if silent:
            self.wfile.flush()
            OVER.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    OVER.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mute) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        OVER.set()
        server.shutdown()
        serving.join()


def test_a_stream_that_falls_silent_does_not_outlast_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetcast_client.jobs.STRETCH_S", 0.2)
    began = time.monotonic()
    with Client(url, "fk_a_b") as client, pytest.raises(WaitTimedOut, match="running after 1 s"):
        client.jobs.get("job_1").wait(timeout=1)
    assert time.monotonic() - began < 15, "not the minute after which a stream counts as dead"
