"""Spans of time, read and written."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest

from ops.durations import DURATION, short


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(weeks=1)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_number_and_its_unit_are_read(written: str, meant: timedelta) -> None:
    assert DURATION(written) == meant


@pytest.mark.parametrize("written", ["", "7", "h", "0h", "-1h", "1.5h", "1 h", "1h ", "1H", "1w", "1h30m", "١h", "36501d", "999999999d"])
def test_what_is_no_span_is_refused_with_how_to_write_one(written: str) -> None:
    with pytest.raises(click.BadParameter, match=r"write 45s, 30m, 24h or 7d|longer than a hundred years"):
        DURATION(written)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0s"), (9.94, "9.9s"), (10, "10s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_399, "23h"), (864_000, "10d")],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert short(seconds) == told
