"""Moments and spans of time as clients read them: ISO 8601."""

from __future__ import annotations

from datetime import datetime


def duration(seconds: float) -> str:
    """ISO 8601: whole days as P1D, else PT…H, M or S."""
    if seconds % 86_400 == 0:
        return f"P{seconds / 86_400:.0f}D"
    for unit, size in (("H", 3_600), ("M", 60)):
        if seconds % size == 0:
            return f"PT{seconds / size:.0f}{unit}"
    return f"PT{seconds:g}S"


def stamp(at: datetime) -> str:
    """`at` is in UTC."""
    return at.isoformat().replace("+00:00", "Z")
