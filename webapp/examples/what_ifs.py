"""What-ifs: more sleep, beside the forecast as it is."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import WHAT_IF
from webapp.examples.example import Example
from webapp.examples.jobs import job
from webapp.examples.predictions import BASELINE, POINTS, SERVED_BY

OUT_OF_SUPPORT = {"channel": "asleep_min", "low": 400.0, "high": 460.0, "rows": 3, "farthest": 520.0, "clamped": False}


def _scenario(name: str, lower: float) -> dict[str, Any]:
    moved = dict.fromkeys(("value", "lower", "upper"), lower)
    return {
        "name": name,
        "points": [{"at": point["at"], **{part: point[part] - by for part, by in moved.items()}} for point in POINTS],
        "delta": [-lower] * len(POINTS),
        "mean_delta": -lower,
        "used": {"asleep_min": [{"at": "2026-10-12T06:00:00Z", "value": 480.0}]},
        "out_of_support": [OUT_OF_SUPPORT],
        "warnings": [
            {
                "code": "out_of_support",
                "detail": "3 values of asleep_min lie outside 400 to 460, the range learned from: the answer is an extrapolation.",
                "channel": "asleep_min",
            }
        ],
    }


COMPARED = {
    "entity": "user-42",
    "served_by": SERVED_BY,
    "baseline": BASELINE,
    "scenarios": [_scenario("more sleep", 0.5), _scenario("eight hours", 0.25)],
    "direction": "lower",
    "best": "more sleep",
    "worst": "eight hours",
    "warnings": [],
}
SCENARIOS = [
    {"name": "more sleep", "changes": [{"channel": "asleep_min", "op": "add", "value": 60.0, "steps": {"last": 3}}]},
    {"name": "eight hours", "changes": [{"channel": "asleep_min", "op": "set", "value": 480.0, "steps": "all"}]},
]

CHAPTER: tuple[Example, ...] = (
    Example(
        "what_if",
        "An hour more sleep in the last three nights, or eight hours in every night",
        headers={"Prefer": "wait=0", "Idempotency-Key": "what-if-user-42-1"},
        body={"entity": "user-42", "target": "rhr", "horizon": 7, "scenarios": SCENARIOS, "bounds": "warn"},
        status=202,
        answer=job(
            WHAT_IF,
            kind="what_if",
            spec={
                "entity": "user-42",
                "target": "rhr",
                "horizon": 7,
                "level": 0.9,
                "version": None,
                "future": None,
                "scenarios": SCENARIOS,
                "bounds": "warn",
                "include_baseline": True,
            },
        ),
    ),
    Example("get_result", "What the what-if brought", {"job_id": WHAT_IF}, answer={"job": WHAT_IF, "kind": "what_if", "result": COMPARED}),
)
