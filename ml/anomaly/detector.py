"""The mind's nouns of the unusual: a trained detector, what it finds odd about one row, and an alarm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from ml.anomaly.features import VIEWS, reach
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.usual import Usual
from ml.series import Floats, Notice, Times

Severity = Literal["warning", "critical"]
#: Surprise at which the score is a half: one normal row in a thousand scores as high. Twice of it, one in a million, is three quarters.
HALF = 3.0


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one channel adds to the score of one row."""

    channel: str
    #: Of the score; the shares of all channels add up to 1.
    share: float
    #: Observed; None where the row has no value of the channel.
    value: float | None
    #: Usual range: 98 % of the rows learned from lie in it.
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One alarm: something unusual begins, or becomes critical, at a row."""

    at: datetime
    #: 0 to 1: a half is as rare as one normal row in a thousand, three quarters as one in a million.
    score: float
    severity: Severity
    #: Greatest first.
    contributions: tuple[Contribution, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"at": self.at.isoformat(), "contributions": [asdict(each) for each in self.contributions]}


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """The score of every row of a stretch of the grid. T rows."""

    #: (T,) datetime64[ms], UTC
    times: Times
    #: (T,) 0 to 1, NaN where the row is missing: no channel was observed
    scores: Floats
    #: What was wrong with the rows.
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What was found in a stretch of rows."""

    rows: RowScores
    #: Oldest first; of very many, the newest.
    anomalies: tuple[Anomaly, ...]
    #: What was wrong with the rows, and what is left out here.
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """Everything a detection needs."""

    entity: str
    spec: DetectorSpec
    #: Channels watched: those of the spec that had rows.
    channels: tuple[str, ...]
    step: np.timedelta64
    #: A moment the grid goes through.
    anchor: np.datetime64
    usual: Usual
    #: Share of the rows held back that reach a warning's score.
    contamination: float
    warnings: tuple[Notice, ...]
    data_from: datetime
    data_until: datetime
    #: First moment neither the forest nor the views learned from.
    fit_until: datetime
    #: Observed rows, and those of them held back.
    rows: int
    held_back: int

    @property
    def step_s(self) -> float:
        return float(self.step / np.timedelta64(1, "ms")) / 1000

    @property
    def features(self) -> tuple[str, ...]:
        """`<channel>: <view>` of each feature, in the order the forest knows them by."""
        return tuple(f"{channel}: {view}" for channel in self.channels for view in VIEWS)

    @property
    def warning(self) -> float:
        """Score from which a row is unusual."""
        return score_of(self.spec.alarm_rate)

    @property
    def critical(self) -> float:
        return score_of(self.spec.critical_rate)

    @property
    def reach(self) -> int:
        """Rows before a row that its score and its alarm can depend on: fetch so many more than are to be judged."""
        return reach(self.spec, self.step_s) + self.spec.quiet

    def summary(self) -> dict[str, Any]:
        """What a training says about itself. JSON."""
        return {
            "channels": list(self.channels),
            "features": list(self.features),
            "trees": len(self.usual.forest.roots),
            "sample_size": min(self.spec.sample_size, self.rows - self.held_back),
            "thresholds": {"warning": self.warning, "critical": self.critical},
            "contamination": {"asked": self.spec.alarm_rate, "measured": self.contamination},
            "rows": {"observed": self.rows, "held_back": self.held_back},
            "cadence_s": self.step_s,
        }


def score_of(chance: float) -> float:
    """Score of a row as rare as this."""
    return float(scored(np.array(-np.log10(chance))))


def scored(surprise: Floats) -> Floats:
    """0 to 1 of surprises; NaN stays NaN."""
    return np.asarray(1.0 - 2.0 ** -(surprise / HALF))
