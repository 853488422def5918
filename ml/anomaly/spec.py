"""The terms of one anomaly detector: what it watches, how it learns, how often it may call. Plain values; imports no numeric library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from ml.errors import SpecInvalid
from ml.formats import known

#: Lowest and highest value of each numeric field. They keep one detector small and one request bounded.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "trees": (10, 1_000),
    "sample_size": (16, 4_096),
    "alarm_rate": (1e-5, 0.1),
    "critical_rate": (1e-7, 0.1),
    "held_back": (0.1, 0.5),
    "short": (2, 256),
    "medium": (4, 1_024),
    "long": (8, 4_096),
    "seasons": (2, 14),
    "quiet": (0, 4_096),
    "fill_limit": (0, 48),
    "seed": (0, 2**31 - 1),
}
#: Fields that count something.
WHOLE = frozenset(BOUNDS) - {"alarm_rate", "critical_rate", "held_back"}
MOST_CHANNELS = 32
#: Who answers for a detector.
FOREST = "isolation_forest"
#: Fewest observed rows a detector learns from.
LEAST_ROWS = 100


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """Everything that decides what a detector does, apart from the data.

    Trees and sample size are those of Liu, Ting & Zhou 2008, "Isolation Forest", doi:10.1109/ICDM.2008.17.
    """

    #: Channels watched together; those that have no rows when the detector is trained are left out.
    channels: tuple[str, ...]
    trees: int = 100
    #: Rows each tree is grown from.
    sample_size: int = 256
    #: Warnings wished, as a share of all rows. One in a thousand is two a week at five minutes: what one person reads for a fleet.
    #: One in a hundred, a common default of libraries, is three a day from every series.
    alarm_rate: float = 1e-3
    #: Of these, so rare that they are critical: one in a hundred thousand is one a year at five minutes.
    critical_rate: float = 1e-5
    #: Share of the rows, the newest ones, that the forest is not grown from: they say how rare a score is.
    held_back: float = 0.3
    #: Most rows learned from, the newest ones; None learns from all there are.
    memory: int | None = None
    #: Rows of the three windows looked through. At five minutes: half an hour, three hours, a day.
    short: int = 6
    medium: int = 36
    long: int = 288
    #: Seasons (days, mostly) whose same time of day is compared with.
    seasons: int = 7
    #: Rows without anything unusual after which the next unusual row is news again.
    quiet: int = 36
    #: Longest run of missing rows that is filled forward before the windows are looked through.
    fill_limit: int = 3
    #: Seconds between rows; None finds the cadence from the data.
    cadence_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_channels()
        for name, (low, high) in BOUNDS.items():
            _check(name, getattr(self, name), low, high)
        if self.memory is not None:
            _check("memory", self.memory, LEAST_ROWS, 10_000_000)
        if self.cadence_s is not None:
            _check("cadence_s", self.cadence_s, 1, 31 * 86_400)
        if not self.short < self.medium < self.long:
            raise SpecInvalid("medium", self.medium, f"must lie between short ({self.short}) and long ({self.long})")
        if self.critical_rate > self.alarm_rate:
            raise SpecInvalid("critical_rate", self.critical_rate, f"must be at most the alarm_rate ({self.alarm_rate:g})")

    def override(self, changes: Mapping[str, Any]) -> Self:
        """The same spec with some fields changed. Raises SpecInvalid for an unknown field or a value out of bounds."""
        known = {f.name for f in fields(self)}
        for name in changes:
            if name not in known:
                raise SpecInvalid(name, changes[name], f"unknown field; known: {', '.join(sorted(known))}")
        return replace(self, **_typed(changes))

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"channels": list(self.channels)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Of this release or another: fields that are missing take their defaults, unknown ones are passed over. Raises SpecInvalid."""
        return cls(**_typed(known(cls, stored)))

    def fingerprint(self) -> str:
        """Hash of all fields: two trainings with the same fingerprint ask for the same thing."""
        return _digest(self.as_dict())

    def signature(self) -> str:
        """Hash of what a reader of alarms can see: the channels. A change is a major version."""
        return _digest({"detector": list(self.channels)})

    def _check_channels(self) -> None:
        if not 1 <= len(self.channels) <= MOST_CHANNELS:
            raise SpecInvalid("channels", self.channels, f"name 1 to {MOST_CHANNELS} channels")
        if not all(isinstance(name, str) and name for name in self.channels):
            raise SpecInvalid("channels", self.channels, "every channel needs a name")
        if len(set(self.channels)) < len(self.channels):
            raise SpecInvalid("channels", self.channels, "name each channel once")


def _check(name: str, value: object, low: float, high: float) -> None:
    """NaN is out of every bound."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SpecInvalid(name, value, f"must be between {low:g} and {high:g}")
    if name in WHOLE | {"memory"} and not isinstance(value, int):
        raise SpecInvalid(name, value, "must be a whole number")


def _typed(stored: Mapping[str, Any]) -> dict[str, Any]:
    return dict(stored) | ({"channels": tuple(stored["channels"])} if "channels" in stored else {})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
