"""Detectors, and what they found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.answers.gates import Verdict
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Contamination(Answer):
    """Share of rows that reach the score of a warning."""

    #: The spec's `alarm_rate`.
    asked: float
    #: Of the rows held back.
    measured: float


@dataclass(frozen=True, kw_only=True)
class Thresholds(Answer):
    """Scores from which a row is called."""

    warning: float
    critical: float


@dataclass(frozen=True, kw_only=True)
class WatchedRows(Answer):
    """Rows that a detector was trained from."""

    #: All of them.
    observed: int
    #: Those among them, the newest ones, that said how rare a score is.
    held_back: int


@dataclass(frozen=True, kw_only=True)
class DetectorMetrics(Answer):
    """What a detector says about itself. There is no error: nobody tells it what was unusual."""

    #: Channels watched: those of the spec that had rows.
    channels: tuple[str, ...]
    #: `<channel>: <view>` of all that the forest sees of a row.
    features: tuple[str, ...]
    trees: int
    sample_size: int
    thresholds: Thresholds
    contamination: Contamination
    rows: WatchedRows
    #: Seconds between rows.
    cadence_s: float


@dataclass(frozen=True, kw_only=True)
class AnomalyTrainResult(Answer):
    """What the training of a detector brought."""

    model: str
    version: str
    #: It judges from now on.
    active: bool
    served_by: str
    #: `<channel>: <view>` of all that the forest sees of a row.
    features: tuple[str, ...]
    contamination: Contamination
    #: Rows it learned from, those held back among them.
    training_samples: int
    metrics: DetectorMetrics
    gate: Verdict


@dataclass(frozen=True, kw_only=True)
class NewestRow(Answer):
    """The newest row that was judged."""

    at: datetime
    score: float


@dataclass(frozen=True, kw_only=True)
class AnomalyCounts(Answer):
    """Anomalies of each severity."""

    warning: int
    critical: int


@dataclass(frozen=True, kw_only=True)
class Contribution(Answer):
    """What one channel adds to a score."""

    channel: str
    #: Of the score; all channels together are 1.
    share: float
    #: What was observed; null where nothing was.
    value: float | None
    #: The usual range: 98 % of the rows learned from lie in it.
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class FoundAnomaly(Answer):
    """A moment at which something unusual began, or became critical."""

    #: 0.5 is as rare as one normal row in a thousand, 0.75 as one in a million.
    score: float
    severity: str
    #: Greatest first.
    contributions: tuple[Contribution, ...]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Anomaly(FoundAnomaly):
    """An anomaly that was found, and by whom."""

    model: str
    #: Of the versions that called this moment, the last.
    version: str
    #: The detection that found it.
    job: str
    found_at: datetime


@dataclass(frozen=True, kw_only=True)
class AnomalyDetectResult(Answer):
    """What a detection found."""

    entity: str
    model: str
    version: str
    from_: datetime
    to: datetime | None
    #: Rows judged.
    rows: int
    #: Null where no row could be judged.
    newest: NewestRow | None
    #: The newest row reaches the score of a warning, also where that began earlier.
    is_anomaly: bool
    thresholds: Thresholds
    counts: AnomalyCounts
    #: Oldest first; of more than 500 the newest.
    anomalies: tuple[FoundAnomaly, ...]
