"""Schedules: what is asked for again each night, and what became of it."""

from __future__ import annotations

from webapp.examples.cast import NIGHTLY_TRAINING, SCHEDULE, SERVER
from webapp.examples.example import Example, page

NEXT_NIGHTS = [
    {"due_at": f"2026-10-{day}T00:00:00Z", "fires_at": f"2026-10-{day}T00:{late}Z"}
    for day, late in ((13, "04:31"), (14, "11:02"), (15, "07:45"), (16, "00:58"), (17, "13:20"))
]
NIGHTLY = {
    "id": SCHEDULE,
    "name": "nightly",
    "kind": "train",
    "template": {"train": {"selector": {"has_channel": "rhr"}, "recipe": "health-daily", "target": "rhr"}},
    "entities": None,
    "metadata": {},
    "when": {"age_hours": 720.0, "new_rows": 7, "drift": "drifting", "accuracy": {"worse_than": 1.5}},
    "cron": "0 2 * * *",
    "every_s": None,
    "time_zone": "Europe/Vienna",
    "window": {"from": "01:00", "to": "05:00"},
    "jitter_s": 900,
    "missed": "once",
    "paused": False,
    "next_run": NEXT_NIGHTS[0],
    "last_fired_at": None,
    "created_at": "2026-10-12T07:31:40.220915Z",
    "links": {"self": f"/api/v1/schedules/{SCHEDULE}", "runs": f"/api/v1/schedules/{SCHEDULE}/runs"},
}
NIGHTLY_RUN = {
    "due_at": "2026-10-13T00:00:00Z",
    "at": "2026-10-13T00:04:31.018224Z",
    "state": "fired",
    "reason": None,
    "error": None,
    "job": NIGHTLY_TRAINING,
    "entities": 412,
    "due": 37,
    "why": {"age_hours": 37, "under_way": 1},
    "passed_over": 0,
    "links": {"job": f"/api/v1/jobs/{NIGHTLY_TRAINING}"},
}

CHAPTER: tuple[Example, ...] = (
    Example(
        "create_schedule",
        "Train each night whoever has seven new mornings, a version that drifts or is a month old, or none",
        body={
            "name": "nightly",
            "cron": "0 2 * * *",
            "time_zone": "Europe/Vienna",
            "window": {"from": "01:00", "to": "05:00"},
            "jitter_s": 900,
            "template": {"train": {"selector": {"has_channel": "rhr"}, "recipe": "health-daily", "target": "rhr"}},
            "when": {"age_hours": 720, "new_rows": 7, "drift": "drifting", "accuracy": {"worse_than": 1.5}},
        },
        status=201,
        answer=NIGHTLY | {"next_runs": NEXT_NIGHTS, "last_runs": []},
    ),
    Example(
        "create_schedule",
        "Look for anomalies of a server every hour, and never for the hours of an outage",
        body={
            "name": "hourly look",
            "every_s": 3600,
            "missed": "skip",
            "template": {"anomaly_detect": SERVER | {"hours": 1}},
        },
        status=201,
    ),
    Example("list_schedules", "Schedules", query={"limit": 1}, answer=page(NIGHTLY, more=True)),
    Example("list_schedule_runs", "What became of it", {"schedule_id": SCHEDULE}, {"limit": 1}, answer=page(NIGHTLY_RUN)),
    Example(
        "get_schedule",
        "What comes next, and what became of the last runs",
        {"schedule_id": SCHEDULE},
        answer=NIGHTLY | {"last_fired_at": "2026-10-13T00:04:31.018224Z", "next_runs": NEXT_NIGHTS, "last_runs": [NIGHTLY_RUN]},
    ),
    Example(
        "change_schedule",
        "Let it rest",
        {"schedule_id": SCHEDULE},
        body={"paused": True},
        answer=NIGHTLY | {"paused": True, "next_run": None, "next_runs": [], "last_runs": [NIGHTLY_RUN]},
    ),
    Example("delete_schedule", "It is not needed any more", {"schedule_id": SCHEDULE}, status=204),
)
