"""A look that others share for a moment."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest

from webapp.sight import Sight


def test_a_look_is_shared_while_it_is_fresh() -> None:
    numbers = count()
    sight = Sight(lambda: next(numbers), 0.2)
    assert [sight.seen() for _ in range(5)] == [0] * 5
    time.sleep(0.25)
    assert [sight.seen() for _ in range(5)] == [1] * 5


def test_who_asks_meanwhile_waits_for_the_one_who_looks() -> None:
    numbers, seen = count(), []

    def look() -> int:
        time.sleep(0.1)
        return next(numbers)

    sight = Sight(look, 60)
    threads = [threading.Thread(target=lambda: seen.append(sight.seen())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [0] * 8


def test_an_error_is_not_kept() -> None:
    found = iter([RuntimeError("away"), None])

    def look() -> str:
        error = next(found)
        if error is not None:
            raise error
        return "there"

    sight = Sight(look, 60)
    with pytest.raises(RuntimeError):
        sight.seen()
    assert sight.seen() == "there"
