"""The gate: a new version beside the one that serves, and whether it may become active by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ml.fitted import Case, Fitted
from ml.gate import compare, gate
from ml.recipes import Gate
from ml.trainer import prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY, climate, plainly, train, train_all

Pair = tuple[Fitted, series.Raw]
CLIMATE = HOURLY.override({"targets": ["temperature", "humidity"], "hidden_size": 8, "epochs": 4})


def case_of(pair: Pair) -> Case:
    fitted, raw = pair
    return prepare("one", raw, fitted.spec)


def rescored(fitted: Fitted, **changes: float | None) -> Fitted:
    """The same version with other scores of what serves, on both parts."""
    scores = {name: dict(parts) for name, parts in fitted.scores.items()}
    for part, found in scores[fitted.served_by].items():
        scores[fitted.served_by][part] = dataclasses.replace(found, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(fitted, scores=scores)


def test_a_version_compared_with_itself_is_even(shifted: Pair) -> None:
    fitted, _ = shifted
    found = compare(fitted, fitted, case_of(shifted))
    assert found["comparable"]
    assert found["ratio"] == 1.0
    assert found["incumbent"]["mae"] == pytest.approx(fitted.scores["blend"]["calibrate"].mae)
    assert not found["incumbent_saw"]


def test_a_worse_challenger_is_seen_to_be_worse(shifted: Pair) -> None:
    fitted, _ = shifted
    case = case_of(shifted)
    naive = plainly(fitted, "seasonal_naive")
    found = compare(fitted, naive, case)
    assert found["ratio"] > 1
    verdict = gate(naive, Gate(incumbent_tolerance=0.05), found)
    assert not verdict["passed"]
    assert [check["name"] for check in verdict["checks"] if not check["met"]] == ["incumbent_ratio"]


def test_versions_of_other_windows_and_horizons_compare_over_shared_steps(shifted: Pair) -> None:
    fitted, raw = shifted
    spec = HOURLY.override({"window": 12, "horizon": 2, "epochs": 1, "network": "seq2seq"})
    assert compare(fitted, train(raw, spec), prepare("one", raw, spec))["comparable"]


UNLIKE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a past covariate": ({"covariates": ["wind"]}, {}, "the incumbent reads wind"),
    "what is known ahead": ({"future_covariates": ["wind"]}, {}, "the incumbent reads wind"),
    "a mate": ({"targets": ["value", "wind"]}, {}, "the incumbent reads wind"),
    "another target": ({"targets": ["wind"], "covariates": ["value"]}, {"target": "wind"}, "the incumbent reads wind"),
    "a cadence": ({}, {"step": np.timedelta64(60_000, "ms")}, "the incumbent's cadence is 60 s"),
}


@pytest.mark.parametrize("how", UNLIKE)
def test_what_cannot_be_compared_says_why(shifted: Pair, how: str) -> None:
    fitted, _ = shifted
    change, fields, reason = UNLIKE[how]
    other = dataclasses.replace(fitted, spec=fitted.spec.override(change), **fields)
    found = compare(other, fitted, case_of(shifted))
    assert found == {"comparable": False, "reason": reason}
    assert gate(fitted, Gate(), found)["passed"]


def test_a_target_that_is_no_longer_forecast_is_not_compared() -> None:
    raw = climate(200)
    spec = CLIMATE.override({"targets": ["temperature"], "covariates": ["humidity"]})
    _, damp = train_all(raw, CLIMATE.override({"epochs": 1}))
    assert compare(damp, train(raw, spec), prepare("one", raw, spec))["reason"] == "the incumbent forecasts humidity"


def test_each_target_of_a_network_is_compared_by_its_own_rows() -> None:
    raw = climate(200)
    case = prepare("one", raw, CLIMATE)
    for fitted in train_all(raw, CLIMATE):
        found = compare(fitted, fitted, case)
        assert found["ratio"] == 1.0
        assert found["challenger"]["mae"] == pytest.approx(fitted.scores[fitted.served_by]["calibrate"].mae)


def test_an_incumbent_of_one_target_is_compared_with_a_network_of_several() -> None:
    """On the column of its own target, which is the second one there."""
    raw = climate(200)
    alone = train(raw, CLIMATE.override({"targets": ["humidity"]}))
    _, damp = train_all(raw, CLIMATE)
    found = compare(alone, damp, prepare("one", raw, CLIMATE))
    assert found["incumbent"]["mae"] == pytest.approx(alone.scores[alone.served_by]["calibrate"].mae)
    assert found["challenger"]["mae"] == pytest.approx(damp.scores[damp.served_by]["calibrate"].mae)


def test_what_an_incumbent_knew_ahead_it_knows_when_compared(sales: Pair) -> None:
    fitted, raw = sales
    blind = train(raw, fitted.spec.override({"future_covariates": [], "covariates": ["promo"], "epochs": 2}))
    found = compare(fitted, blind, prepare("one", raw, blind.spec))
    assert found["incumbent"]["mae"] == pytest.approx(fitted.scores[fitted.served_by]["calibrate"].mae)


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
