"""Anomalies: what is usual of a server is learned, and two hours are held against it."""

from __future__ import annotations

from webapp.examples.cast import DETECTION, DETECTOR, DETECTOR_TRAINING, SERVER
from webapp.examples.deliveries import taken
from webapp.examples.example import Example, page
from webapp.examples.histories import TEN_HOURS
from webapp.examples.jobs import job
from webapp.examples.recipes import DETECTOR_DEFAULTS

DETECTOR_TRAIN_SPEC = SERVER | {
    "recipe": "device-anomaly",
    "model": "anomaly",
    "activation": "auto",
    "look_back_hours": 168,
    "spec": DETECTOR_DEFAULTS | {"channels": ["cpu_usage", "memory_usage_percent"], "alarm_rate": 0.005},
}
ANOMALY = {
    "at": "2026-09-01T14:55:00Z",
    "score": 0.71,
    "severity": "critical",
    "contributions": [
        {"channel": "cpu_usage", "share": 0.92, "value": 97.0, "low": 30.0, "high": 36.0},
        {"channel": "memory_usage_percent", "share": 0.08, "value": 53.0, "low": 50.0, "high": 54.0},
    ],
}
JUDGEMENT = SERVER | {
    "model": DETECTOR,
    "version": "1.0.0",
    "from": "2026-09-01T13:55:00Z",
    "to": None,
    "rows": 25,
    "newest": {"at": "2026-09-01T15:55:00Z", "score": 0.11},
    "is_anomaly": False,
    "thresholds": {"warning": 0.41, "critical": 0.685},
    "counts": {"warning": 0, "critical": 1},
    "anomalies": [ANOMALY],
}

CHAPTER: tuple[Example, ...] = (
    Example(
        "post_observations",
        "Ten hours of a server, as CSV",
        SERVER,
        body=TEN_HOURS,
        media_type="text/csv",
        answer=taken(240, 1) | SERVER,
    ),
    Example(
        "train_detector",
        "Learn what is usual of the server, and call one row in two hundred",
        headers={"Idempotency-Key": "watch-server-7-1"},
        body=SERVER | {"spec": {"alarm_rate": 0.005}},
        status=202,
        answer=job(
            DETECTOR_TRAINING, kind="anomaly_train", target=None, spec=DETECTOR_TRAIN_SPEC, queue={"name": "train", "position": 0}, **SERVER
        ),
    ),
    Example(
        "detect_anomalies",
        "The last two hours",
        headers={"Prefer": "wait=0", "Idempotency-Key": "judge-server-7-1"},
        body=SERVER | {"hours": 2},
        status=202,
        answer=job(
            DETECTION,
            kind="anomaly_detect",
            target=None,
            spec=SERVER | {"model": "anomaly", "version": None, "from": "2026-09-01T13:55:00Z", "to": None},
            **SERVER,
        ),
    ),
    Example(
        "get_result", "What they held", {"job_id": DETECTION}, answer={"job": DETECTION, "kind": "anomaly_detect", "result": JUDGEMENT}
    ),
    Example(
        "list_anomalies",
        "The newest critical one that was found",
        SERVER,
        {"severity": "critical", "limit": 1},
        answer=page(ANOMALY | {"model": DETECTOR, "version": "1.0.0", "job": DETECTION, "found_at": "2026-10-12T07:20:11.204180Z"}),
    ),
)
