"""Examples: one story of a person's watch, from the first delivery to the last word. The document shows them and a test runs them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ml.errors import (
    ArtefactCorrupt,
    FeatureMissing,
    FlatLine,
    InsufficientData,
    InsufficientRecentData,
    ModelError,
    ScenarioOutOfBounds,
    StorageFull,
    TrainingDiverged,
)
from ml.requirement import Requirement
from ml.shapes import declared
from ml.shelf import MANIFEST, WEIGHTS, zipped
from ml.spec import ModelSpec
from ml.weights import packed
from tasks.problems import CATALOGUE, problem
from webapp.problems import Refusal, fault, invalid


@dataclass(frozen=True)
class Example:
    """One request as a client would send it, and its answer."""

    #: Id of the operation.
    operation: str
    summary: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    media_type: str = "application/json"
    status: int = 200
    answer: Any = None
    answer_type: str = "application/json"


USER, OTHER = {"entity": "user-42"}, {"entity": "user-43"}
_FIRST_DAY = datetime(2026, 9, 1, 6, tzinfo=UTC)


def _mornings(count: int) -> list[str]:
    return [f"{_FIRST_DAY + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(count)]


FORTY_DAYS = "at,rhr,asleep_min\n" + "".join(f"{at},{56 + n % 5},{400 + 10 * (n % 7)}\n" for n, at in enumerate(_mornings(40)))

#: Another person, the days off of the coming week among what is known.
_AT_HOME = [f"{at},{61 + n % 4 if n < 40 else ''},{int(n % 7 in (4, 5))}\n" for n, at in enumerate(_mornings(47))]
WITH_DAYS_OFF = "at,rhr,day_off\n" + "".join(_AT_HOME)

#: Ten hours of a server, of which two channels are known.
_EVERY_FIVE_MINUTES = [f"{_FIRST_DAY + timedelta(minutes=5 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(120)]
TEN_HOURS = "at,cpu_usage,memory_usage_percent\n" + "".join(
    f"{at},{30 + n % 7},{50 + (n * n) % 5}\n" for n, at in enumerate(_EVERY_FIVE_MINUTES)
)

TRAINING, FORECAST, WHAT_IF, BATCH, ITEM, RETRIED, SECOND, EVERYONE, SECOND_ITEM, LEARNING, STARTED, PLANNED, SUPPOSED, HOLIDAY = (
    f"job_01KAG2Z5X8Q0V7M4R3T6W9Y1A{letter}" for letter in "ABCDEFGHJKMNPQ"
)
HINDSIGHT, HELD_OUT = (f"job_01KAG2Z5X8Q0V7M4R3T6W9Y1C{letter}" for letter in "AB")
MODEL, BASE = (f"mdl_01KAG2Z5X8Q0V7M4R3T6W9Y1B{letter}" for letter in "AB")
BROUGHT, OTHER_BASE = "job_01KAG2Z5X8Q0V7M4R3T6W9Y1DA", "mdl_01KAG2Z5X8Q0V7M4R3T6W9Y1DB"
WATCHED, JUDGED, DETECTOR = "job_01KAG2Z5X8Q0V7M4R3T6W9Y1EA", "job_01KAG2Z5X8Q0V7M4R3T6W9Y1EB", "mdl_01KAG2Z5X8Q0V7M4R3T6W9Y1EC"
WEBHOOK, DELIVERY = "whk_01KAG2Z5X8Q0V7M4R3T6W9Y1FA", "msg_5f0c9e3a7b1d4c2e8a6f0b9d3c7e1a52"
SCHEDULE, NIGHTLY = "sch_01KAG2Z5X8Q0V7M4R3T6W9Y1GA", "job_01KAG2Z5X8Q0V7M4R3T6W9Y1GB"
ERASURE = "ers_01KAG2Z5X8Q0V7M4R3T6W9Y1HA"
CURSOR = "WyI4OWU5MjdkNjFiYzciLCAzXQ"
ACTOR = "key:3c3fbe28727a"

CHANNELS = [
    {"name": "asleep_min", "unit": "min", "direction": "higher", "lower_bound": None, "upper_bound": None},
    {"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30.0, "upper_bound": 220.0},
]
PERSON = {
    "entity": "user-42",
    "kind": "user",
    "attributes": {"country": "AT", "watch": "v3"},
    "data_rev": 3,
    "created_at": "2026-10-11T06:01:12.382852Z",
}
RECIPE_SPEC = {
    "rolling": [7],
    "positive": False,
    "network": "lstm",
    "window": 30,
    "horizon": 7,
    "hidden_size": 128,
    "num_layers": 2,
    "dropout": 0.2,
    "epochs": 100,
    "patience": 10,
    "batch_size": 32,
    "learning_rate": 0.003,
    "loss": "mae",
    "split": {"fit": 0.64, "stop": 0.08, "calibrate": 0.08, "test": 0.2},
    "level": 0.9,
    "fill_limit": 3,
    "cadence_s": 86400,
    "seed": 0,
}
SPEC = RECIPE_SPEC | {"targets": ["rhr"], "covariates": ["asleep_min"], "future_covariates": [], "available": None, "epochs": 60}
RECIPE = {
    "name": "health-daily",
    "title": "A person's resting heart rate or heart-rate variability, day by day",
    "targets": ["rhr", "hrv_rmssd", "hrv"],
    "covariates": ["steps", "asleep_min", "stress_score"],
    "joint": False,
    "available": None,
    "spec": RECIPE_SPEC,
    "needs": [{"name": "days", "of": "target", "measure": "days", "minimum": 30, "group": []}],
    "gate": {"min_skill": 0.0, "incumbent_tolerance": 0.05, "production_r2": 0.5, "production_mape": 15.0},
    "look_back_hours": None,
}


def _scores(mae: float, skill: float) -> dict[str, Any]:
    return {
        "n": 70,
        "mae": mae,
        "rmse": 2.1,
        "r2": 0.41,
        "mape": 2.6,
        "mape_n": 70,
        "smape": 2.6,
        "mase": 0.82,
        "skill": skill,
        "coverage": 0.91,
        "winkler": 6.3,
    }


METRICS = {
    name: {part: _scores(mae, skill) for part in ("calibrate", "test")}
    for name, mae, skill in (("blend", 1.42, 0.19), ("lstm", 1.44, 0.18), ("persistence", 1.76, 0.0), ("seasonal_naive", 1.9, -0.08))
}
VERDICT = {"passed": True, "checks": [{"name": "skill", "have": 0.18, "need": 0.0, "met": True}], "production_ready": True}
TRAINED = {
    "target": "rhr",
    "model": MODEL,
    "version": "1.0.0",
    "active": True,
    "served_by": "blend",
    "metrics": METRICS,
    "gate": VERDICT,
    "others": [],
}
VERSION = {
    "version": "1.0.0",
    "model": MODEL,
    "active": True,
    "job": TRAINING,
    "recipe": "health-daily",
    "target": "rhr",
    "spec": SPEC,
    "served_by": "blend",
    "metrics": METRICS,
    "gate": VERDICT,
    "warnings": [],
    "data_from": "2026-09-01T06:00:00Z",
    "data_until": "2026-10-12T06:00:00Z",
    "source": None,
    "artefact": {"sha256": "9f2b" * 16, "bytes": 412_908},
    "created_at": "2026-10-12T06:04:40.101200Z",
    "pruned_at": None,
}
SECOND_VERSION = VERSION | {"version": "1.1.0", "job": SECOND, "spec": SPEC | {"epochs": 80}}


def _lineage(model: str, entity: str, version: Mapping[str, Any]) -> dict[str, Any]:
    here = f"/api/v1/models/{model}"
    return {
        "id": model,
        "entity": entity,
        "kind": "forecast",
        "name": "rhr",
        "active_version": version,
        "latest_version": version,
        "drift": {"verdict": "steady", "error_ratio": 1.08, "since": "2026-11-09T07:02:11.40Z", "judged_at": "2026-11-30T07:01:59.12Z"},
        "created_at": "2026-10-12T06:03:58.500100Z",
        "links": {"self": here, "versions": f"{here}/versions", "activations": f"{here}/activations"},
    }


LINEAGE = _lineage(MODEL, "user-42", VERSION)


def _job(job_id: str, **about: Any) -> dict[str, Any]:
    """A job that waits to be taken up, but for what is told about it."""
    here = f"/api/v1/jobs/{job_id}"
    return {
        "id": job_id,
        "kind": "predict",
        "state": "queued",
        "terminal": False,
        "rev": 1,
        "seq": 0,
        "created_at": "2026-10-12T06:03:58.585Z",
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "entity": "user-42",
        "target": "rhr",
        "spec": {"entity": "user-42", "target": "rhr", "horizon": 7, "level": 0.9, "version": None, "future": None},
        "queue": {"name": "interactive", "position": 0},
        "estimated_finish_at": None,
        "progress": {},
        "attempt": 0,
        "max_attempts": 5,
        "deduplicated": False,
        "retry_of": None,
        "parent": None,
        "batch": False,
        "result": None,
        "error": None,
        "warnings": [],
        "metadata": {},
        "links": {"self": here, "events": f"{here}/events", "result": f"{here}/result", "cancel": f"{here}/cancel"},
    } | about


DONE = {
    "state": "succeeded",
    "terminal": True,
    "rev": 3,
    "started_at": "2026-10-12T06:03:59.002Z",
    "finished_at": "2026-10-12T06:04:40.101Z",
    "expires_at": "2026-11-11T06:04:40.101Z",
    "attempt": 1,
}
TRAIN_SPEC = {
    "entity": "user-42",
    "recipe": "health-daily",
    "target": "rhr",
    "model": "rhr",
    "activation": "auto",
    "look_back_hours": None,
    "base": None,
    "spec": SPEC,
}
BASE_SPEC = SPEC | {"covariates": [], "epochs": 100}
LEARNED = {
    "base": "resting-hearts",
    "target": "rhr",
    "model": BASE,
    "version": "1.0.0",
    "active": True,
    "entities": 2,
    "skill": 0.12,
    "losses": {"user-42": 0.85, "user-43": 0.91},
    "gate": VERDICT | {"checks": [{"name": "skill", "have": 0.12, "need": 0.0, "met": True}], "production_ready": None},
}
BASE_VERSION = VERSION | {
    "model": BASE,
    "job": LEARNING,
    "spec": BASE_SPEC,
    "metrics": {"lstm": {"stop": dict.fromkeys(_scores(0, 0)) | {"n": 2, "mape_n": 0, "skill": 0.12}}},
    "gate": LEARNED["gate"],
    "artefact": {"sha256": "5f1d" * 16, "bytes": 380_116},
}
ELSEWHERE_SPEC = ModelSpec(("rhr",), window=14, horizon=7, hidden_size=8, num_layers=1, cadence_s=86_400.0)
#: All numbers 0, as no network is that has learned; it is the last value.
ELSEWHERE = zipped(
    {
        MANIFEST: json.dumps({"spec": ELSEWHERE_SPEC.as_dict()}).encode(),
        WEIGHTS: packed({name: [0.0] * math.prod(shape) for name, shape in declared(ELSEWHERE_SPEC).items()}, ELSEWHERE_SPEC),
    },
    "other-hearts",
)
IMPORTED_VERSION = BASE_VERSION | {
    "model": OTHER_BASE,
    "job": BROUGHT,
    "recipe": None,
    "spec": ELSEWHERE_SPEC.as_dict(),
    "metrics": {},
    "gate": {"passed": False, "checks": [{"name": "imported", "have": None, "need": 0.0, "met": False}], "production_ready": None},
    "data_from": None,
    "data_until": None,
    "source": None,
    "artefact": {"sha256": "7c0e" * 16, "bytes": 4_320},
}
TOLD = {
    "base": "other-hearts",
    "target": "rhr",
    "model": OTHER_BASE,
    "version": "1.0.0",
    "active": True,
    "gate": IMPORTED_VERSION["gate"],
}
PLANNED_SPEC = BASE_SPEC | {"future_covariates": ["day_off"]}
DAYS_OFF = {"day_off": [0, 0, 0, 1, 1, 1, 1]}
QUEUED_TRAINING = _job(TRAINING, kind="train", spec=TRAIN_SPEC, queue={"name": "train", "position": 0}, metadata={"client": "ios"})
DONE_TRAINING = QUEUED_TRAINING | DONE | {"queue": {"name": "train", "position": None}, "result": TRAINED}


def _batch(job_id: str, items: int, **about: Any) -> dict[str, Any]:
    plain = _job(job_id)
    return (
        plain
        | {
            "state": "running",
            "started_at": "2026-10-12T07:00:00.138Z",
            "entity": None,
            "target": None,
            "spec": {"items": items},
            "queue": {"name": "batch", "position": None},
            "progress": {"items": {"total": items, "queued": items}},
            "max_attempts": 1,
            "batch": True,
            "links": plain["links"] | {"items": f"/api/v1/jobs/{job_id}/items"},
        }
        | about
    )


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
CACHED = FORETOLD | {"cache_expires_at": "2026-10-13T06:10:03Z"}
OUTSIDE = {"channel": "asleep_min", "low": 400.0, "high": 460.0, "rows": 3, "farthest": 520.0, "clamped": False}


def _scenario(name: str, lower: float) -> dict[str, Any]:
    moved = dict.fromkeys(("value", "lower", "upper"), lower)
    return {
        "name": name,
        "points": [{"at": point["at"], **{part: point[part] - by for part, by in moved.items()}} for point in POINTS],
        "delta": [-lower] * len(POINTS),
        "mean_delta": -lower,
        "used": {"asleep_min": [{"at": "2026-10-12T06:00:00Z", "value": 480.0}]},
        "out_of_support": [OUTSIDE],
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
HOLIDAYS = {"name": "away", "changes": [{"channel": "day_off", "op": "set", "value": 1.0, "steps": {"future": 3}}]}
SCENARIOS = [
    {"name": "more sleep", "changes": [{"channel": "asleep_min", "op": "add", "value": 60.0, "steps": {"last": 3}}]},
    {"name": "eight hours", "changes": [{"channel": "asleep_min", "op": "set", "value": 480.0, "steps": "all"}]},
]


def _tried(mae: float, skill: float, coverage: float | None = None, winkler: float | None = None) -> dict[str, Any]:
    """The scores of one forecaster in a backtest whose error is the same at every step."""
    figures = {"mae": mae, "rmse": 1.3 * mae, "mase": 0.9 * mae, "skill": skill, "coverage": coverage, "winkler": winkler}
    steps = {name: None if value is None else [value] * 7 for name, value in figures.items()}
    return {"n": 56, **figures, "metrics_per_step": {"n": [11, 10, 9, 8, 7, 6, 5], **steps}}


TRIED: dict[str, Any] = {
    "lstm": _tried(1.5, 0.12),
    "persistence": _tried(1.7, 0.0),
    "seasonal_naive": _tried(1.9, -0.12),
    "served": _tried(1.5, 0.12, 0.91, 6.3),
}


def _fold(number: int, learned_until: int, until: int) -> dict[str, Any]:
    """Forecasts of some mornings after the last one that was learned from, counted from the first."""
    begin, end = _mornings(42)[learned_until + 1], _mornings(42)[until]
    about = {"learned_until": _mornings(42)[learned_until], "from": begin, "to": end}
    return {"fold": number, **about, "origins": 11, "seen_in_training": False, "served_by": "blend", "scores": TRIED}


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
    "overall": {"folds": 2, "origins": 22, "scores": TRIED},
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
    plain = _job(job_id, kind="backtest", queue={"name": queue, "position": 0})
    asked: dict[str, Any] = dict.fromkeys(("recipe", "spec", "folds", "look_back_hours", "version", "from", "to"))
    told = asked | {"entity": "user-42", "target": "rhr"} | spec
    return plain | {"spec": told, "links": plain["links"] | {"chart": f"/api/v1/backtests/{job_id}/chart.svg"}}


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
CALM = {"verdict": "steady", "independent": 21.6, "chance": 0.41}
DRIFT = {
    "version": "1.0.0",
    "verdict": "steady",
    "inputs": [CALM | {"channel": name, "rows": 28, "psi": 0.07, "ks": 0.11} for name in ("rhr", "asleep_min")],
    "errors": CALM | {"origins": 46, "ratio": 1.08},
    "coverage": CALM | {"origins": 46, "have": 0.89, "need": 0.9},
}
HELD = {"entity": "user-42", "target": "rhr", "model": MODEL, "days": 90, "versions": [CAME_TRUE], "drift": DRIFT}
SERVER = {"entity": "server-7"}
DETECTOR_DEFAULTS = {
    "trees": 100,
    "sample_size": 256,
    "alarm_rate": 0.001,
    "critical_rate": 0.00001,
    "held_back": 0.3,
    "memory": None,
    "short": 6,
    "medium": 36,
    "long": 288,
    "seasons": 7,
    "quiet": 36,
    "fill_limit": 3,
    "cadence_s": None,
    "seed": 0,
}
WATCHING = {
    "name": "device-anomaly",
    "title": "What is unusual of a device",
    "channels": ["cpu_usage", "memory_usage_percent", "disk_usage_percent", "network_total"],
    "spec": DETECTOR_DEFAULTS,
    "least_rows": 100,
    "look_back_hours": 168,
}
WATCH_SPEC = SERVER | {
    "recipe": "device-anomaly",
    "model": "anomaly",
    "activation": "auto",
    "look_back_hours": 168,
    "spec": DETECTOR_DEFAULTS | {"channels": ["cpu_usage", "memory_usage_percent"], "alarm_rate": 0.005},
}
CALLED = {
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
    "anomalies": [CALLED],
}


NEXT_NIGHTS = [
    {"due_at": f"2026-10-{day}T00:00:00Z", "fires_at": f"2026-10-{day}T00:{late}Z"}
    for day, late in ((13, "04:31"), (14, "11:02"), (15, "07:45"), (16, "00:58"), (17, "13:20"))
]
PLANNED_NIGHTLY = {
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
NIGHT = {
    "due_at": "2026-10-13T00:00:00Z",
    "at": "2026-10-13T00:04:31.018224Z",
    "state": "fired",
    "reason": None,
    "error": None,
    "job": NIGHTLY,
    "entities": 412,
    "due": 37,
    "why": {"age_hours": 37, "under_way": 1},
    "passed_over": 0,
    "links": {"job": f"/api/v1/jobs/{NIGHTLY}"},
}


def _page(*rows: Any, more: bool = False) -> dict[str, Any]:
    return {"data": list(rows), "next_cursor": CURSOR if more else None}


def _taken(values: int, delivery: int) -> dict[str, Any]:
    return {"entity": "user-42", "accepted": values, "replaced": 0, "rejected": 0, "errors": [], "data_rev": delivery}


ROWS = [{"channel": "rhr", "at": "2026-10-11T06:00:00Z", "value": 57.0}, {"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58.0}]
MOVED = {
    "kind": "rollback",
    "from": "1.0.0",
    "to": "1.1.0",
    "reason": "it was not",
    "actor": ACTOR,
    "at": "2026-10-12T08:00:04.566703Z",
}
INSUFFICIENT = {
    "code": "insufficient_data",
    "status": 422,
    "title": "Not enough data",
    "cause": CATALOGUE["insufficient_data"].cause,
    "fix": "Send more observations; `requirements` says of what.",
    "retryable": False,
    "in_jobs_only": False,
}

_BESIDES: tuple[ModelError | Refusal, ...] = (
    invalid(
        fault("/horizon", "out_of_bounds", "Must be greater than or equal to 1 and less than or equal to 168."),
        fault("/levle", "unknown_field", "Unknown field."),
    ),
    InsufficientData(
        [
            Requirement("rhr.days", 12, 30, "day", met=False, eta="2026-10-31"),
            Requirement("window_rows", 12, 20, "row", met=False),
        ]
    ),
    InsufficientRecentData(
        "9 of the last 30 rows of rhr are known; the model reads 30 and needs half of them.",
        have=9,
        need=30,
        data_until="2026-10-12T06:00:00Z",
    ),
    FlatLine("rhr is 58 on all 42 rows.", channel="rhr"),
    FeatureMissing(
        "The model knows these ahead, and they have no value: day_off from 2026-10-13T06:00:00Z (7 of 7 steps). "
        "Store rows of them at these moments.",
        channels=["day_off"],
        available=["holiday"],
        missing={"day_off": [f"2026-10-{13 + n}T06:00:00Z" for n in range(7)]},
    ),
    ScenarioOutOfBounds(
        "Scenario 'more sleep' takes asleep_min to 520; learned from 400 to 460.", scenario="more sleep", out_of_support=[OUTSIDE]
    ),
    TrainingDiverged("The loss left the numbers in epoch 3; a lower learning rate may help.", epoch=3),
    ArtefactCorrupt("weights.safetensors has hash 5f1d0c2ab3e4…, not 9f2b9f2b9f2b….", file="weights.safetensors"),
    StorageFull("184320 bytes of an artefact could not be written: No space left on device.", bytes=184_320),
)
#: Problems that bring members of their own; of all others the document shows the catalogue's words.
PROBLEMS: Mapping[str, Mapping[str, Any]] = {error.code: problem(error.code, error.detail, **error.extra) for error in _BESIDES}


def _brief(**about: Any) -> dict[str, Any]:
    """What changes in the training while it runs, but for what is told about it."""
    names = ("id", "estimated_finish_at", "progress", "seq")
    return {name: QUEUED_TRAINING[name] for name in names} | {"state": "running", "rev": 2, "attempt": 1} | about


def _figures(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": 60, "train_loss": 0.5 / epoch, "val_loss": 0.6 / epoch, "best_epoch": epoch}


RESET = {"detail": "What happened meanwhile is not known any more; how the job stands now follows."}
ALL_FAILED = {"total": 1, "failed": 1}
ENDED_ITEM = {
    "job": SECOND_ITEM,
    "entity": "user-42",
    "target": "rhr",
    "state": "failed",
    "error": PROBLEMS["training_diverged"],
    "items": ALL_FAILED,
}
FAILED_BATCH = _batch(
    EVERYONE,
    1,
    kind="train",
    queue={"name": "train", "position": None},
    state="failed",
    terminal=True,
    rev=2,
    finished_at="2026-10-12T07:01:20.502Z",
    expires_at="2026-11-11T07:01:20.502Z",
    progress={"items": ALL_FAILED, "failures": [{"code": "training_diverged", "count": 1, "jobs": [SECOND_ITEM]}]},
    result=ALL_FAILED | {"succeeded": 0, "cancelled": 0, "has_failures": True},
    error=problem("batch_failed", "0 of 1 items succeeded; each item says why."),
)


def _stream(*events: tuple[str, str, Mapping[str, Any]]) -> str:
    """Events as they are sent: place, name and data of each."""
    return "".join(f"id: {place}\nevent: {event}\ndata: {json.dumps(data)}\n\n" for place, event, data in events)


RECEIPT = {
    "id": ERASURE,
    "entity_sha256": "1c7f" * 16,
    "erased_by": ACTOR,
    "request_id": "req_5b2f0c9e3a7b1d4c2e8a",
    "erased": {
        "entities": 1,
        "channels": 2,
        "observations": 82,
        "models": 1,
        "versions": 2,
        "activations": 4,
        "forecasts": 1,
        "jobs": 12,
        "idempotency_keys": 3,
        "artefacts": 2,
    },
    "erased_at": "2026-10-12T09:00:00.250000Z",
    "done_at": "2026-10-12T09:02:04.750000Z",
}
ENTRY = {
    "at": "2026-10-12T09:00:00.250000Z",
    "action": "entity.erased",
    "subject": ERASURE,
    "actor": ACTOR,
    "request_id": "req_5b2f0c9e3a7b1d4c2e8a",
    "about": {},
}
HERE = {"webhook_id": WEBHOOK}
LISTENED = ["job.succeeded", "job.failed", "model.activated"]
LISTENER: dict[str, Any] = {
    "id": WEBHOOK,
    "url": "https://backend.example/fleetcast",
    "types": LISTENED,
    "disabled_at": None,
    "disabled_reason": None,
    "created_at": "2026-10-12T08:00:00.125000Z",
}
SIGNED = {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD3n6Ls0yJt4k="}
TRIED = {
    "id": DELIVERY,
    "state": "pending",
    "attempt": 0,
    "next_at": "2026-10-12T08:01:30.500000Z",
    "tried_at": None,
    "status_code": None,
    "error": None,
    "delivered_at": None,
    "created_at": "2026-10-12T08:01:30.500000Z",
    "message": {
        "type": "webhook.test",
        "timestamp": "2026-10-12T08:01:30.500Z",
        "data": {"webhook": WEBHOOK, "links": {"self": f"/api/v1/webhooks/{WEBHOOK}"}},
    },
}
GIVEN_UP = TRIED | {
    "state": "failed",
    "attempt": 7,
    "next_at": None,
    "tried_at": "2026-10-13T01:40:12.020000Z",
    "status_code": 503,
    "error": "The answer was 503.",
}

EXAMPLES: tuple[Example, ...] = (
    Example("list_recipes", "The presets of this operator", answer={"data": [RECIPE], "detectors": [WATCHING]}),
    Example(
        "put_entity",
        "A person, with what is known of two channels",
        USER,
        body={
            "kind": "user",
            "attributes": {"country": "AT", "watch": "v3"},
            "channels": [
                {"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30, "upper_bound": 220},
                {"name": "asleep_min", "unit": "min", "direction": "higher"},
            ],
        },
        answer=PERSON | {"data_rev": 0, "channels": CHANNELS},
    ),
    Example(
        "post_observations",
        "Two values of one morning, as a phone sends them",
        USER,
        body={
            "observations": [
                {"channel": "rhr", "at": "2026-10-11T06:00:00Z", "value": 57},
                {"channel": "asleep_min", "at": "2026-10-11T06:00:00Z", "value": 431},
            ]
        },
        answer=_taken(2, 1),
    ),
    Example("post_observations", "Forty days of a history, as CSV", USER, body=FORTY_DAYS, media_type="text/csv", answer=_taken(80, 2)),
    Example(
        "post_observations",
        "A line for each row; the second one is wide",
        USER,
        body='{"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58}\n{"at": "2026-10-12T06:00:00Z", "asleep_min": 405}\n',
        media_type="application/x-ndjson",
        answer=_taken(2, 3),
    ),
    Example("get_entity", "What is known of a person", USER, answer=PERSON | {"channels": CHANNELS}),
    Example("list_entities", "People", query={"kind": "user", "limit": 2}, answer=_page(PERSON)),
    Example(
        "list_observations",
        "One channel over two days",
        USER,
        {"channel": "rhr", "from": "2026-10-11T00:00:00Z", "to": "2026-10-13T00:00:00Z"},
        answer=_page(*ROWS),
    ),
    Example(
        "list_observations",
        "The same as CSV",
        USER,
        {"channel": "rhr", "from": "2026-10-11T00:00:00Z"},
        {"Accept": "text/csv"},
        answer="at,channel,value\n2026-10-11T06:00:00Z,rhr,57.0\n2026-10-12T06:00:00Z,rhr,58.0\n",
        answer_type="text/csv",
    ),
    Example(
        "list_observations",
        "The same as lines of JSON",
        USER,
        {"channel": "rhr", "from": "2026-10-12T00:00:00Z"},
        {"Accept": "application/x-ndjson"},
        answer='{"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58.0}\n',
        answer_type="application/x-ndjson",
    ),
    Example(
        "get_readiness",
        "Whether a training would be accepted",
        USER,
        {"recipe": "health-daily", "target": "rhr"},
        answer={
            "entity": "user-42",
            "recipe": "health-daily",
            "target": "rhr",
            "ready": True,
            "requirements": [{"name": "rhr.days", "have": 42.0, "need": 30.0, "unit": "day", "met": True, "eta": None}],
        },
    ),
    Example(
        "train",
        "One person, by a recipe",
        headers={"Idempotency-Key": "train-user-42-rhr-1"},
        body={"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 60}, "metadata": {"client": "ios"}},
        status=202,
        answer=QUEUED_TRAINING,
    ),
    Example("get_job", "A training that succeeded", {"job_id": TRAINING}, {"wait": 0}, answer=DONE_TRAINING),
    Example(
        "watch_job",
        "The events of a training that succeeded",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream"},
        answer=_stream(("3-1022", "snapshot", DONE_TRAINING), ("3-1023", "end", DONE_TRAINING)),
        answer_type="text/event-stream",
    ),
    Example(
        "watch_job",
        "What was told after the first event, for a client that was cut off",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-1023"},
        answer=_stream(
            ("2-1023", "state", _brief()),
            ("2-2046", "metric", {"attempt": 1} | _figures(1)),
            ("2-2047", "progress", _brief(seq=1, progress={"phase": "fit", "fraction": 0.067} | _figures(1))),
            ("2-3071", "metric", {"attempt": 1} | _figures(2)),
            ("3-1023", "end", DONE_TRAINING),
        ),
        answer_type="text/event-stream",
    ),
    Example(
        "watch_job",
        "A Last-Event-ID after which nothing is known any more",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-7"},
        answer=_stream(("0-0", "reset", RESET), ("3-1022", "snapshot", DONE_TRAINING), ("3-1023", "end", DONE_TRAINING)),
        answer_type="text/event-stream",
    ),
    Example("get_result", "What the training brought", {"job_id": TRAINING}, answer={"job": TRAINING, "kind": "train", "result": TRAINED}),
    Example("list_models", "Models of a person", query={"entity": "user-42", "limit": 10}, answer=_page(LINEAGE)),
    Example("list_models_of", "The same by its path", USER, answer=_page(LINEAGE)),
    Example("get_model", "A model and who serves", {"model_id": MODEL}, answer=LINEAGE),
    Example("list_versions", "Its versions", {"model_id": MODEL}, answer=_page(VERSION)),
    Example("get_version", "The first version", {"model_id": MODEL, "semver": "1.0.0"}, answer=VERSION),
    Example(
        "predict",
        "Seven days ahead, queued",
        body={"entity": "user-42", "target": "rhr"},
        status=202,
        answer=_job(FORECAST),
    ),
    Example(
        "predict",
        "The same again: the answer is in hand",
        headers={"Prefer": "wait=10", "Idempotency-Key": "predict-user-42-rhr-1"},
        body={"entity": "user-42", "target": "rhr", "horizon": 7, "level": 0.9},
        answer=_job(FORECAST) | DONE | {"queue": {"name": "interactive", "position": None}, "result": {"forecast": FORETOLD}},
    ),
    Example("get_forecast", "The newest forecast", {"entity": "user-42", "target": "rhr"}, answer=FORETOLD | {"stale": False}),
    Example("get_accuracy", "What the forecasts were worth, seven weeks on", {"entity": "user-42", "target": "rhr"}, answer=HELD),
    Example(
        "what_if",
        "An hour more sleep in the last three nights, or eight hours in every night",
        headers={"Prefer": "wait=0", "Idempotency-Key": "what-if-user-42-1"},
        body={"entity": "user-42", "target": "rhr", "horizon": 7, "scenarios": SCENARIOS, "bounds": "warn"},
        status=202,
        answer=_job(
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
    Example(
        "backtest",
        "What a recipe would have forecast of the last mornings, trained anew in two places",
        headers={"Prefer": "wait=0", "Idempotency-Key": "backtest-user-42-1"},
        body={"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 60}, "folds": 2},
        status=202,
        answer=_backtest(HINDSIGHT, "train", recipe="health-daily", spec=SPEC, folds=2),
    ),
    Example(
        "get_result",
        "What it would have been worth",
        {"job_id": HINDSIGHT},
        answer={"job": HINDSIGHT, "kind": "backtest", "result": LOOKED_BACK},
    ),
    Example("get_chart", "The same, drawn", {"job_id": HINDSIGHT}, answer_type="image/svg+xml"),
    Example(
        "backtest",
        "How well the active version forecasts a span, part of which its training had",
        body={"entity": "user-42", "target": "rhr", "from": "2026-10-01T00:00:00Z"},
        status=202,
        answer=_backtest(HELD_OUT, "batch", **{"version": "1.0.0", "from": "2026-10-01T00:00:00Z"}),
    ),
    Example(
        "predict_batch",
        "Two targets of one person; each is an item",
        headers={"Idempotency-Key": "predict-batch-1"},
        body={"entities": ["user-42"], "targets": ["rhr", "asleep_min"], "horizon": 3},
        status=202,
        answer=_batch(BATCH, 2),
    ),
    Example(
        "list_items",
        "The first item of the batch",
        {"job_id": BATCH},
        {"state": "queued", "limit": 1},
        answer=_page(
            _job(
                ITEM,
                parent=BATCH,
                queue={"name": "batch", "position": None},
                spec={"entity": "user-42", "target": "rhr", "horizon": 3, "level": None, "version": None, "future": None},
            ),
            more=True,
        ),
    ),
    Example(
        "cancel_job",
        "The batch is not wanted any more",
        {"job_id": BATCH},
        answer=_batch(
            BATCH,
            2,
            state="cancelled",
            terminal=True,
            rev=3,
            finished_at="2026-10-12T07:00:01.238Z",
            expires_at="2026-11-11T07:00:01.238Z",
            progress={"items": {"total": 2, "cancelled": 2}},
            result={"total": 2, "succeeded": 0, "failed": 0, "cancelled": 2, "has_failures": False},
        ),
    ),
    Example(
        "retry_job",
        "It is wanted after all",
        {"job_id": BATCH},
        headers={"Idempotency-Key": "retry-1"},
        status=202,
        answer=_batch(RETRIED, 2, retry_of=BATCH),
    ),
    Example(
        "train",
        "Everyone whose sleep is known, in one batch",
        body={"selector": {"kind": "user", "has_channel": "asleep_min"}, "recipe": "health-daily", "target": "rhr"},
        status=202,
        answer=_batch(EVERYONE, 1, kind="train", queue={"name": "train", "position": None}),
    ),
    Example(
        "list_jobs",
        "What is under way",
        query={"state": "running", "limit": 1},
        answer=_page(_batch(EVERYONE, 1, kind="train", queue={"name": "train", "position": None}, progress={}), more=True),
    ),
    Example(
        "watch_job",
        "How the batch ended: no item succeeded",
        {"job_id": EVERYONE},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-1023"},
        answer=_stream(("2-2046", "item", ENDED_ITEM), ("2-2047", "end", FAILED_BATCH)),
        answer_type="text/event-stream",
    ),
    Example(
        "activate",
        "Back to the first version, if nobody moved the flag meanwhile",
        {"model_id": MODEL},
        headers={"If-Match": '"1.1.0"'},
        body={"version": "1.0.0", "reason": "better on the last weeks"},
        answer=VERSION,
    ),
    Example("rollback", "And back again", {"model_id": MODEL}, body={"reason": "it was not"}, answer=SECOND_VERSION),
    Example("list_activations", "Who moved the flag last", {"model_id": MODEL}, {"limit": 1}, answer=_page(MOVED, more=True)),
    Example("get_artefact", "The second version, to keep", {"model_id": MODEL, "semver": "1.1.0"}, answer_type="application/zip"),
    Example("delete_version", "The first version is not needed any more", {"model_id": MODEL, "semver": "1.0.0"}, status=204),
    Example(
        "post_observations",
        "Another person: forty days, and which days are off, the coming week included",
        OTHER,
        body=WITH_DAYS_OFF,
        media_type="text/csv",
        answer=_taken(87, 1) | {"entity": "user-43"},
    ),
    Example(
        "post_fleet_observations",
        "The last morning of two people, sent again by their gateway",
        body={
            "rows": [
                {"entity": "user-42", "at": "2026-10-12T06:00:00Z", "rhr": 58, "asleep_min": 405},
                {"entity": "user-43", "at": "2026-10-10T06:00:00Z", "rhr": 64},
            ]
        },
        answer={"entities": 2, "accepted": 3, "replaced": 3, "rejected": 0, "errors": []},
    ),
    Example(
        "post_fleet_observations",
        "A line for each row",
        body='{"entity": "user-42", "channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58}\n',
        media_type="application/x-ndjson",
        answer={"entities": 1, "accepted": 1, "replaced": 1, "rejected": 0, "errors": []},
    ),
    Example(
        "post_fleet_observations",
        "The same as CSV, with a row that cannot be taken",
        body="entity,at,rhr\nuser-42,2026-10-12T06:00:00Z,58\nuser-43,2026-10-10T06:00:00Z,high\n",
        media_type="text/csv",
        answer={
            "entities": 1,
            "accepted": 1,
            "replaced": 1,
            "rejected": 1,
            "errors": [{"pointer": "/line/3/rhr", "code": "wrong_type", "detail": "Not a valid number."}],
        },
    ),
    Example(
        "pretrain",
        "A base, learned from two people",
        headers={"Idempotency-Key": "resting-hearts-1"},
        body={"name": "resting-hearts", "entities": ["user-43", "user-42"], "recipe": "health-daily", "target": "rhr"},
        status=202,
        answer=_job(
            LEARNING,
            kind="pretrain",
            entity="resting-hearts",
            spec={
                "entity": "resting-hearts",
                "recipe": "health-daily",
                "target": "rhr",
                "entities": ["user-43", "user-42"],
                "activation": "auto",
                "look_back_hours": None,
                "spec": BASE_SPEC,
            },
            queue={"name": "train", "position": 0},
        ),
    ),
    Example("get_result", "What became of the base", {"job_id": LEARNING}, answer={"job": LEARNING, "kind": "pretrain", "result": LEARNED}),
    Example(
        "list_models",
        "The bases that there are",
        query={"kind": "base"},
        answer=_page(_lineage(BASE, "resting-hearts", BASE_VERSION) | {"kind": "base"}),
    ),
    Example(
        "train",
        "Start from the base: a few epochs are enough",
        body={
            "entity": "user-42",
            "recipe": "health-daily",
            "target": "rhr",
            "base": {"name": "resting-hearts"},
            "spec": {"epochs": 10, "learning_rate": 0.001},
        },
        status=202,
        answer=_job(
            STARTED,
            kind="train",
            spec=TRAIN_SPEC | {"base": {"model": BASE, "version": "1.0.0"}, "spec": BASE_SPEC | {"epochs": 10, "learning_rate": 0.001}},
            queue={"name": "train", "position": 0},
        ),
    ),
    Example(
        "import_base",
        "A network that was learned elsewhere, as a base",
        query={"name": "other-hearts", "activation": "auto"},
        body=ELSEWHERE,
        media_type="application/zip",
        status=201,
        answer=IMPORTED_VERSION,
    ),
    Example(
        "import_base",
        "The same once more is the same version",
        query={"name": "other-hearts"},
        body=ELSEWHERE,
        media_type="application/zip",
        answer=IMPORTED_VERSION,
    ),
    Example("get_result", "What its job tells", {"job_id": BROUGHT}, answer={"job": BROUGHT, "kind": "import", "result": TOLD}),
    Example(
        "train",
        "With what is known ahead: whether a day is off",
        body={"entity": "user-43", "recipe": "health-daily", "target": "rhr", "spec": {"future_covariates": ["day_off"]}},
        status=202,
        answer=_job(
            PLANNED,
            kind="train",
            entity="user-43",
            spec=TRAIN_SPEC | {"entity": "user-43", "spec": PLANNED_SPEC},
            queue={"name": "train", "position": 0},
        ),
    ),
    Example(
        "predict",
        "What if the coming week were otherwise off than was stored: its days are brought along",
        body={"entity": "user-43", "target": "rhr", "future": DAYS_OFF},
        status=202,
        answer=_job(
            SUPPOSED,
            entity="user-43",
            spec={"entity": "user-43", "target": "rhr", "horizon": 7, "level": 0.9, "version": None, "future": DAYS_OFF},
        ),
    ),
    Example(
        "what_if",
        "The next three days off, beside the week as it is stored; without the baseline in the answer",
        body={"entity": "user-43", "target": "rhr", "scenarios": [HOLIDAYS], "include_baseline": False},
        status=202,
        answer=_job(
            HOLIDAY,
            kind="what_if",
            entity="user-43",
            spec={
                "entity": "user-43",
                "target": "rhr",
                "horizon": 7,
                "level": 0.9,
                "version": None,
                "future": None,
                "scenarios": [HOLIDAYS],
                "bounds": "warn",
                "include_baseline": False,
            },
        ),
    ),
    Example(
        "post_observations",
        "Ten hours of a server, as CSV",
        SERVER,
        body=TEN_HOURS,
        media_type="text/csv",
        answer=_taken(240, 1) | SERVER,
    ),
    Example(
        "train_detector",
        "Learn what is usual of the server, and call one row in two hundred",
        headers={"Idempotency-Key": "watch-server-7-1"},
        body=SERVER | {"spec": {"alarm_rate": 0.005}},
        status=202,
        answer=_job(WATCHED, kind="anomaly_train", target=None, spec=WATCH_SPEC, queue={"name": "train", "position": 0}, **SERVER),
    ),
    Example(
        "detect_anomalies",
        "The last two hours",
        headers={"Prefer": "wait=0", "Idempotency-Key": "judge-server-7-1"},
        body=SERVER | {"hours": 2},
        status=202,
        answer=_job(
            JUDGED,
            kind="anomaly_detect",
            target=None,
            spec=SERVER | {"model": "anomaly", "version": None, "from": "2026-09-01T13:55:00Z", "to": None},
            **SERVER,
        ),
    ),
    Example("get_result", "What they held", {"job_id": JUDGED}, answer={"job": JUDGED, "kind": "anomaly_detect", "result": JUDGEMENT}),
    Example(
        "list_anomalies",
        "The newest critical one that was found",
        SERVER,
        {"severity": "critical", "limit": 1},
        answer=_page(CALLED | {"model": DETECTOR, "version": "1.0.0", "job": JUDGED, "found_at": "2026-10-12T07:20:11.204180Z"}),
    ),
    Example(
        "create_webhook",
        "Be told when jobs end and when another version serves",
        body={"url": "https://backend.example/fleetcast", "types": LISTENED},
        status=201,
        answer=LISTENER | SIGNED,
    ),
    Example("list_webhooks", "Who is told", answer=_page(LISTENER)),
    Example("get_webhook", "Look at one", HERE, answer=LISTENER),
    Example("rotate_secret", "A new secret; the old one signs beside it for a day", HERE, answer=LISTENER | SIGNED),
    Example("test_webhook", "A message that tells of nothing", HERE, answer=TRIED),
    Example("list_deliveries", "What was not taken", HERE, {"state": "failed", "limit": 1}, answer=_page(GIVEN_UP)),
    Example("enable_webhook", "The receiver is mended", HERE, answer=LISTENER),
    Example("replay_delivery", "Send it again", HERE | {"delivery_id": DELIVERY}, answer=TRIED),
    Example("delete_webhook", "Be told nothing more", HERE, status=204),
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
        answer=PLANNED_NIGHTLY | {"next_runs": NEXT_NIGHTS, "last_runs": []},
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
    Example("list_schedules", "Schedules", query={"limit": 1}, answer=_page(PLANNED_NIGHTLY, more=True)),
    Example("list_schedule_runs", "What became of it", {"schedule_id": SCHEDULE}, {"limit": 1}, answer=_page(NIGHT)),
    Example(
        "get_schedule",
        "What comes next, and what became of the last runs",
        {"schedule_id": SCHEDULE},
        answer=PLANNED_NIGHTLY | {"last_fired_at": "2026-10-13T00:04:31.018224Z", "next_runs": NEXT_NIGHTS, "last_runs": [NIGHT]},
    ),
    Example(
        "change_schedule",
        "Let it rest",
        {"schedule_id": SCHEDULE},
        body={"paused": True},
        answer=PLANNED_NIGHTLY | {"paused": True, "next_run": None, "next_runs": [], "last_runs": [NIGHT]},
    ),
    Example("delete_schedule", "It is not needed any more", {"schedule_id": SCHEDULE}, status=204),
    Example("healthz", "The process is alive", answer={"status": "alive"}),
    Example("readyz", "Everything is there", answer={"ready": True, "postgres": True, "redis": True, "migrations": True, "fix": None}),
    Example(
        "queues",
        "How full the queues are",
        answer={"data": [{"queue": "interactive", "queued": 0, "running": 0, "oldest_due_s": None}]},
    ),
    Example("get_metrics", "What Prometheus reads", answer="# HELP …\n# TYPE …\n", answer_type="text/plain"),
    Example("list_problems", "Every code", answer={"data": [INSUFFICIENT]}),
    Example("get_problem", "One code", {"code": "insufficient_data"}, answer=INSUFFICIENT),
    Example("delete_entity", "The person wants to be forgotten", USER, status=204),
    Example("list_erasures", "That they were", query={"limit": 1}, answer=_page(RECEIPT)),
    Example("get_erasure", "And whether every store has followed", {"erasure_id": ERASURE}, answer=RECEIPT),
    Example("list_audit", "Who did what", query={"limit": 1}, answer=_page(ENTRY, more=True)),
)
