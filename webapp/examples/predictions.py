"""A forecast, the same again from the cache, and what the forecasts were worth weeks later."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import FORECAST, MODEL
from webapp.examples.example import Example
from webapp.examples.jobs import DONE, job

POINTS: list[dict[str, Any]] = [
    {"at": f"2026-10-{13 + n}T06:00:00Z", "value": value, "lower": value - 2.3, "upper": value + 2.2}
    for n, value in enumerate((57.5, 58.25, 58.5, 58.0, 57.75, 57.5, 57.5))
]
SHARES = {"network": 0.52, "linear": 0.16, "seasonal_change": 0.06, "usual_level": 0.11, "persistence": 0.15}
SERVED_BY = {"kind": "blend", "shares": SHARES, "model": MODEL, "version": "1.0.0"}
BASELINE = {
    "target": "rhr",
    "data_until": "2026-10-12T06:00:00Z",
    "horizon": 7,
    "step": "P1D",
    "served_by": {"kind": "blend", "shares": SHARES},
    "skill": 0.18,
    "points": POINTS,
    "level": 0.9,
    "measured_coverage": 0.91,
    "history": {"average": 57.1, "deviation": 1.4, "percentile": 83.3, "days": 30.0, "rows": 30},
    "warnings": [],
}
FORETOLD = BASELINE | {
    "entity": "user-42",
    "unit": "bpm",
    "made_at": "2026-10-12T06:10:03Z",
    "interpretation": "Slightly above the 30-day average of 57.1 bpm; within the usual range. "
    "Lower is better for this channel; the forecast lies on the other side.",
    "served_by": SERVED_BY,
    "cached": True,
}


def _came_true(n: int, mae: float, **about: Any) -> dict[str, Any]:
    """Forecasts beside what happened, as far off as the step is long."""
    found = {"n": n, "mae": mae, "usual_mae": 1.42, "last_value_mae": 1.81, "season_mae": 1.93, "skill": 1 - mae / 1.81}
    return found | {"coverage": 0.89, "level": 0.9} | about


CAME_TRUE = _came_true(
    301,
    1.53,
    version="1.0.0",
    active=True,
    served_by="blend",
    origins=46,
    **{"from": "2026-10-13T06:00:00Z", "to": "2026-11-30T06:00:00Z"},
    steps=[_came_true(46 - step, 1.23 + 0.1 * step, step=step + 1) for step in range(7)],
)
STEADY = {"verdict": "steady", "independent": 21.6, "chance": 0.41}
DRIFT = {
    "version": "1.0.0",
    "verdict": "steady",
    "inputs": [STEADY | {"channel": name, "rows": 28, "psi": 0.07, "ks": 0.11} for name in ("rhr", "asleep_min")],
    "errors": STEADY | {"origins": 46, "ratio": 1.08},
    "coverage": STEADY | {"origins": 46, "have": 0.89, "need": 0.9},
}
ACCURACY = {"entity": "user-42", "target": "rhr", "model": MODEL, "days": 90, "versions": [CAME_TRUE], "drift": DRIFT}

CHAPTER: tuple[Example, ...] = (
    Example(
        "predict",
        "Seven days ahead, queued",
        body={"entity": "user-42", "target": "rhr"},
        status=202,
        answer=job(FORECAST),
    ),
    Example(
        "predict",
        "The same again: the answer is in hand",
        headers={"Prefer": "wait=10", "Idempotency-Key": "predict-user-42-rhr-1"},
        body={"entity": "user-42", "target": "rhr", "horizon": 7, "level": 0.9},
        answer=job(FORECAST) | DONE | {"queue": {"name": "interactive", "position": None}, "result": {"forecast": FORETOLD}},
    ),
    Example("get_forecast", "The newest forecast", {"entity": "user-42", "target": "rhr"}, answer=FORETOLD | {"stale": False}),
    Example("get_accuracy", "What the forecasts were worth, seven weeks on", {"entity": "user-42", "target": "rhr"}, answer=ACCURACY),
)
