"""What every source answers: rows of an entity's channels, how many there are, and whether it is well. Imports no numeric library."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from db.errors import SourceUnreadable
from db.observations import Coverage

#: Moments in milliseconds since 1970 (UTC), oldest first, and the values at them: arrays that numpy reads where they lie.
Points = tuple["array[int]", "array[float]"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel is called there, and how its numbers become ours: value × scale + offset."""

    #: Fleets name one thing differently. Of several that are there the first that is not null counts.
    fields: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0


class Whom(NamedTuple):
    """Whose rows are meant."""

    #: As clients name it.
    entity: str
    #: The tenant's name, for sources that hold several tenants' rows.
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """A source that answered."""

    #: Seconds by which it is behind what it follows; None where it follows nothing, or nobody can tell.
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reading may cost."""

    #: Most rows of one answer.
    max_rows: int
    #: Longest wait for a connection, and for a statement.
    timeout_s: float


class Span(NamedTuple):
    """Which rows are meant: from `since` on and before `until`, and of those the newest `last_rows` of each channel. None: all."""

    since: datetime | None = None
    until: datetime | None = None
    last_rows: int | None = None


class Wanted(NamedTuple):
    """The newest rows of some channels of somebody."""

    whom: Whom
    channels: tuple[str, ...]
    last_rows: int


#: What was found for one of many: each channel's points, or why its rows cannot be read.
Found = dict[str, Points] | SourceUnreadable


class Source(Protocol):
    """Every method raises SourceUnavailable where the source is away (it may be tried again), SourceUnreadable where it cannot be read."""

    def fetch(
        self,
        whom: Whom,
        channels: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last_rows: int | None = None,
    ) -> dict[str, Points]:
        """Each channel's points from `since` on and before `until`. `last_rows` keeps the newest; a channel without rows comes empty.

        Raises SourceLagging too: what is too far behind is not learned from.
        """

    def fetch_many(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """`fetch` of the newest rows of many of one tenant's, in the order in which they are wanted: by one question where it can be.

        Raises SourceUnreadable where that question is refused whole; then each may be asked for alone.
        """

    def coverage(self, whom: Whom, channels: Collection[str] | None = None, since: datetime | None = None) -> dict[str, Coverage]:
        """Of each channel that has a row."""

    def entities(self, tenant: str, most: int) -> list[str]:
        """Names of those that have rows there, at most so many, in order."""

    def health(self) -> Health:
        """Whether it answers, and how far behind it is."""

    def sought(self, whom: Whom, since: datetime | None = None) -> str:
        """Where rows of the entity were looked for, in words: for whoever finds none."""

    def close(self) -> None:
        """Let go of its connections."""


class Reader(ABC):
    """What readers of the operator's sources do alike: a channel that the source is not said to have comes empty, and is not asked for."""

    #: As SOURCES_FILE names them.
    _channels: Mapping[str, Channel]

    def fetch(
        self,
        whom: Whom,
        channels: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last_rows: int | None = None,
    ) -> dict[str, Points]:
        """As Source says."""
        there = {name: self._channels[name] for name in channels if name in self._channels}
        found = self._points(whom, there, Span(since, until, last_rows)) if there else {}
        return {name: found.get(name) or empty() for name in channels}

    def fetch_many(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """One after another: what cannot be asked for together."""
        for one in wanted:
            try:
                yield self.fetch(one.whom, one.channels, last_rows=one.last_rows)
            except SourceUnreadable as error:
                yield error

    @abstractmethod
    def _points(self, whom: Whom, there: Mapping[str, Channel], span: Span) -> Mapping[str, Points]:
        """Of channels that are there, at least one; those without a row may be left out."""

    def _named(self, channels: Collection[str] | None) -> list[str]:
        """Those of the channels that the source is said to have; all of them where none are named."""
        return [name for name in self._channels if channels is None or name in channels]

    def _fields(self) -> str:
        """All that they are called there, in words."""
        return ", ".join(field for channel in self._channels.values() for field in channel.fields)


def milliseconds(at: Any) -> int:
    """Since 1970. One without an offset is in UTC. Raises TypeError for what is no moment, as a column of another type holds."""
    if not isinstance(at, datetime):
        raise TypeError(f"{type(at).__name__} is no moment")
    return ((at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - _EPOCH) // _MS


def moment(ms: int) -> datetime:
    return _EPOCH + ms * _MS


def empty() -> Points:
    return array("q"), array("d")


def counted(points: Points) -> Coverage | None:
    """Of points that lie in order; None of none."""
    times, _ = points
    if not times:
        return None
    return Coverage(len(times), len({at // 86_400_000 for at in times}), moment(times[0]), moment(times[-1]))


def too_many(source: str, most: int) -> SourceUnreadable:
    return SourceUnreadable(
        f"Source {source} has more than {most} rows of that span: look back less far (look_back_hours), or have the operator raise "
        "SOURCE_MAX_ROWS."
    )


def finite(number: Any, channel: Channel) -> float | None:
    """The channel's number as ours; None for what is no finite number. Raises ValueError for what is no number at all."""
    value = float(number) * channel.scale + channel.offset
    return value if math.isfinite(value) else None
