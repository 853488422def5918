"""Servers of nineteen metrics, with labelled segments and the metrics that caused them ( Li et al. 2021, doi:10.1145/3447548.3467075)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from ml.anomaly.detector import Anomaly, Detector
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.watch import detect, onsets, train_detector
from ml.series import Bools, Floats, RawChannels, moment

CHANNELS = tuple(f"m{number:02}" for number in range(19))
#: Alarms a server may call in a day where recall is measured at a budget.
BUDGET = 1.0
#: First and last row, and the metrics that caused it.
Segment = tuple[int, int, frozenset[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """One server: rows to learn from, then R rows that are judged."""

    name: str
    raw: RawChannels
    learn: int
    #: (R,)
    anomalous: Bools
    #: Counted from the first row that is judged.
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """How a server's alarms compare with its labels."""

    name: str
    #: Of single rows, at the product's threshold.
    f1: float
    #: Of single rows, at the threshold that is best for the labels.
    best_f1: float
    pr_auc: float
    segments: int
    #: Segments with one of the product's own alarms in them, and the alarms outside of all.
    found: int
    false: int
    #: Segments with an alarm in them when the threshold allows BUDGET alarms a day.
    at_budget: int
    #: Of the product's alarms in segments: those whose first channel is among the causes; and as many as a channel drawn by lot would be.
    right: int
    alarms: int
    by_chance: float


def read(folder: Path) -> list[Server]:
    causes = json.loads((folder / "interpretation.json").read_text())
    table = pd.read_parquet(folder / "series.parquet")
    return [_server(str(name), rows, causes[str(name)]) for name, rows in table.groupby("series", sort=True)]


def judge(server: Server) -> Judged:
    """Learn from the first part, judge the second, and compare."""
    head = {name: (times[: server.learn], values[: server.learn]) for name, (times, values) in server.raw.items()}
    detector = train_detector(server.name, head, DetectorSpec(channels=CHANNELS))
    start = moment(server.raw[CHANNELS[0]][0][server.learn])
    found = detect(detector, server.raw, start=start)
    return _judged(server, detector, np.nan_to_num(found.rows.scores), found.anomalies)


def _judged(server: Server, detector: Detector, scores: Floats, called: tuple[Anomaly, ...]) -> Judged:
    rows = [_row(server, alarm) for alarm in called]
    hits = [(alarm, segment) for alarm, row in zip(called, rows, strict=True) for segment in server.segments if _within(row, segment)]
    precision, recall, _ = precision_recall_curve(server.anomalous, scores)
    budget = _rows_at_budget(scores, detector)
    return Judged(
        name=server.name,
        f1=float(f1_score(server.anomalous, scores >= detector.warning)),
        best_f1=float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()),
        pr_auc=float(average_precision_score(server.anomalous, scores)),
        segments=len(server.segments),
        found=len({segment for _, segment in hits}),
        false=len(called) - len(hits),
        at_budget=sum(any(_within(row, segment) for row in budget) for segment in server.segments),
        right=sum(alarm.contributions[0].channel in segment[2] for alarm, segment in hits),
        alarms=len(hits),
        by_chance=sum(len(segment[2]) for _, segment in hits) / len(CHANNELS),
    )


def _rows_at_budget(scores: Floats, detector: Detector) -> list[int]:
    """Rows alarmed at the lowest threshold, found without labels, at which the alarms keep to the budget."""
    allowed = BUDGET * len(scores) * detector.step_s / 86_400
    for level in np.linspace(0.2, 1.0, 161):
        rows = np.flatnonzero(onsets(scores, float(level), detector.spec.quiet))
        if len(rows) <= allowed:
            return [int(row) for row in rows]
    return []


def _within(row: int, segment: Segment) -> bool:
    return segment[0] <= row <= segment[1]


def _row(server: Server, alarm: Anomaly) -> int:
    """Among the rows judged."""
    times = server.raw[CHANNELS[0]][0]
    return int(np.searchsorted(times, np.datetime64(alarm.at.replace(tzinfo=None), "ms"))) - server.learn


def _server(name: str, rows: pd.DataFrame, causes: list[str]) -> Server:
    times = rows["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    raw = {channel: (times, rows[channel].to_numpy(dtype=np.float64)) for channel in CHANNELS}
    judged = rows["is_test"].to_numpy() == 1
    labels = rows["anomaly"].to_numpy()[judged] == 1
    return Server(name, raw, int((~judged).sum()), labels, tuple(_segment(cause) for cause in causes))


def _segment(cause: str) -> Segment:
    """`760-765:4,5`: rows, and metrics counted from one."""
    span, metrics = cause.split(":")
    first, last = span.split("-")
    return int(first), int(last), frozenset(CHANNELS[int(number) - 1] for number in metrics.split(","))
