"""Listening to event streams: what an EventSource would hear, kept for a test to look at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from db.events import Place


class Heard(NamedTuple):
    id: str
    event: str
    data: Any

    @property
    def place(self) -> Place:
        found = Place.read(self.id)
        assert found is not None, self.id
        return found


def events(chunks: Iterable[bytes]) -> Iterator[Heard | None]:
    """The events in what a server sends; None for a comment. Each field has to be there, on one line."""
    text = b""
    for chunk in chunks:
        text += chunk
        while b"\n\n" in text:
            block, _, text = text.partition(b"\n\n")
            if block.startswith(b":"):
                yield None
                continue
            (id_, event, data) = (line.split(": ", 1) for line in block.decode().split("\n"))
            assert [id_[0], event[0], data[0]] == ["id", "event", "data"]
            found = Heard(id_[1], event[1], json.loads(data[1]))
            assert isinstance(found.data, dict), found
            yield found
    assert text == b"", "the stream ended in the middle of an event"


class Listener:
    """Hears a stream in a thread of its own, until it ends, or something comes after the block did: a heartbeat is enough."""

    def __init__(self, chunks: Iterable[bytes], close: Callable[[], object]) -> None:
        self.heard: list[Heard] = []
        self.heartbeats = 0
        #: When each event came.
        self.at: list[float] = []
        self._chunks, self._close = chunks, close
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left.set()
        self._thread.join(20)
        assert self.closed, "nothing came any more"

    def _listen(self) -> None:
        try:
            for found in events(self._chunks):
                if self._left.is_set():
                    return
                if found is None:
                    self.heartbeats += 1
                else:
                    self.at.append(time.monotonic())
                    self.heard.append(found)
        finally:
            self._close()

    @property
    def names(self) -> list[str]:
        return [heard.event for heard in self.heard]

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def until(self, good: Callable[[Self], object], seconds: float = 15) -> Self:
        deadline = time.monotonic() + seconds
        while not good(self):
            assert time.monotonic() < deadline, f"heard {self.names}"
            time.sleep(0.01)
        return self

    def hears(self, *names: str, seconds: float = 15) -> Self:
        """Wait until the last events are these."""
        return self.until(lambda self: self.names[-len(names) :] == list(names), seconds)

    def ends(self, seconds: float = 15) -> Self:
        return self.until(lambda self: self.closed, seconds)
