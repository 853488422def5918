"""Rows of a place as arrays, whichever place it is. Workers only: imports numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from db.sources import stored
from db.sources.source import Points
from ml.series import RawChannels
from tasks.sources import Place, Store


def fetch(
    place: Place,
    channels: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last_rows: int | None = None,
) -> RawChannels:
    """Times (datetime64[ms], UTC) and values of each channel, oldest first, from `since` on and before `until`.

    `last_rows` keeps only the newest of each channel. A channel without rows comes as empty arrays.
    Raises SourceUnavailable, SourceLagging, SourceUnreadable.
    """
    if isinstance(place, Store):
        return stored.fetch(place.session, place.entity_id, channels, since=since, until=until, last_rows=last_rows)
    return arrays(place.source.fetch(place.whom, channels, since=since, until=until, last_rows=last_rows))


def arrays(found: Mapping[str, Points]) -> RawChannels:
    """What a source found, as `fetch` gives it."""
    return {name: _arrays(points) for name, points in found.items()}


def _arrays(points: Points) -> stored.Series:
    """The same memory, read as numpy reads it."""
    times, values = points
    return np.frombuffer(times, np.int64).astype("datetime64[ms]"), np.frombuffer(values, np.float64)
