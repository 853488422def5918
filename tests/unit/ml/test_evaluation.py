"""Judging: who serves, how often intervals hold, and which version may become active."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ml.evaluation import compare, gate, judge
from ml.fitted import Case, Fitted
from ml.metrics import Scores
from ml.networks import DirectLstm
from ml.recipes import Gate
from ml.trainer import Course, fit, prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY, Diary, train

Pair = tuple[Fitted, series.Raw]


def case_of(pair: Pair) -> Case:
    fitted, raw = pair
    return prepare("one", raw, fitted.spec)


def untrained(case: Case) -> DirectLstm:
    return Course(case, Diary(), "cpu").best_network()


def rescored(fitted: Fitted, **changes: float | None) -> Fitted:
    """The same version with other scores of what serves, on both parts."""
    scores = {name: dict(parts) for name, parts in fitted.scores.items()}
    for part, found in scores[fitted.served_by].items():
        scores[fitted.served_by][part] = dataclasses.replace(found, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(fitted, scores=scores)


def test_a_random_walk_is_served_by_persistence(walk: Pair) -> None:
    fitted, _ = walk
    assert "baseline_serves" in [found["code"] for found in fitted.warnings]
    test = fitted.scores["persistence"]["test"]
    assert test.skill == 0
    assert test.coverage is not None


def test_a_seasonal_series_beats_the_last_value() -> None:
    fitted = train(series.seasonal(800), HOURLY.override({"epochs": 20}))
    lstm, last = (fitted.scores[name]["test"].mae for name in ("lstm", "persistence"))
    assert lstm is not None
    assert last is not None
    assert lstm < 0.5 * last


def test_every_forecaster_is_scored_on_the_same_pairs(shifted: Pair) -> None:
    fitted, _ = shifted
    for part in ("calibrate", "test"):
        assert len({parts[part].n for parts in fitted.scores.values()}) == 1
    assert set(fitted.scores) == {"lstm", "persistence", "seasonal_naive"}


def test_only_what_serves_has_intervals_scored(shifted: Pair) -> None:
    fitted, _ = shifted
    assert fitted.scores["lstm"]["test"].coverage is not None
    assert fitted.scores["lstm"]["test"].winkler is not None
    assert fitted.scores["persistence"]["test"].coverage is None


@pytest.mark.parametrize("seed", range(3))
def test_measured_coverage_is_near_nominal(seed: int) -> None:
    """Trap T10: intervals are held against rows they have not seen."""
    fitted = train(series.seasonal(1_500, noise=0.3, seed=seed), HOURLY.override({"epochs": 10}))
    for level in (0.8, 0.9, 0.95):
        measured = fitted.intervals.measured(level)
        assert measured is not None
        assert abs(measured - level) < 0.08
    assert fitted.scores[fitted.served_by]["test"].coverage == fitted.intervals.measured(0.9)


def test_an_untrained_network_does_not_serve_whatever_its_scores() -> None:
    case = prepare("one", series.level_shift(400), HOURLY)
    assert judge(case, untrained(case), trained=False).served_by in ("persistence", "seasonal_naive")


def test_too_few_rows_to_judge_are_served_by_a_baseline_and_said() -> None:
    case = prepare("one", series.health(60), HOURLY.override({"targets": ["rhr"], "horizon": 2, "cadence_s": 86_400}))
    found = judge(case, untrained(case), trained=True)
    assert found.served_by == "persistence"
    assert {"too_few_to_judge"} <= {warning["code"] for warning in found.warnings}


def test_few_rows_pool_their_residuals_and_say_so() -> None:
    spec = HOURLY.override({"horizon": 7, "cadence_s": 86_400, "epochs": 2, "level": 0.95})
    fitted = train(series.one(60 + np.random.default_rng(0).standard_normal(30), series.DAY_S), spec)
    assert "intervals_pooled" in [found["code"] for found in fitted.warnings]


def test_judging_gives_signs_of_life() -> None:
    case, beats = prepare("one", series.seasonal(300), HOURLY), []
    judge(case, untrained(case), trained=True, alive=lambda: beats.append(1))
    assert beats


def test_a_version_compared_with_itself_is_even(shifted: Pair) -> None:
    fitted, _ = shifted
    found = compare(fitted, fitted, case_of(shifted))
    assert found["comparable"]
    assert found["ratio"] == 1.0
    assert found["incumbent"]["mae"] == pytest.approx(fitted.scores["lstm"]["calibrate"].mae)
    assert not found["incumbent_saw"]


def test_a_worse_challenger_is_seen_to_be_worse(shifted: Pair) -> None:
    fitted, _ = shifted
    case = case_of(shifted)
    naive = dataclasses.replace(fitted, served_by="seasonal_naive")
    found = compare(fitted, naive, case)
    assert found["ratio"] > 1
    verdict = gate(naive, Gate(incumbent_tolerance=0.05), found)
    assert not verdict["passed"]
    assert [check["name"] for check in verdict["checks"] if not check["met"]] == ["incumbent_ratio"]


def test_versions_of_other_windows_and_horizons_compare_over_shared_steps(shifted: Pair) -> None:
    fitted, raw = shifted
    case = prepare("one", raw, HOURLY.override({"window": 12, "horizon": 2, "epochs": 1}))
    [other] = fit([case], case.spec, Diary())
    assert other is not None
    assert compare(fitted, other, case)["comparable"]


@pytest.mark.parametrize(("change", "reason"), [({"covariates": ("wind",)}, "reads wind"), ({"targets": ("wind",)}, "reads wind")])
def test_what_cannot_be_compared_says_why(shifted: Pair, change: dict[str, tuple[str, ...]], reason: str) -> None:
    fitted, _ = shifted
    other = dataclasses.replace(fitted, spec=fitted.spec.override(change))
    found = compare(other, fitted, case_of(shifted))
    assert not found["comparable"]
    assert reason in found["reason"]
    assert gate(fitted, Gate(), found)["passed"]


def test_an_incumbent_of_another_cadence_is_not_compared(shifted: Pair) -> None:
    fitted, _ = shifted
    other = dataclasses.replace(fitted, step=np.timedelta64(60_000, "ms"))
    assert "cadence" in compare(other, fitted, case_of(shifted))["reason"]


@pytest.mark.parametrize(("skill", "need", "passed"), [(0.2, 0.0, True), (0.2, 0.3, False), (0.0, 0.0, True), (None, 0.0, False)])
def test_the_gate_asks_for_skill(shifted: Pair, skill: float | None, need: float, passed: bool) -> None:
    fitted, _ = shifted
    verdict = gate(rescored(fitted, skill=skill), Gate(min_skill=need))
    assert verdict["passed"] is passed
    assert verdict["checks"] == [{"name": "skill", "have": skill, "need": need, "met": passed}]


def test_a_serving_baseline_passes_a_gate_that_asks_for_no_skill(walk: Pair) -> None:
    fitted, _ = walk
    assert gate(fitted, Gate())["passed"]
    assert not gate(fitted, Gate(min_skill=0.05))["passed"]


@pytest.mark.parametrize(
    ("r2", "mape", "ready"), [(0.6, 10.0, True), (0.5, 10.0, False), (0.6, 15.0, False), (None, 10.0, False), (0.6, None, False)]
)
def test_production_ready_is_a_label_and_decides_nothing(shifted: Pair, r2: float | None, mape: float | None, ready: bool) -> None:
    fitted, _ = shifted
    verdict = gate(rescored(fitted, r2=r2, mape=mape), Gate(production_r2=0.5, production_mape=15.0))
    assert verdict["production_ready"] is ready
    assert verdict["passed"]


def test_recipes_without_thresholds_have_no_label(shifted: Pair) -> None:
    fitted, _ = shifted
    assert gate(fitted, Gate())["production_ready"] is None


def test_scores_as_json() -> None:
    assert Scores(n=0).as_dict()["mae"] is None
