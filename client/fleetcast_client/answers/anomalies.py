"""Detectors: what they are asked, and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.answers.gates import Verdict
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class DetectorDefaults(Answer):
    """Every field of a detector's spec that a recipe decides."""

    #: Trees of the Isolation Forest.
    trees: int
    #: Rows that each tree is grown from.
    sample_size: int
    #: Warnings wished, as a share of all rows: 0.001 is one row in a thousand.
    alarm_rate: float
    #: Of these, so rare that they are critical; at most `alarm_rate`.
    critical_rate: float
    #: Share of the rows, the newest, that say how rare a score is; the forest is grown from the others.
    held_back: float
    #: Most rows learned from, the newest; null: all there are.
    memory: int | None
    #: Rows of the shortest window looked through.
    short: int
    #: Rows of the middle one; more than `short`.
    medium: int
    #: Rows of the longest one; more than `medium`.
    long: int
    #: Seasons (days, mostly) whose same time is compared with.
    seasons: int
    #: Rows without anything unusual after which the next unusual row is an anomaly of its own.
    quiet: int
    #: Longest run of missing rows that is filled forward.
    fill_limit: int
    #: Seconds between rows; null finds them from the data.
    cadence_s: float | None
    #: The same seed on the same data gives the same detector.
    seed: int


@dataclass(frozen=True, kw_only=True)
class DetectorSpec(DetectorDefaults):
    """Everything that decides what a detector does, apart from the data."""

    #: Channels watched together.
    channels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AnomalyTrainSpec(Answer):
    """The training of a detector, defaults filled in."""

    entity: str
    recipe: str
    #: Name of the detector.
    model: str
    activation: str
    look_back_hours: float | None
    #: The source that was named; left out where none was.
    source: str | None = None
    spec: DetectorSpec


@dataclass(frozen=True, kw_only=True)
class AnomalyDetectSpec(Answer):
    """A detection, defaults filled in."""

    entity: str
    #: Name of the detector.
    model: str
    #: Null: the one that is active when the job runs.
    version: str | None
    #: Null: so many `hours`, which only a worker can count back.
    from_: datetime | None
    #: Null: up to the newest row.
    to: datetime | None
    #: Before the end, or the newest row; only where `from` is null.
    hours: float | None = None
    #: The source that was named; left out where none was.
    source: str | None = None


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
