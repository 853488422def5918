"""One data requirement, measured: a leaf that errors carry and readiness makes. Imports no numeric library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Requirement:
    """A need measured against one entity."""

    name: str
    have: float
    need: float
    unit: str
    met: bool
    #: ISO date when it will be met at the pace of one row a cadence; None when met or unknowable.
    eta: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """`12 of 30 days of hrv_rmssd`. The name is `<channel>.<need>`, or that of a need of no single channel."""
        channel = self.name.rpartition(".")[0] or "the target"
        if self.unit == "share":
            return f"{self.have:.0%} of the days have {channel}, {self.need:.0%} are needed"
        if self.unit == "entity":
            return f"{self.have:g} of {self.need:g} entities that can be learned from"
        return f"{self.have:g} of {self.need:g} {self.unit}{'s' if self.need != 1 else ''} of {channel}"
