"""The mind's doubt: how far off a forecast may be, as it is kept with a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.series import Floats, Rows

#: Levels kept with a model. A level asked for between two of them gets the upper one: wider, never narrower.
LEVELS = tuple(round(0.5 + 0.01 * i, 2) for i in range(50))
#: (50,) share of truths that may lie outside.
ALLOWED = 1 - np.array(LEVELS)
UNMEASURED: tuple[float | None, ...] = (None,) * len(LEVELS)


@dataclass(frozen=True, slots=True, eq=False)
class IntervalTable:
    """Half-widths per level and step, in the target's unit."""

    #: (50, H), for LEVELS
    half: Floats
    #: Share of test truths inside, per level; None where nothing could be measured.
    covered: tuple[float | None, ...]
    #: Held-back rows behind the table.
    rows: int
    #: Lowest level from which steps share their residuals because one step alone has too few; None when none does.
    pooled_from: float | None
    #: (P, H) usual error by the phase of the origin over the usual error of all; None where phases tell nothing.
    phases: Floats | None = None
    #: Mean Winkler score of the test truths, per level; None where nothing could be measured.
    winkler: tuple[float | None, ...] = UNMEASURED

    def half_width(self, level: float, phase: int | Rows | None = None) -> Floats:
        """(H,) half-widths at the level or the next one above it, after an origin at that phase; (N, H) of N phases.

        None asks for the usual ones.
        """
        half: Floats = self.half[index_of(level)]
        return half if phase is None or self.phases is None else half * self.phases[phase]

    def measured(self, level: float) -> float | None:
        return self.covered[index_of(level)]

    def scored(self, level: float) -> float | None:
        """Mean Winkler score of the test truths."""
        return self.winkler[index_of(level)]

    def is_pooled(self, level: float) -> bool:
        return self.pooled_from is not None and LEVELS[index_of(level)] >= self.pooled_from

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back to the bit."""
        return {
            "half": self.half.tolist(),
            "covered": list(self.covered),
            "rows": self.rows,
            "pooled_from": self.pooled_from,
            "phases": None if self.phases is None else self.phases.tolist(),
            "winkler": list(self.winkler),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> IntervalTable:
        phases = stored.get("phases")
        return cls(
            half=np.array(stored["half"], dtype=np.float64),
            covered=tuple(stored["covered"]),
            rows=stored["rows"],
            pooled_from=stored["pooled_from"],
            phases=None if phases is None else np.array(phases, dtype=np.float64),
            winkler=tuple(stored["winkler"]),
        )


def index_of(level: float) -> int:
    return next((i for i, known in enumerate(LEVELS) if known >= level - 1e-9), len(LEVELS) - 1)
