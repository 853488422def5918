"""Histories: what two people and a server had behind them before anything was learned, as CSV."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_FIRST_DAY = datetime(2026, 9, 1, 6, tzinfo=UTC)


def mornings(count: int) -> list[str]:
    """One a day, from the first of the story on."""
    return [f"{_FIRST_DAY + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(count)]


FORTY_DAYS = "at,rhr,asleep_min\n" + "".join(f"{at},{56 + n % 5},{400 + 10 * (n % 7)}\n" for n, at in enumerate(mornings(40)))

#: Another person, the days off of the coming week among what is known.
_AT_HOME = [f"{at},{61 + n % 4 if n < 40 else ''},{int(n % 7 in (4, 5))}\n" for n, at in enumerate(mornings(47))]
WITH_DAYS_OFF = "at,rhr,day_off\n" + "".join(_AT_HOME)

#: Ten hours of a server, of which two channels are known.
_EVERY_FIVE_MINUTES = [f"{_FIRST_DAY + timedelta(minutes=5 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(120)]
TEN_HOURS = "at,cpu_usage,memory_usage_percent\n" + "".join(
    f"{at},{30 + n % 7},{50 + (n * n) % 5}\n" for n, at in enumerate(_EVERY_FIVE_MINUTES)
)
