"""The mind's watch: learns what is usual of an entity's channels, and calls when something unusual begins.

Two witnesses look at the same views of each row (ml.anomaly.features): each view by itself, by how rarely it was as far from its
middle; and an Isolation Forest, which knows them together. Both learn from the older rows. How rare it is that they are so odd
together is learned from the newer ones, which neither has seen. That chance is the score, so that a threshold is a wished rate of
alarms and never depends on the rows being judged (the likelihood of Lavin & Ahmad 2015, doi:10.1109/ICMLA.2015.141, by quantiles).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np

from ml.anomaly.detector import Anomaly, Contribution, Detection, Detector, RowScores, Severity, score_of, scored
from ml.anomaly.rows import beat, lay, present, require_all
from ml.anomaly.spec import LEAST_ROWS, DetectorSpec
from ml.anomaly.usual import Sight, Usual
from ml.errors import FlatLine, InsufficientData
from ml.requirement import Requirement
from ml.series import Bools, Floats, Notice, RawChannels, Rows, Series, Times, instant, is_flat, moment, notice

#: Most alarms that one detection tells of: some hundred kilobytes.
MOST_ALARMS = 500


def train_detector(entity: str, raw: RawChannels, spec: DetectorSpec, alive: Callable[[], object] = lambda: None) -> Detector:
    """Learn what is usual. `alive` is called between the steps.

    Raises FeatureMissing (no channel of the spec has rows), InsufficientData (fewer than 100 rows), FlatLine (no channel ever moves),
    UnusableData (rows that fit no grid).
    """
    channels, notices = present(raw, spec.channels)
    series, found = lay(entity, raw, channels, spec.fill_limit, *beat(entity, raw, channels, spec))
    seen = Sight.of(series, channels)
    rows = _rows(seen, channels, spec)
    notices += found + _movement(seen.values[rows], channels) + _extrapolated(rows, spec)
    alive()
    fit, held = np.split(rows, [len(rows) - _held_back(rows, spec)])
    usual = Usual.learn(seen, fit, held, spec, alive)
    scores = scored(usual.surprise(usual.odd(seen, spec)[held], alive))
    return Detector(
        entity=entity,
        spec=spec,
        channels=channels,
        step=series.step,
        anchor=series.start,
        usual=usual,
        contamination=float((scores >= score_of(spec.alarm_rate)).mean()),
        warnings=tuple(notices),
        data_from=moment(series.times[rows[0]]),
        data_until=moment(series.times[rows[-1]]),
        fit_until=moment(series.times[held[0]]),
        rows=len(rows),
        held_back=len(held),
    )


def detect(
    detector: Detector,
    raw: RawChannels,
    start: datetime | None = None,
    end: datetime | None = None,
    alive: Callable[[], object] = lambda: None,
) -> Detection:
    """Score the rows from `start` up to, but not including, `end`, and call where something unusual begins or becomes critical.

    `raw` should begin `detector.reach` rows before `start`. Whether a row alarms depends on that row and earlier ones alone. Of more
    than MOST_ALARMS the newest are told, and a notice counts the others. `alive` is called every second or so.
    Raises FeatureMissing naming the channels without rows, UnusableData (rows that fit no grid).
    """
    series, seen, notices = _seen(detector, raw)
    alive()
    odd = detector.usual.odd(seen, detector.spec)
    scores = scored(detector.usual.surprise(odd, alive))
    asked = _between(series.times, start, end)
    called = np.flatnonzero(alarms(scores, detector) & asked)
    told = called[-MOST_ALARMS:]
    shares = detector.usual.shares(odd[told])
    found = [
        Anomaly(
            moment(series.times[row]), float(scores[row]), _severity(scores[row], detector), _contributions(detector, seen, int(row), share)
        )
        for row, share in zip(told, shares, strict=True)
    ]
    rows = RowScores(series.times[asked], scores[asked], tuple(notices))
    return Detection(rows, tuple(found), (*notices, *_left_out(len(called) - len(told))))


def score_rows(detector: Detector, raw: RawChannels, start: datetime | None = None, end: datetime | None = None) -> RowScores:
    """The score of every row of the grid from `start` up to, but not including, `end`. In all else as `detect`."""
    series, seen, notices = _seen(detector, raw)
    asked = _between(series.times, start, end)
    odd = detector.usual.odd(seen, detector.spec)[asked]
    return RowScores(series.times[asked], scored(detector.usual.surprise(odd)), tuple(notices))


def alarms(scores: Floats, detector: Detector) -> Bools:
    """(T,) True where a warning begins or becomes critical."""
    quiet = detector.spec.quiet
    return onsets(scores, detector.warning, quiet) | onsets(scores, detector.critical, quiet)


def onsets(scores: Floats, threshold: float, quiet: int) -> Bools:
    """(T,) True where a score reaches the threshold and none of the `quiet` rows before did. NaN reaches nothing."""
    over = np.nan_to_num(scores, nan=-1.0) >= threshold
    number = np.arange(len(over))
    last = np.maximum.accumulate(np.where(over, number, -quiet - 2))
    before = np.concatenate([[-quiet - 2], last])[: len(over)]
    return np.asarray(over & (number - before > quiet))


def _seen(detector: Detector, raw: RawChannels) -> tuple[Series, Sight, list[Notice]]:
    require_all(raw, detector.channels)
    series, notices = lay(detector.entity, raw, detector.channels, detector.spec.fill_limit, detector.anchor, detector.step)
    return series, Sight.of(series, detector.channels), notices


def _left_out(alarms: int) -> list[Notice]:
    if not alarms:
        return []
    return [notice("alarms_left_out", f"{alarms} earlier alarms are not told: ask for a shorter time.", alarms=alarms)]


def _between(times: Times, start: datetime | None, end: datetime | None) -> Bools:
    """(T,) True where a row is asked for."""
    asked = np.ones(len(times), dtype=np.bool_)
    if start is not None:
        asked &= times >= instant(start)
    if end is not None:
        asked &= times < instant(end)
    return asked


def _severity(score: float, detector: Detector) -> Severity:
    return "critical" if score >= detector.critical else "warning"


def _contributions(detector: Detector, seen: Sight, row: int, shares: Floats) -> tuple[Contribution, ...]:
    """Greatest first."""
    usual = detector.usual
    found = [
        Contribution(name, float(shares[c]), _observed(seen, row, c), float(usual.low[c]), float(usual.high[c]))
        for c, name in enumerate(detector.channels)
    ]
    return tuple(sorted(found, key=lambda each: -each.share))


def _observed(seen: Sight, row: int, channel: int) -> float | None:
    return float(seen.values[row, channel]) if seen.observed[row, channel] else None


def _rows(seen: Sight, channels: tuple[str, ...], spec: DetectorSpec) -> Rows:
    """Rows on which any channel was observed, the newest `memory` of them."""
    rows = np.flatnonzero(seen.observed.any(axis=1))
    rows = rows if spec.memory is None else rows[-spec.memory :]
    if len(rows) < LEAST_ROWS:
        raise InsufficientData([Requirement(f"{', '.join(channels)}.rows", len(rows), LEAST_ROWS, "row", False)])
    return rows


def _held_back(rows: Rows, spec: DetectorSpec) -> int:
    return round(len(rows) * spec.held_back)


def _movement(values: Floats, channels: tuple[str, ...]) -> list[Notice]:
    """A channel that never moved is watched for its first move, where another one does move."""
    flat = [name for name, column in zip(channels, values.T, strict=True) if is_flat(column)]
    if len(flat) == len(channels):
        raise FlatLine(
            f"{', '.join(flat)} never moved in {len(values)} rows: there is nothing to tell usual from unusual by.", channels=flat
        )
    return [notice("flat_channel", f"{name} never moved: any move of it will be unusual.", channel=name) for name in flat]


def _extrapolated(rows: Rows, spec: DetectorSpec) -> list[Notice]:
    held = _held_back(rows, spec)
    if held * spec.alarm_rate >= 1:
        return []
    detail = f"{held} rows were held back: what one in {1 / spec.alarm_rate:g} looks like is extrapolated from them."
    return [notice("threshold_extrapolated", detail, held_back=held, alarm_rate=spec.alarm_rate)]
