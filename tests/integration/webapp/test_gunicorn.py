"""The real process: gunicorn with gevent, where one request that waits must not keep the others waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

import webapp
from ops.processes import usable_port, wait_until
from tests.support.web import Caller, House, days


@pytest.fixture
def served(house: House, me: Caller, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a gunicorn that serves the test's servers."""
    port = usable_port(0)
    url = house.runtime.engine.url.render_as_string(hide_password=False)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DATABASE_URL": url, "REDIS_URL": house.runtime.settings.redis_url}
    environment["MAX_STREAM_BYTES"] = str(2**20)
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webapp.gunicorn_conf", "-b", f"127.0.0.1:{port}", "webapp.wsgi:app"]
    root = Path(webapp.__file__).parent.parent
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {me.key}"}, timeout=20, trust_env=False
            ) as client:
                assert wait_until(lambda: _ready(client), 20, pause=0.1), (tmp_path / "log").read_text()
                yield client
        finally:
            process.terminate()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def in_thread(work: Any, into: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.append(work()))
    thread.start()
    return thread


def test_names_travel_through_a_real_server(served: httpx.Client) -> None:
    for path, name in (("a%2Fb", "a/b"), ("a/b", "a/b"), ("B%C3%BCro%203", "Büro 3"), ("100%25", "100%"), ("x%3Fy", "x?y")):
        assert served.put(f"/api/v1/entities/{path}", json={}).json()["entity"] == name
    assert served.get("/api/v1/entities/a%2Fb/readiness?recipe=health-daily").json()["entity"] == "a/b"


def test_a_query_that_waits_keeps_nobody_waiting(house: House, me: Caller, served: httpx.Client) -> None:
    """A request hangs on a row that somebody holds; psycopg, imported after gevent's patching, lets the others go on."""
    me.put("/entities/held")
    answers: list[httpx.Response] = []
    with house.runtime.engine.begin() as holder:
        holder.execute(text("SELECT 1 FROM entities WHERE name = 'held' FOR UPDATE"))
        waiting = in_thread(lambda: served.put("/api/v1/entities/held", json={"kind": "user"}), answers)
        time.sleep(0.5)
        begun = time.monotonic()
        assert served.get("/api/v1/entities").status_code == 200
        assert time.monotonic() - begun < 2
        assert answers == []
    waiting.join()
    assert answers[0].status_code == 200


def test_many_wait_at_once(me: Caller, served: httpx.Client) -> None:
    me.post("/entities/u/observations", {"observations": days(60)})
    job = me.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json["id"]
    answers: list[httpx.Response] = []
    begun = time.monotonic()
    waiting = [in_thread(lambda: served.get(f"/api/v1/jobs/{job}?wait=2"), answers) for _ in range(30)]
    for thread in waiting:
        thread.join()
    assert time.monotonic() - begun < 10
    assert [a.status_code for a in answers] == [200] * 30


def test_a_body_that_does_not_say_its_length_is_taken_whole_or_not_at_all(served: httpx.Client) -> None:
    def lines(count: int) -> Iterator[bytes]:
        yield b"at,rhr\n"
        yield from (b"2026-01-01T00:00:00Z,58.0\n" * 1000 for _ in range(count))

    csv = {"Content-Type": "text/csv"}
    whole = served.post("/api/v1/entities/u/observations", content=lines(3), headers=csv)
    assert (whole.status_code, whole.json()["accepted"]) == (200, 3000)
    endless = served.post("/api/v1/entities/v/observations", content=lines(50), headers=csv)
    assert (endless.status_code, endless.json()["code"]) == (413, "body_too_large")
    assert served.get("/api/v1/entities/v").status_code == 404


GET = b"GET /api/v1/entities HTTP/1.1\r\nHost: here\r\n"
POST = b"POST /api/v1/predict HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
#: What no HTTP client sends. gunicorn itself answers most of it, before our app is asked.
NOT_HTTP = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a name only": b"hello\r\n\r\n",
    "a long line": b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n",
    "a NUL in the path": b"GET /api/v1/\x00 HTTP/1.1\r\nHost: here\r\n\r\n",
    "many headers": GET + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n",
    "a long header": GET + b"X: " + b"x" * 9_000 + b"\r\n\r\n",
    "a header without a name": GET + b": 1\r\n\r\n",
    "a NUL in a header": GET + b"X: a\x00b\r\n\r\n",
    "a length that is none": POST + b"Content-Length: ten\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk of no size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: gzip, x\r\n\r\n{}",
    "less than was announced": POST + b"Content-Length: 100\r\n\r\n{}",
    "a chunk cut off": POST + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{}",
    "nothing": b"",
}


#: What gunicorn's own limits are for.
BEYOND = ("a long line", "many headers", "a long header")


def said(port: int, sent: bytes) -> bytes:
    """What the server answers to a client that sends this and hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: line.recv(65_536), b""))
    return b""


def test_what_is_not_http_is_refused_and_hurts_nobody(served: httpx.Client, tmp_path: Path) -> None:
    for name, sent in NOT_HTTP.items():
        answer = said(served.base_url.port or 0, sent)
        assert answer == b"" or answer[9:10] == b"4" or answer[9:12] == b"501", (name, answer[:500])  # 501: RFC 9112, an unknown coding
        assert name not in BEYOND or answer[9:12] != b"401", f"{name} came as far as the door"
        assert b"Traceback" not in answer
        assert served.get("/healthz").status_code == 200, name
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_json_that_does_not_say_its_length_has_the_same_limit(served: httpx.Client) -> None:
    spaces = (b" " * 65_536 for _ in range(300))
    endless = served.post("/api/v1/predict", content=spaces, headers={"Content-Type": "application/json"})
    assert (endless.status_code, endless.json()["code"]) == (413, "body_too_large")
