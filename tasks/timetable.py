"""Timetables: when a schedule is due, and when it fires: cron or an interval, a window, jitter. Pure; the clock is the caller's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import count, dropwhile, islice, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ml.errors import SpecInvalid

#: Shortest and longest interval, in seconds. Cron has no seconds either: the dispatcher looks about once a second.
EVERY_S = (60, 366 * 86_400)
#: Longest jitter: a day spreads what is due daily over the whole of it.
MOST_JITTER_S = 86_400
#: Days looked back and ahead for a window: one that crosses midnight began yesterday, and none is farther than two days away,
#: the day on which clocks skip it between them.
_AROUND = (-2, 4)


class Due(NamedTuple):
    """One run of a schedule."""

    #: What the run is known by: the moment of cron or interval, or the opening of the window that it waits for.
    due_at: datetime
    #: With its jitter: when it is really fired.
    fires_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The hours of each day in which a schedule may fire, `begin` to `end` by the clock on the wall; it may cross midnight."""

    begin: time
    end: time
    zone: ZoneInfo

    def open_at(self, moment: datetime) -> tuple[datetime, datetime]:
        """From when on it is open, not before the moment, and until when."""
        begin, end = next((begin, end) for begin, end in self._around(moment) if end > moment)
        return max(begin, moment), end

    def shut_since(self, moment: datetime) -> datetime:
        """When it was shut last, by then."""
        return max(end for _, end in self._around(moment) if end <= moment)

    def _around(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """In UTC, one a day. A day whose clocks skip all of it has none."""
        today = moment.astimezone(self.zone).date()
        for days in range(*_AROUND):
            first = today + timedelta(days=days)
            last = first if self.begin < self.end else first + timedelta(days=1)
            begin, end = (datetime.combine(*at, tzinfo=self.zone).astimezone(UTC) for at in ((first, self.begin), (last, self.end)))
            if begin < end:
                yield begin, end


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule fires. Exactly one of `cron` and `every_s` is set; an interval is counted from `anchor`."""

    #: Spreads schedules that are due together: the same schedule and moment always have the same jitter.
    seed: str
    anchor: datetime
    zone: ZoneInfo
    cron: str | None = None
    every_s: int | None = None
    window: Window | None = None
    jitter_s: int = 0

    def after(self, moment: datetime) -> Due | None:
        """The first run that is due later than the moment and the anchor; None where there is none in the next fifty years.

        A moment outside the window waits for its opening, and those of one night together are one run.
        """
        nominal = next(self._nominal(self._looked_from(max(moment, self.anchor))), None)
        if nominal is None:
            return None
        due_at, shut_at = (nominal, None) if self.window is None else self.window.open_at(nominal)
        return Due(due_at, due_at + self._jitter(due_at, shut_at))

    def upcoming(self, moment: datetime) -> Iterator[Due]:
        """All runs due later than the moment."""
        due = self.after(moment)
        while due is not None:
            yield due
            due = self.after(due.due_at)

    def passed_over(self, after: datetime, until: datetime, most: int) -> int:
        """How many runs were due between the two, counted up to `most`."""
        return sum(1 for _ in islice(takewhile(lambda due: due.due_at <= until, self.upcoming(after)), most))

    def opening(self, moment: datetime) -> datetime:
        """The moment itself where the window is open then, else its next opening."""
        return moment if self.window is None else self.window.open_at(moment)[0]

    def _looked_from(self, moment: datetime) -> datetime:
        """While the window is shut, what was due since it shut still waits for its opening."""
        if self.window is None or self.window.open_at(moment)[0] <= moment:
            return moment
        return max(self.window.shut_since(moment) - timedelta(microseconds=1), self.anchor)

    def _nominal(self, moment: datetime) -> Iterator[datetime]:
        """The moments of cron or interval later than this one, in order.

        Cron is Debian's: a time of day that clocks skip is due when they have, one that comes twice is due once.
        """
        if self.every_s is not None:
            step = timedelta(seconds=self.every_s)
            first = max(0, (moment - self.anchor) // step) + 1
            return (self.anchor + n * step for n in count(first))
        found = (at.astimezone(UTC) for at in CronSim(str(self.cron), moment.astimezone(self.zone)))
        # Where an hour comes twice cron takes the first one, which may lie behind a moment of the second.
        return dropwhile(lambda at: at <= moment, found)

    def _jitter(self, due_at: datetime, shut_at: datetime | None) -> timedelta:
        """A share of `jitter_s` told by a hash, cut so that the window is still open then."""
        most = self.jitter_s if shut_at is None else min(self.jitter_s, (shut_at - due_at).total_seconds())
        drawn = hashlib.sha256(f"{self.seed} {due_at.timestamp()}".encode()).digest()
        return timedelta(seconds=int(most * int.from_bytes(drawn[:6], "big") / 2**48))


def zone(name: str) -> ZoneInfo:
    """Raises SpecInvalid for a name that the database of time zones does not have."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise SpecInvalid("time_zone", name, "name one of the IANA database, as Europe/Vienna, or UTC") from None


def clock(field: str, text: str) -> time:
    """A time of day, `03:30`. Raises SpecInvalid."""
    try:
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007  # a time on a wall, of no day
    except ValueError:
        raise SpecInvalid(field, text, "write hours and minutes, as 03:30") from None


def require_cron(expression: str) -> None:
    """Raises SpecInvalid for what is no cron expression of five fields, or names days that never come."""
    fields = len(expression.split())
    if fields != 5:
        raise SpecInvalid("cron", expression, f"{fields} fields; write five: minute, hour, day of month, month, day of week")
    try:
        next(CronSim(expression, datetime.now(UTC)))
    except CronSimError as error:
        raise SpecInvalid("cron", expression, f"{error}; five fields: minute, hour, day of month, month, day of week") from None
    except StopIteration:
        raise SpecInvalid("cron", expression, "no day of the next fifty years is one of these") from None
