"""What a hostile client may send: for every write route a good body with every field in it, and the values that no such field may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: A parameter in a rule of Flask's.
PARAMETER = r"<(?:\w+:)?(\w+)>"
AT = "2026-02-01T06:00:00Z"
Steps = tuple[str | int, ...]

SPEC = {
    "covariates": ["hrv"],
    "future_covariates": ["day_off"],
    "rolling": [7],
    "available": "worn",
    "positive": True,
    "network": "lstm",
    "window": 7,
    "horizon": 7,
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.1,
    "epochs": 3,
    "patience": 2,
    "batch_size": 16,
    "learning_rate": 0.001,
    "loss": "huber",
    "split": {"fit": 0.6, "stop": 0.1, "calibrate": 0.15, "test": 0.15},
    "level": 0.9,
    "fill_limit": 2,
    "cadence_s": 86400.0,
    "seed": 7,
}
DETECTOR_SPEC = {
    "trees": 20,
    "sample_size": 64,
    "alarm_rate": 0.01,
    "critical_rate": 0.0005,
    "held_back": 0.25,
    "memory": 1_000,
    "short": 3,
    "medium": 9,
    "long": 30,
    "seasons": 3,
    "quiet": 5,
    "fill_limit": 2,
    "cadence_s": 86400.0,
    "seed": 7,
}
OWN = {"client": {"name": "ios", "tags": ["a"]}}
CHANGE = {"channel": "rhr", "op": "add", "value": 1.5, "steps": {"last": 3}}
#: Version 1.1.0 of the model of `u` knows this channel ahead.
AHEAD = {"day_off": [0.5, 1.5, 0.5, 0.5, 1.5, 0.5, 0.5]}


@dataclass(frozen=True)
class Write:
    """A write route of the app and good requests of it. Paths are below /api/v1."""

    path: str
    bodies: tuple[Mapping[str, Any], ...] = ()
    #: Members whose inside is the client's own, or that name things which the request itself makes.
    free: frozenset[str] = field(default=frozenset({"metadata", "attributes"}))


#: Every write route, by method and rule. A route that is missing here fails its test.
WRITES: Mapping[tuple[str, str], Write] = {
    ("PUT", "/entities/<name:entity>"): Write(
        "/entities/new",
        (
            {
                "kind": "user",
                "attributes": OWN,
                "channels": [{"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30.5, "upper_bound": 200.5}],
            },
        ),
    ),
    ("DELETE", "/entities/<name:entity>"): Write("/entities/u"),
    ("POST", "/entities/<name:entity>/observations"): Write(
        "/entities/new/observations",
        ({"observations": [{"channel": "rhr", "at": AT, "value": 58.5}]}, {"rows": [{"at": AT, "rhr": 58.5}]}),
        free=frozenset({"rows"}),
    ),
    ("POST", "/observations"): Write(
        "/observations",
        (
            {"observations": [{"entity": "new", "channel": "rhr", "at": AT, "value": 58.5}]},
            {"rows": [{"entity": "new", "at": AT, "rhr": 58.5}]},
        ),
        free=frozenset({"rows"}),
    ),
    ("POST", "/models/train"): Write(
        "/models/train",
        (
            {
                "entity": "u",
                "recipe": "health-daily",
                "target": "rhr",
                "model": "mine",
                "spec": SPEC,
                "activation": "auto",
                "look_back_hours": 10_000.5,
                "source": "stored",
                "metadata": OWN,
            },
            {"entities": ["u"], "recipe": "health-daily"},
            {"selector": {"kind": "user", "has_channel": "rhr", "attributes": OWN}, "recipe": "health-daily"},
            {"entity": "u", "recipe": "health-daily", "base": {"model": "{model}", "version": "1.0.0"}},
            {"entity": "u", "recipe": "health-daily", "base": {"name": "hearts", "version": "1.0.0"}},
        ),
    ),
    ("POST", "/models/pretrain"): Write(
        "/models/pretrain",
        (
            {
                "name": "hearts",
                "entities": ["u", "v"],
                "recipe": "health-daily",
                "target": "rhr",
                "spec": SPEC,
                "activation": "auto",
                "look_back_hours": 10_000.5,
                "source": "stored",
                "metadata": OWN,
            },
            {"name": "hearts", "selector": {"kind": "user", "has_channel": "rhr", "attributes": OWN}, "recipe": "health-daily"},
        ),
    ),
    # Its body is no JSON: tests/integration/webapp/test_imports.py has what a hostile one may hold.
    ("POST", "/models/import"): Write("/models/import"),
    ("POST", "/predict"): Write(
        "/predict",
        (
            {
                "entity": "u",
                "target": "rhr",
                "horizon": 3,
                "level": 0.75,
                "version": "1.0.0",
                "future": {},
                "source": "stored",
                "sink": None,
                "metadata": OWN,
            },
            {"entity": "u", "target": "rhr", "horizon": 3, "version": "1.1.0", "future": AHEAD},
        ),
    ),
    ("POST", "/predict/batch"): Write(
        "/predict/batch",
        (
            {"entities": ["u"], "targets": ["rhr"], "horizon": 3, "level": 0.75, "source": "stored", "sink": None, "metadata": OWN},
            {"entity": "u", "targets": ["rhr"]},
            {"selector": {"kind": "user", "has_channel": "rhr", "attributes": OWN}, "targets": ["rhr"]},
        ),
    ),
    ("POST", "/predict/what-if"): Write(
        "/predict/what-if",
        (
            {
                "entity": "u",
                "target": "rhr",
                "horizon": 3,
                "level": 0.75,
                "version": "1.0.0",
                "scenarios": [{"name": "s", "changes": [CHANGE]}],
                "bounds": "warn",
                "include_baseline": True,
                "source": "stored",
                "metadata": OWN,
            },
            {
                "entity": "u",
                "target": "rhr",
                "horizon": 3,
                "version": "1.1.0",
                "future": AHEAD,
                "scenarios": [{"name": "s", "changes": [CHANGE | {"channel": "day_off", "steps": {"future": 3}}]}],
            },
        ),
    ),
    ("POST", "/backtests"): Write(
        "/backtests",
        (
            {
                "entity": "u",
                "target": "rhr",
                "recipe": "health-daily",
                "spec": SPEC,
                "folds": 2,
                "look_back_hours": 10_000.5,
                "source": "stored",
                "metadata": OWN,
            },
            {"entity": "u", "target": "rhr", "version": "1.0.0", "from": "2026-01-10T00:00:00Z", "to": "2026-03-20T00:00:00Z"},
        ),
    ),
    ("POST", "/anomalies/train"): Write(
        "/anomalies/train",
        (
            {
                "entity": "u",
                "recipe": "device-anomaly",
                "channels": ["cpu_usage"],
                "model": "anomaly",
                "spec": DETECTOR_SPEC,
                "activation": "auto",
                "look_back_hours": 10_000.5,
                "source": "stored",
                "metadata": OWN,
            },
        ),
    ),
    ("POST", "/anomalies/detect"): Write(
        "/anomalies/detect",
        (
            {"entity": "u", "model": "anomaly", "version": "1.0.0", "hours": 48.5, "source": "stored", "metadata": OWN},
            {"entity": "u", "from": "2026-01-10T00:00:00Z", "to": "2026-03-20T00:00:00Z"},
        ),
    ),
    # A template is checked as the body of its own route, by the same schema.
    ("POST", "/schedules"): Write(
        "/schedules",
        (
            {
                "name": "nightly",
                "cron": "30 2 * * 1-5",
                "time_zone": "Europe/Vienna",
                "window": {"from": "23:30", "to": "05:00"},
                "jitter_s": 600,
                "missed": "skip",
                "paused": True,
                "template": {"train": {"entities": ["u"], "recipe": "health-daily", "metadata": OWN}},
                "when": {"age_hours": 24.5, "new_rows": 7, "drift": "warning", "accuracy": {"worse_than": 1.5}},
            },
            {"name": "a base", "every_s": 86_400, "template": {"pretrain": {"name": "hearts", "selector": {}, "recipe": "health-daily"}}},
            {"name": "a day", "every_s": 86_400, "template": {"predict": {"selector": {"kind": "user"}, "targets": ["rhr"]}}},
            {"name": "a look", "every_s": 86_400, "template": {"backtest": {"entity": "u", "target": "rhr"}}},
            {"name": "a watch", "every_s": 86_400, "template": {"anomaly_train": {"entity": "u"}}},
            {"name": "an alarm", "every_s": 86_400, "template": {"anomaly_detect": {"entity": "u"}}},
        ),
        free=frozenset({"metadata", "train", "pretrain", "predict", "backtest", "anomaly_train", "anomaly_detect"}),
    ),
    ("PATCH", "/schedules/<schedule_id>"): Write("/schedules/{schedule}", ({"paused": True},)),
    ("DELETE", "/schedules/<schedule_id>"): Write("/schedules/{schedule}"),
    ("POST", "/models/<model_id>/activate"): Write("/models/{model}/activate", ({"version": "1.0.0", "reason": "because"},)),
    ("POST", "/models/<model_id>/rollback"): Write("/models/{model}/rollback", ({"reason": "because"},)),
    ("DELETE", "/models/<model_id>/versions/<semver>"): Write("/models/{model}/versions/1.0.0"),
    ("POST", "/webhooks"): Write("/webhooks", ({"url": "https://backend.example/", "types": ["job.succeeded", "model.activated"]},)),
    **{("POST", f"/webhooks/<webhook_id>/{word}"): Write(f"/webhooks/{{webhook}}/{word}") for word in ("enable", "rotate", "test")},
    ("POST", "/webhooks/<webhook_id>/deliveries/<delivery_id>/replay"): Write("/webhooks/{webhook}/deliveries/{delivery}/replay"),
    ("DELETE", "/webhooks/<webhook_id>"): Write("/webhooks/{webhook}"),
    ("POST", "/jobs/<job_id>/cancel"): Write("/jobs/{job}/cancel"),
    ("POST", "/jobs/<job_id>/retry"): Write("/jobs/{job}/retry"),
}

#: JSON texts that are refused wherever they stand, with the status.
ANYWHERE: Mapping[str, tuple[bytes, int]] = {
    "NaN": (b"NaN", 400),
    "Infinity": (b"Infinity", 400),
    "-Infinity": (b"-Infinity", 400),
    "an integer of 5,000 digits": (b"9" * 5_000, 400),
    "10,000 lists": (b"[" * 10_000 + b"]" * 10_000, 400),
    "10,000 objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    "300 lists": (b"[" * 300 + b"]" * 300, 422),
    "300 objects": (b'{"a":' * 300 + b"1" + b"}" * 300, 422),
    "a key twice": (b'{"a": 1, "a": 1}', 400),
    "not UTF-8": (b'"\xff"', 400),
    "an encoded surrogate": (b'"\xed\xa0\x80"', 400),
    "a raw NUL": (b'"\0"', 400),
    "NUL": (b'"\\u0000"', 422),
    "a lone surrogate": (b'"\\ud800"', 422),
    "a surrogate pair the wrong way round": (b'"\\udc00\\ud800"', 422),
    "1e400": (b"1e400", 422),
    "NUL in a key": (b'{"\\u0000": 1}', 422),
    "a lone surrogate in a key": (b'{"\\udfff": 1}', 422),
}
#: Values of another type, by the type of the good value.
OTHERS: Mapping[type, tuple[Any, ...]] = {
    str: (True, False, 0, 1, 1.5, [], {}, ["x"], {"a": 1}, "x" * 100_000, "\x1b", "\x9f"),
    int: (True, False, "5", "", 1.5, [], {}, [1], 10**19, -(10**19), 2**53 + 1),
    float: (True, False, "0.9", "", [], {}, [0.9], 10**400),
    bool: (0, 1, 0.0, 1.5, "true", "", [], {}),
    list: (True, 0, 1.5, "x", "", {}, {"0": "x"}),
    dict: (True, 0, 1.5, "x", "", [], [{}]),
    type(None): (True, False, 0, 1.5, [], {}, ["x"]),  # a name that may be left out
}
#: Texts that are no moment.
NO_MOMENTS = (
    "",
    "yesterday",
    "0000-01-01",
    "10000-01-01",
    "99999-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "1899-12-31T23:59:59Z",
    "2200-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-13-01",
    "2026-02-30",
    "2026-01-01T25:00:00Z",
    "2026-01-01T00:00:61Z",
    "2026-01-01T00:00:00+99:99",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01\x0000:00:00",
    "2026-01-01\ud80000:00:00",
    "2026-01-01🦊00:00:00",
    "２０２６-01-01T00:00:00Z",
    "1767225600",
    "NaN",
    "now",
    "2026-01-01T00:00:00Z; DROP TABLE jobs",
)


def about(body: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """A good body with the ids that it leaves open."""
    text = json.dumps(body)
    for name, real in names.items():
        text = text.replace(f"{{{name}}}", real)
    return json.loads(text)


def nodes(value: Any, free: frozenset[str], steps: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Everything in a body below its root, except what is the client's own."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, member in inner:
        yield (*steps, step), member
        if step not in free:
            yield from nodes(member, free, (*steps, step))


def replaced(value: Any, steps: Steps, by: Any) -> Any:
    """The body with another value at one place."""
    if not steps:
        return by
    if isinstance(value, list):
        return [replaced(inner, steps[1:], by) if n == steps[0] else inner for n, inner in enumerate(value)]
    return {key: replaced(inner, steps[1:], by) if key == steps[0] else inner for key, inner in value.items()}


def written(body: Any, steps: Steps, raw: bytes) -> bytes:
    """The body as JSON, with a text at one place that no JSON writer would write."""
    return json.dumps(replaced(body, steps, "@@")).encode().replace(b'"@@"', raw)
