"""Spans of time as an operator writes and reads them: `30m`, `24h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

#: Of each unit its seconds, the longest first.
UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
#: A hundred years: far beyond what anybody means, and near enough that no date overflows.
LONGEST = timedelta(days=36_500)
_WRITTEN = re.compile(r"([1-9][0-9]{0,8})([smhd])")


class Duration(click.ParamType[timedelta]):
    """A whole number and its unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        written = _WRITTEN.fullmatch(value)
        if written is None:
            self.fail(f"{value!r} is no span of time; write 45s, 30m, 24h or 7d.", param, ctx)
        span = timedelta(seconds=int(written[1]) * UNITS[written[2]])
        if span > LONGEST:
            self.fail(f"{value!r} is longer than a hundred years.", param, ctx)
        return span


DURATION = Duration()


def short(seconds: float) -> str:
    """In the largest unit that fits, rounded down; below ten of it with one decimal where it is seconds."""
    unit, size = next(((unit, size) for unit, size in UNITS.items() if seconds >= size), ("s", 1))
    return f"{seconds:.1f}s" if unit == "s" and seconds < 10 else f"{int(seconds // size)}{unit}"
