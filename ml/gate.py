"""The mind's gate: may a new version become active by itself? It is compared with the incumbent on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ml.answers import origins_of, served, silent
from ml.features import calendar
from ml.fitted import Case, Fitted
from ml.metrics import score
from ml.recipes import Gate
from ml.series import moment
from ml.windows import futures


def compare(incumbent: Fitted, challenger: Fitted, case: Case, alive: Callable[[], None] = silent) -> dict[str, Any]:
    """Both as they serve, on the same rows: the challenger's calibrate part, over the steps both forecast.

    `ratio` is challenger / incumbent mean absolute error. `comparable` is False, with a `reason`, where the incumbent reads channels the
    case does not hold or another cadence. `incumbent_saw` says that the incumbent had learned from some of these rows.
    `alive` is called every second or so.
    """
    reason = _incomparable(incumbent, case)
    if reason:
        return {"comparable": False, "reason": reason}
    ours, steps = origins_of(case, case.parts.calibrate).of(challenger.column), min(incumbent.spec.horizon, challenger.spec.horizon)
    both = ours.rows >= incumbent.spec.window - 1
    rows, counted = ours.rows[both], ours.counted[both, :steps]
    truth = futures(case.targets[:, [challenger.column]], rows, steps)[:, 0]
    new = served(challenger, case, rows, alive)[:, :steps]
    old = served(incumbent, _as_case(incumbent, case), rows, alive)[:, :steps]
    have, had = score(truth, new, counted, None).mae, score(truth, old, counted, None).mae
    if have is None or had is None:
        return {"comparable": False, "reason": "no held-back row can be forecast by both"}
    start = case.series.times[case.parts.calibrate.start]
    return {
        "comparable": True,
        "rows": int(counted.any(axis=1).sum()),
        "challenger": {"mae": have, "served_by": challenger.served_by},
        "incumbent": {"mae": had, "served_by": incumbent.served_by},
        "ratio": have / had if had > 0 else (1.0 if have == 0 else None),
        "incumbent_saw": incumbent.fit_until > moment(start),
    }


def gate(fitted: Fitted, need: Gate, comparison: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """May this version become active by itself? Skill on the calibrate part, and not much worse than the incumbent on the same rows.

    `production_ready` is a label from the test part, and decides nothing; None for recipes that state no thresholds.
    """
    # A serving baseline is the best one by definition, whatever the few calibrate rows say.
    skill = fitted.scores[fitted.served_by]["calibrate"].skill if fitted.by_network else 0.0
    checks = [_check("skill", skill, need.min_skill, met=skill is not None and skill >= need.min_skill)]
    if comparison is not None and comparison["comparable"]:
        most = 1 + need.incumbent_tolerance
        ratio = comparison["ratio"]
        checks.append(_check("incumbent_ratio", ratio, most, met=ratio is not None and ratio <= most))
    return {"passed": all(check["met"] for check in checks), "checks": checks, "production_ready": _production_ready(fitted, need)}


def _check(name: str, have: float | None, need: float, *, met: bool) -> dict[str, Any]:
    return {"name": name, "have": have, "need": need, "met": met}


def _production_ready(fitted: Fitted, need: Gate) -> bool | None:
    if need.production_r2 is None or need.production_mape is None:
        return None
    test = fitted.scores[fitted.served_by]["test"]
    if test.r2 is None or test.mape is None:
        return False
    return test.r2 > need.production_r2 and test.mape < need.production_mape


def _incomparable(incumbent: Fitted, case: Case) -> str | None:
    absent = [name for name in incumbent.spec.inputs if name not in case.series.channels]
    if absent:
        return f"the incumbent reads {', '.join(absent)}"
    if incumbent.target not in case.spec.targets:
        return f"the incumbent forecasts {incumbent.target}"
    if incumbent.step != case.series.step:
        return f"the incumbent's cadence is {incumbent.step_s:g} s"
    return None


def _as_case(incumbent: Fitted, case: Case) -> Case:
    """The same rows as the incumbent sees them."""
    values, season = case.series.matrix(incumbent.spec.inputs), incumbent.season
    phases = calendar(case.series.until(incumbent.spec.horizon), season)
    return replace(case, spec=incumbent.spec, scaler=incumbent.scaler, season=season, values=values, phases=phases)
