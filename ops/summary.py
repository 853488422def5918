"""What a night brought: counts, reasons and figures, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from db.models import SUCCEEDED, Job

#: Problems that lie in the data of an entity: it is passed over, and nothing has gone wrong.
SKIPPED = ("insufficient_data", "insufficient_recent_data", "flatline_detected", "feature_missing")
#: Entities that people are told of by name, for each reason.
SHOWN = 5

Items = Mapping[str, Job]


def of(
    recipe: str, names: Sequence[str], base: str | None, sink: str | None, trained: Items, predicted: Items, seconds: float
) -> dict[str, Any]:
    """`succeeded` says whether all is well: something came out, and nothing failed."""
    forecasts = [item for item in predicted.values() if item.state == SUCCEEDED]
    skipped, failed = _left_out(trained, predicted)
    return {
        "succeeded": bool(forecasts) and not failed,
        "recipe": recipe,
        "base": base,
        "sink": sink,
        "entities": len(names),
        "trained": sum(item.state == SUCCEEDED for item in trained.values()),
        "forecasts": len(forecasts),
        "rows": sum((item.result or {}).get("sink", {}).get("rows", 0) for item in forecasts),
        "skipped": skipped,
        "failed": failed,
        **_figures(item.result or {} for item in trained.values() if item.state == SUCCEEDED),
        "seconds": round(seconds, 1),
    }


def _left_out(trained: Items, predicted: Items) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Skipped and failed, each with its step and its problem."""
    skipped: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    for step, items in (("train", trained), ("predict", predicted)):
        for name, item in items.items():
            if item.state != SUCCEEDED:
                error = item.error or {"code": item.state, "detail": ""}
                told = {"entity": name, "step": step, "code": error["code"], "detail": error["detail"]}
                (skipped if error["code"] in SKIPPED else failed).append(told)
    return skipped, failed


def _figures(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How good the new versions are on rows never learned from: medians, for a few odd entities must not hide the others."""
    served, active, scores = Counter[str](), 0, []
    for result in results:
        served[result["served_by"]] += 1
        active += result["active"]
        scores.append(result["metrics"][result["served_by"]]["test"])
    about = {name: [score[name] for score in scores if score[name] is not None] for name in ("skill", "mase", "coverage")}
    return {"active": active, "served_by": dict(served), **{f"median_{name}": _median(found) for name, found in about.items()}}


def _median(found: Sequence[float]) -> float | None:
    return round(median(found), 4) if found else None


def text(told: Mapping[str, Any]) -> str:
    """As people read it."""
    base = "from no base" if told["base"] is None else f"from the base {told['base']}"
    sink = "into our own table alone" if told["sink"] is None else f"{told['rows']} rows into {told['sink']}"
    lines = [
        f"{told['recipe']}: {told['trained']} of {told['entities']} entities trained {base}, {_active(told)}",
        f"{told['forecasts']} forecast, {sink}, in {told['seconds']:g} s",
        ", ".join(f"median {name} {told[f'median_{name}']}" for name in ("skill", "mase", "coverage")) + f"; served by {_counted(told)}",
    ]
    return "\n".join([*lines, *_reasons("skipped", told["skipped"]), *_reasons("FAILED", told["failed"])])


def _active(told: Mapping[str, Any]) -> str:
    """A version that is no better than what serves is kept, and does not serve."""
    others = "" if told["active"] == told["trained"] else "; where a new one is not, the version before goes on forecasting"
    return f"{told['active']} of the versions active{others}"


def _counted(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(told["served_by"].items())) or "nobody"


def _reasons(word: str, left_out: Sequence[Mapping[str, str]]) -> list[str]:
    """One line for each step and problem, with the first few entities."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in left_out:
        reasons.setdefault((each["step"], each["code"]), []).append(each["entity"])
    return [f"{word} {len(names)} at {step}, {code}: {_some(names)}" for (step, code), names in reasons.items()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
