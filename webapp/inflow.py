"""The body as it flows in: unpacked within bounds, cut into lines, never held whole. For what may be a gigabyte."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any

import zstandard
from flask import Flask, current_app, request

from webapp.context import runtime, wsgi
from webapp.problems import Refusal

EXTENSION = "fleetcast.inflow"
#: Bytes that are read, or unpacked, at a time.
PIECE = 65_536
#: Characters of a line. The widest row that can be taken, a thousand channels of the longest names, has a third of it.
LONGEST_LINE = 2**20
#: Lines after which other requests of this process get a turn.
TURN = 500
#: A client that sends nothing for so long has gone, and the transaction that waits for it ends.
SILENCE_S = 30.0
#: Memory that a zstd frame may ask for. The command line's `--ultra` and `--long` ask for more.
WINDOW = 8 * 2**20
#: Bytes of a zstd body that are unpacked at a time: to 4 MiB at worst.
FED = 128

#: What a reader of a packed body says of one that is torn or none.
_TORN = (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError)


class _Zstd:
    """A zstd body read piece by piece. It is fed little at a time: four bytes may unpack to 128 KiB, which come at once."""

    def __init__(self, sent: Any) -> None:
        self._sent = io.BufferedReader(sent, PIECE)
        self._frame: Any = None
        self._held = memoryview(b"")

    def read(self, most: int) -> bytes:
        while not self._held:
            piece = self._sent.read(FED)
            if not piece and self._frame is not None:
                raise EOFError("the zstd frame breaks off")
            if not piece:
                return b""
            self._held = memoryview(self._unpack(piece))
        found, self._held = bytes(self._held[:most]), self._held[most:]
        return found

    def _unpack(self, piece: bytes) -> bytes:
        """Frames may follow one another."""
        found = b""
        while piece:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
            found += self._frame.decompress(piece)
            piece = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        return found


#: How a body of each Content-Encoding is unpacked: none of them brings more than it is asked for at a time.
UNPACKED: Mapping[str, Callable[[Any], Any]] = {
    "identity": lambda sent: sent,
    "gzip": lambda sent: gzip.GzipFile(fileobj=sent, mode="rb"),
    "zstd": _Zstd,
}


def watch(app: Flask, at_once: int) -> None:
    """Each body that flows in holds a connection to Postgres until its end, so not every one that wants to may."""
    app.extensions[EXTENSION] = BoundedSemaphore(at_once)


@contextmanager
def inflow() -> Iterator[Body]:
    """This request's body, unpacked as it is read. Raises Refusal, also in the middle."""
    places: BoundedSemaphore = current_app.extensions[EXTENSION]
    if not places.acquire(blocking=False):
        raise Refusal("streams_saturated", "As many bodies flow in here as may at once (MAX_INFLOWS).")
    try:
        with _impatient():
            yield Body(_unpacked(), runtime().settings.max_stream_bytes)
    finally:
        places.release()


def encoding() -> str:
    """The Content-Encoding of this request's body. Raises Refusal for one that is not read."""
    told = (request.content_encoding or "identity").strip().lower()
    if told not in UNPACKED:
        raise Refusal("unsupported_media_type", f"Content-Encoding may be {', '.join(UNPACKED)}.")
    return told


def _unpacked() -> Any:
    # One byte more than is allowed: werkzeug would end a body without a length at its limit, and not say so.
    request.max_content_length = runtime().settings.max_stream_bytes + 1
    return UNPACKED[encoding()](_Sent(request.stream, request.content_length))


@contextmanager
def _impatient() -> Iterator[None]:
    """Reads of a body wait for SILENCE_S at most. (The server's own socket: gunicorn by itself waits for ever.)"""
    socket = wsgi("gunicorn.socket")
    if socket is None:
        yield
        return
    before = socket.gettimeout()
    socket.settimeout(SILENCE_S)
    try:
        yield
    except TimeoutError:
        raise Refusal("malformed_request", f"Nothing of the body came for {SILENCE_S:g} s.") from None
    finally:
        socket.settimeout(before)


class _Sent(io.RawIOBase):
    """The body as it is sent. One that ends before its length has broken off, which the server and werkzeug take for its end."""

    def __init__(self, source: Any, length: int | None) -> None:
        self._source, self._length, self._came = source, length, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece: bytes = self._source.read(min(len(buffer), PIECE))
        except TimeoutError:
            raise
        except OSError as error:  # gunicorn's word for a body in chunks that breaks off
            raise Refusal("malformed_request", f"The body breaks off: {type(error).__name__}.") from None
        self._came += len(piece)
        if not piece and self._length is not None and self._came < self._length:
            raise Refusal("malformed_request", f"The body breaks off: {self._came} of {self._length} bytes came.")
        buffer[: len(piece)] = piece
        return len(piece)


class Body(io.RawIOBase):
    """Of the unpacked body so many bytes and no more: what unpacks to more than it may is refused while it is unpacked."""

    def __init__(self, source: Any, most: int) -> None:
        self._source, self._most, self._read = source, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece: bytes = self._source.read(min(len(buffer), PIECE))
        except _TORN as error:
            raise Refusal("malformed_request", f"The body cannot be unpacked: {ascii(str(error))[1:-1][:200]}.") from None
        self._read += len(piece)
        if self._read > self._most:
            raise Refusal("body_too_large", f"A body may have {self._most} bytes, unpacked (MAX_STREAM_BYTES).")
        buffer[: len(piece)] = piece
        return len(piece)


def lines(body: Any, most: int) -> Iterator[str]:
    """So many of a body, one by one, with a pause now and then; their ends are as they were sent."""
    text = io.TextIOWrapper(io.BufferedReader(body, PIECE), encoding="utf-8-sig", newline="")
    number = 0
    try:
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if number > most:
                raise Refusal("body_too_large", f"One request may bring {most} lines (MAX_VALUES).")
            if len(line) > LONGEST_LINE:
                raise Refusal("body_too_large", f"Line {number} is longer than {LONGEST_LINE} characters.")
            if number % TURN == 0:
                time.sleep(0)
            yield line
    except UnicodeDecodeError:
        raise Refusal("malformed_request", f"The body is not UTF-8, near line {number + 1}.") from None
