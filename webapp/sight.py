"""Something that takes a while to look at: one looks, and for a moment the others are shown the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Sight(Generic[Found]):
    """What `look` finds, at most `fresh_s` old. Whoever asks while one looks waits for that; an error is raised and not kept."""

    def __init__(self, look: Callable[[], Found], fresh_s: float) -> None:
        self._look, self._fresh_s = look, fresh_s
        self._lock = threading.Lock()
        self._last: tuple[float, Found] | None = None

    def seen(self) -> Found:
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] >= self._fresh_s:
                found = self._look()
                self._last = (time.monotonic(), found)
            return self._last[1]
