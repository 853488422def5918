"""Bodies that flow into a real web process: of any length, and it stays as small as it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import zstandard

from ops.processes import wait_until
from tests.support.served import Served, served
from tests.support.web import API, Caller, House
from webapp.inflow import PIECE

MEGA = 2**20
#: A kilobyte for one value: spaces around a number are no part of it.
ROW = "2026-01-01T{:02}:{:02}:{:02}Z,58" + 1000 * " " + "\n"


@pytest.fixture
def place(house: House, tmp_path: Path) -> Iterator[Served]:
    with served(house, tmp_path / "log") as found:
        yield found


def rows(megabytes: int) -> Iterator[bytes]:
    yield b"at,rhr\n"
    for number in range(megabytes):
        yield "".join(ROW.format(number % 24, part // 60, part % 60) for part in range(1024)).encode()


def packed(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor().compressobj()
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def most_held(place: Served) -> int:
    """Bytes of memory that the worker process ever held."""
    [worker] = Path(f"/proc/{place.process.pid}/task/{place.process.pid}/children").read_text().split()
    told = Path(f"/proc/{worker}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("megabytes", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_a_body_of_any_length_takes_no_memory(me: Caller, place: Served, megabytes: int) -> None:
    headers = {"Authorization": f"Bearer {me.key}", "Content-Type": "text/csv"}
    with httpx.Client(base_url=place.url, headers=headers, timeout=300, trust_env=False) as client:
        assert client.post(f"{API}/entities/u/observations", content=rows(1)).json()["accepted"] == 1024
        before = most_held(place)
        plain = client.post(f"{API}/entities/u/observations", content=rows(megabytes))
        small = client.post(f"{API}/entities/u/observations", content=packed(rows(megabytes)), headers={"Content-Encoding": "zstd"})
    assert plain.json()["accepted"] == small.json()["accepted"] == megabytes * 1024
    assert most_held(place) - before < 8 * MEGA


HEAD = "POST {}/entities/u/observations HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n"
LINES = b"at,rhr\n" + b"2026-01-01,1\n" * 1000


@pytest.mark.parametrize(
    "sent",
    [f"Content-Length: {PIECE * 4}\r\n\r\n".encode() + LINES, b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + LINES],
    ids=["length", "chunks"],
)
def test_a_connection_that_breaks_changes_nothing_and_gives_its_place_back(me: Caller, place: Served, sent: bytes) -> None:
    """Whole lines came, and yet not all: what the server takes for the end is none."""
    for _ in range(6):  # more than there are places
        with socket.create_connection(("127.0.0.1", place.port)) as line:
            line.sendall(HEAD.format(API, me.key).encode() + sent)
    with httpx.Client(base_url=place.url, headers={"Authorization": f"Bearer {me.key}"}, timeout=30, trust_env=False) as client:
        assert client.get(f"{API}/entities/u").status_code == 404

        def send() -> httpx.Response:
            return client.post(f"{API}/entities/u/observations", content=b"at,rhr\n2026-01-01,1\n", headers={"Content-Type": "text/csv"})

        assert wait_until(lambda: send().status_code == 200, 20, pause=0.2), send().text
        assert client.get(f"{API}/entities/u").json()["data_rev"] == 1
