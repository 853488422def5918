"""Backtests: what a recipe would have forecast, and how well the version that serves forecasts a span."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import BACKTEST, BACKTEST_OF_VERSION
from webapp.examples.example import Example
from webapp.examples.histories import mornings
from webapp.examples.jobs import job
from webapp.examples.versions import SPEC


def _scored(mae: float, skill: float, coverage: float | None = None, winkler: float | None = None) -> dict[str, Any]:
    """The scores of one forecaster in a backtest whose error is the same at every step."""
    figures = {"mae": mae, "rmse": 1.3 * mae, "mase": 0.9 * mae, "skill": skill, "coverage": coverage, "winkler": winkler}
    steps = {name: None if value is None else [value] * 7 for name, value in figures.items()}
    return {"n": 56, **figures, "metrics_per_step": {"n": [11, 10, 9, 8, 7, 6, 5], **steps}}


SCORED: dict[str, Any] = {
    "lstm": _scored(1.5, 0.12),
    "persistence": _scored(1.7, 0.0),
    "seasonal_naive": _scored(1.9, -0.12),
    "served": _scored(1.5, 0.12, 0.91, 6.3),
}


def _fold(number: int, learned_until: int, until: int) -> dict[str, Any]:
    """Forecasts of some mornings after the last one that was learned from, counted from the first."""
    begin, end = mornings(42)[learned_until + 1], mornings(42)[until]
    about = {"learned_until": mornings(42)[learned_until], "from": begin, "to": end}
    return {"fold": number, **about, "origins": 11, "seen_in_training": False, "served_by": "blend", "scores": SCORED}


LOOKED_BACK = {
    "entity": "user-42",
    "recipe": "health-daily",
    "model": None,
    "version": None,
    "horizon": 7,
    "step": "P1D",
    "level": 0.9,
    "target": "rhr",
    "folds": [_fold(1, 20, 30), _fold(2, 30, 41)],
    "overall": {"folds": 2, "origins": 22, "scores": SCORED},
    "trace": {
        "at": ["2026-10-11T06:00:00Z", "2026-10-12T06:00:00Z"],
        "truth": [57.0, 58.0],
        "forecast": [57.5, 57.25],
        "lower": [55.25, 55.0],
        "upper": [59.75, 59.5],
    },
    "others": [],
}


def _backtest(job_id: str, queue: str, **spec: Any) -> dict[str, Any]:
    plain = job(job_id, kind="backtest", queue={"name": queue, "position": 0})
    asked: dict[str, Any] = dict.fromkeys(("recipe", "spec", "folds", "look_back_hours", "version", "from", "to"))
    told = asked | {"entity": "user-42", "target": "rhr"} | spec
    return plain | {"spec": told, "links": plain["links"] | {"chart": f"/api/v1/backtests/{job_id}/chart.svg"}}


CHAPTER: tuple[Example, ...] = (
    Example(
        "backtest",
        "What a recipe would have forecast of the last mornings, trained anew in two places",
        headers={"Prefer": "wait=0", "Idempotency-Key": "backtest-user-42-1"},
        body={"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 60}, "folds": 2},
        status=202,
        answer=_backtest(BACKTEST, "train", recipe="health-daily", spec=SPEC, folds=2),
    ),
    Example(
        "get_result",
        "What it would have been worth",
        {"job_id": BACKTEST},
        answer={"job": BACKTEST, "kind": "backtest", "result": LOOKED_BACK},
    ),
    Example("get_chart", "The same, drawn", {"job_id": BACKTEST}, answer_type="image/svg+xml"),
    Example(
        "backtest",
        "How well the active version forecasts a span, part of which its training had",
        body={"entity": "user-42", "target": "rhr", "from": "2026-10-01T00:00:00Z"},
        status=202,
        answer=_backtest(BACKTEST_OF_VERSION, "batch", **{"version": "1.0.0", "from": "2026-10-01T00:00:00Z"}),
    ),
)
