"""Backtests: nothing from behind a cut is read, the figures are those of a computation by hand, and folds are cut where they should be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml import backtest as room
from ml.backtest import Backtest, of_recipe, of_version, spans
from ml.baselines import NAIVE
from ml.errors import InsufficientData, TrainingDiverged, UnusableData
from ml.fitted import Fitted
from ml.readiness import backtest_rows, least_rows
from ml.rehearsal import NothingToScore
from ml.spec import ModelSpec
from tests.support import series
from tests.unit.ml.doubles import HOURLY, Diary, climate, plainly, promoted, purely, train

TINY = HOURLY.override({"window": 6, "horizon": 3, "hidden_size": 8, "epochs": 1})
SHORT = series.seasonal(120, noise=0.3)


def backtested(raw: series.Raw, spec: ModelSpec = TINY, folds: int = 3) -> Backtest:
    found = of_recipe("one", raw, spec, folds, Diary())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def short() -> Backtest:
    return backtested(SHORT)


def only(kept: Any, raw: series.Raw = SHORT) -> series.Raw:
    """Some of the rows."""
    return {name: (times[kept], values[kept]) for name, (times, values) in raw.items()}


def told(found: Backtest, target: str = "value") -> list[Mapping[str, Any]]:
    return [fold.as_dict() for fold in found.folds[target]]


# Where folds are cut


@given(st.integers(30, 400), st.integers(1, 20), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_folds_are_the_later_half_in_equal_parts(rows: int, folds: int, horizon: int, seed: int) -> None:
    """Of the observed rows, holes or none; each holds a horizon, and before the first there are rows enough to learn from."""
    spec = TINY.override({"horizon": horizon})
    stamps, values = series.one(np.random.default_rng(seed).standard_normal(rows))["value"]
    kept = np.random.default_rng(seed).random(rows) < 0.8
    kept[[0, -1]] = True
    stamps, held = stamps[kept], int(kept.sum())
    raw, spec = {"value": (stamps, values[kept])}, dataclasses.replace(spec, cadence_s=3_600)
    if held < backtest_rows(spec, folds):
        with pytest.raises(InsufficientData):
            spans("one", raw, spec, folds)
        return
    cuts = spans("one", raw, spec, folds)
    parts = [int(((stamps >= cut.begin) & (stamps < cut.end)).sum()) for cut in cuts]
    learned = int((stamps < cuts[0].begin).sum())
    assert learned + sum(parts) == held, "they touch, and the last reaches the end"
    assert [one.end for one in cuts[:-1]] == [one.begin for one in cuts[1:]]
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= spec.horizon
    assert learned >= least_rows(spec)
    assert learned == np.clip(held // 2, least_rows(spec), held - folds * horizon)


@pytest.mark.parametrize(("rows", "folds"), [(0, 1), (1, 1), (5, 1), (backtest_rows(TINY, 4) - 1, 4), (backtest_rows(TINY, 20) - 1, 20)])
def test_a_tiny_series_is_refused_with_what_is_missing(rows: int, folds: int) -> None:
    raw = only(slice(rows), series.seasonal(200))
    with pytest.raises((InsufficientData, UnusableData)) as refused:
        of_recipe("one", raw, dataclasses.replace(TINY, cadence_s=3_600), folds, Diary())
    [need] = refused.value.extra["requirements"]
    assert (need["name"], need["have"], need["met"]) == ("value.rows", rows, False)
    assert need["need"] > rows


def test_one_row_more_is_enough() -> None:
    rows = backtest_rows(TINY, 2)
    found = backtested(only(slice(rows)), folds=2)
    assert [fold["scores"]["served"]["metrics_per_step"]["n"] for fold in told(found)] == [[3, 2, 1], [3, 2, 1]]


# No look-ahead


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0, -1e6]))
def test_rows_behind_a_folds_end_change_nothing_of_it(short: Backtest, fold: int, seed: int, size: float) -> None:
    """Neither what was learned nor what was forecast nor the figures."""
    stamps, values = SHORT["value"]
    end = spans("one", SHORT, TINY, 3)[fold].end
    noise = size * np.random.default_rng(seed).standard_normal(len(values))
    changed = backtested({"value": (stamps, np.where(stamps >= end, noise, values))})
    assert told(changed)[: fold + 1] == told(short)[: fold + 1]
    for before, after in zip(short.folds["value"][: fold + 1], changed.folds["value"], strict=False):
        np.testing.assert_array_equal(before.trace.forecast, after.trace.forecast)


def test_rows_behind_a_folds_cut_do_not_reach_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is handed no row from the cut on: neither past, nor known-future, nor that which says what counts."""
    given: list[Mapping[str, Any]] = []
    whole = room._Pupil.learn

    def learn(self: Any, entity: str, raw: Mapping[str, Any], *rest: Any) -> Any:
        given.append(raw)
        return whole(self, entity, raw, *rest)

    monkeypatch.setattr(room._Pupil, "learn", learn)
    raw = promoted(120)
    on_sale = {"on_sale": (raw["promo"][0], np.ones(len(raw["promo"][0])))}
    spec = TINY.override({"targets": ["sales"], "future_covariates": ["promo"], "available": "on_sale"})
    backtested(raw | on_sale, spec)
    cuts = [cut.begin for cut in spans("one", raw | on_sale, spec, 3)]
    assert all(times.max() < cut for rows, cut in zip(given, cuts, strict=True) for times, _ in rows.values())


def test_an_earlier_origin_than_the_last_row_learned_from_is_none(short: Backtest) -> None:
    """The first forecast of a fold is made at its cut: step 1 of every row of it, step 2 of all but the first."""
    for fold, cut in zip(short.folds["value"], spans("one", SHORT, TINY, 3), strict=True):
        rows = int(((SHORT["value"][0] >= cut.begin) & (SHORT["value"][0] < cut.end)).sum())
        assert fold.as_dict()["scores"]["served"]["metrics_per_step"]["n"] == [rows, rows - 1, rows - 2]
        assert (fold.origins, fold.first - fold.learned_until) == (rows, timedelta(hours=1))


# The figures


def test_the_last_value_by_hand(short: Backtest) -> None:
    """Persistence needs no network: its errors are differences of the series."""
    stamps, values = SHORT["value"]
    for fold, cut in zip(short.folds["value"], spans("one", SHORT, TINY, 3), strict=True):
        rows = np.flatnonzero((stamps >= cut.begin) & (stamps < cut.end))
        first, last = rows[0], rows[-1]
        by_step = [np.abs(values[first - 1 + step : last + 1] - values[first - 1 : last + 1 - step]) for step in (1, 2, 3)]
        found = fold.as_dict()["scores"]["persistence"]
        assert found["metrics_per_step"]["mae"] == pytest.approx([size.mean() for size in by_step], rel=1e-5)
        assert found["metrics_per_step"]["rmse"] == pytest.approx([np.sqrt((size**2).mean()) for size in by_step], rel=1e-5)
        assert found["mae"] == pytest.approx(np.concatenate(by_step).mean(), rel=1e-5)
        scale = np.abs(values[24:first] - values[: first - 24]).mean()
        assert found["metrics_per_step"]["mase"] == pytest.approx([size.mean() / scale for size in by_step], rel=1e-5)


def test_overall_is_over_all_pairs(short: Backtest) -> None:
    found = short.as_dict()
    for name in ("lstm", "persistence", "seasonal_naive", "served"):
        pairs = np.array([fold["scores"][name]["n"] for fold in found["folds"]])
        maes = np.array([fold["scores"][name]["mae"] for fold in found["folds"]])
        assert found["overall"]["scores"][name]["n"] == pairs.sum()
        assert found["overall"]["scores"][name]["mae"] == pytest.approx((pairs * maes).sum() / pairs.sum(), rel=1e-4)


@pytest.mark.parametrize("name", NAIVE)
def test_a_baseline_that_serves_is_one_of_them_with_its_interval(version: Fitted, name: str) -> None:
    [fold] = told(of_version(plainly(version, name), SHORT, None, None, Diary().alive))
    served, same = fold["scores"]["served"], fold["scores"][name]
    assert (served["mae"], served["metrics_per_step"]["mae"]) == (same["mae"], same["metrics_per_step"]["mae"])
    assert 0 <= served["coverage"] <= 1
    assert (same["coverage"], same["metrics_per_step"]["winkler"]) == (None, None)


def test_a_blend_that_serves_is_none_of_them_and_has_their_interval(short: Backtest) -> None:
    for fold in told(short):
        assert fold["served_by"] == "blend"
        served = fold["scores"]["served"]
        assert served["mae"] not in [fold["scores"][name]["mae"] for name in ("lstm", *NAIVE)]
        assert 0 <= served["coverage"] <= 1


def test_what_is_scored_as_served_is_what_is_drawn() -> None:
    """Of one step ahead, where every forecast is drawn: from a blend, and from a blend that is all network."""
    fitted = train(only(slice(90)), TINY.override({"horizon": 1}))
    for one in (fitted, purely(fitted)):
        [fold] = of_version(one, SHORT, None, None, Diary().alive).folds["value"]
        scores = fold.as_dict()["scores"]
        assert scores["served"]["mae"] == pytest.approx(np.abs(fold.trace.truth - fold.trace.forecast).mean(), rel=1e-5)
    assert scores["served"]["mae"] == scores["lstm"]["mae"]


def test_the_trace_is_what_was_served_of_the_last_fold(short: Backtest) -> None:
    trace, fold = short.folds["value"][-1].trace, short.folds["value"][-1]
    _, values = SHORT["value"]
    assert (trace.at[0], trace.at[-1]) == (fold.first, fold.last)
    np.testing.assert_array_equal(trace.truth, values[-len(trace.at) :])
    assert np.isfinite(trace.forecast).all()
    assert (trace.lower < trace.upper).all()


@pytest.mark.parametrize("network", ["lstm", "seq2seq"])
def test_several_targets_and_what_is_known_ahead(network: str) -> None:
    pair = backtested(climate(120), TINY.override({"targets": ["temperature", "humidity"], "network": network}), folds=1).as_dict()
    assert (pair["target"], [other["target"] for other in pair["others"]]) == ("temperature", ["humidity"])
    assert set(pair["overall"]["scores"]) == {network, "persistence", "seasonal_naive", "served"}
    ahead = TINY.override({"targets": ["sales"], "future_covariates": ["promo"], "network": network})
    assert backtested(promoted(120), ahead, folds=1).as_dict()["overall"]["scores"][network]["n"] > 0


def test_what_is_known_ahead_is_seen_also_at_the_end_of_a_fold(sales: tuple[Fitted, series.Raw]) -> None:
    """The last origins look beyond the rows, where promotions are planned: `lstm` reads all of it for each step, `seq2seq` up to it."""
    fitted, raw = sales
    begin = fitted.data_until - timedelta(hours=20)
    _, promo = raw["promo"]
    other_plan = {**raw, "promo": (raw["promo"][0], np.where(np.arange(len(promo)) >= len(promo) - 4, 1 - promo, promo))}
    found, other = (of_version(fitted, rows, begin, None, Diary().alive).as_dict()["folds"][0]["scores"] for rows in (raw, other_plan))
    assert (found == other) == (fitted.spec.network == "seq2seq")
    skill = found[fitted.spec.network]["skill"]
    assert skill is not None
    assert skill > 0.5


# Folds that cannot be


def test_a_fold_that_cannot_be_learned_is_left_out_and_said() -> None:
    stamps, values = SHORT["value"]
    calm = {"value": (stamps, np.where(np.arange(len(values)) < 70, 5.0, values))}
    found = backtested(calm, folds=3)
    assert [fold.number for fold in found.folds["value"]] == [2, 3]
    assert ("fold_left_out", 1) in [(one["code"], one.get("fold")) for one in found.warnings]
    with pytest.raises(UnusableData, match="value is 5 on all 60 rows"):
        backtested({"value": (stamps, np.full(len(values), 5.0))})


def test_a_training_that_leaves_the_numbers_leaves_its_fold_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(cases: Any, spec: ModelSpec, reporter: Any, device: str) -> list[None]:
        reporter.failed(0, TrainingDiverged("The loss left the numbers in epoch 1.", epoch=1))
        return [None]

    monkeypatch.setattr(room, "fit", diverge)
    with pytest.raises(TrainingDiverged):
        backtested(SHORT)


def test_the_watcher_hears_of_every_fold_and_can_stop_it() -> None:
    diary = Diary()
    of_recipe("one", SHORT, TINY, 3, diary)
    assert [fold for fold, _ in diary.epochs] == [0, 1, 2]
    assert diary.beats >= 6, "each fold learns and is forecast"
    assert of_recipe("one", SHORT, TINY, 3, Diary(stop_after={1: 1})) is None


# Of a version


@pytest.fixture(scope="module")
def version() -> Fitted:
    return train(only(slice(90)), TINY)


def at(row: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=row)


SPANS: list[tuple[str, int | None, int | None, list[tuple[bool, int, int]]]] = [
    ("all that came after", None, None, [(False, 90, 119)]),
    ("a part of it", 100, 110, [(False, 100, 109)]),
    ("also what the training had", 80, None, [(True, 80, 89), (False, 90, 119)]),
    ("only what the training had", 70, 85, [(True, 70, 84)]),
    ("longer than there are rows", 0, 1000, [(True, 6, 89), (False, 90, 119)]),
]


@pytest.mark.parametrize(("begin", "end", "folds"), [case[1:] for case in SPANS], ids=[case[0] for case in SPANS])
def test_what_the_training_had_is_told_apart(
    version: Fitted, begin: int | None, end: int | None, folds: list[tuple[bool, int, int]]
) -> None:
    found = of_version(version, SHORT, None if begin is None else at(begin), None if end is None else at(end), Diary().alive)
    assert [(fold.seen_in_training, fold.first, fold.last) for fold in found.folds["value"]] == [
        (seen, at(a), at(b)) for seen, a, b in folds
    ]
    unseen = sum(fold.origins for fold in found.folds["value"] if not fold.seen_in_training)
    assert found.as_dict()["overall"]["origins"] == unseen
    assert [one["code"] for one in found.warnings] == ["seen_in_training"] * sum(seen for seen, _, _ in folds)


@pytest.mark.parametrize(("begin", "end"), [(120, None), (500, 600), (None, 80)])
def test_a_span_without_a_row_is_refused(version: Fitted, begin: int | None, end: int | None) -> None:
    with pytest.raises(UnusableData, match="trained on rows until 2026-01-04T17:00:00Z") as refused:
        of_version(version, SHORT, None if begin is None else at(begin), None if end is None else at(end), Diary().alive)
    assert not isinstance(refused.value, NothingToScore)
    assert refused.value.extra["requirements"][0]["have"] == 0


def test_a_version_forecasts_what_its_recipe_would_have(version: Fitted) -> None:
    """A fold of a recipe is a version of the rows before its cut: the same training, the same forecasts."""
    [span] = spans("one", SHORT, TINY, 1)
    [fold] = backtested(SHORT, folds=1).folds["value"]
    early = train(only(SHORT["value"][0] < span.begin), TINY)
    [same] = of_version(early, SHORT, None, None, Diary().alive).folds["value"]
    assert fold.as_dict() == same.as_dict()


def test_signs_of_life_are_given_between_pieces(version: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.rehearsal.READ_AT_ONCE", 60)
    diary = Diary()
    found = of_version(version, SHORT, None, None, diary.alive)
    assert diary.beats == 3
    monkeypatch.undo()
    assert found.as_dict() == of_version(version, SHORT, None, None, diary.alive).as_dict(), "pieces change no figure"


Raw = Callable[[], series.Raw]
AWKWARD: dict[str, Raw] = {
    "a hole of a fold's length": lambda: only(np.r_[:80, 100:120]),
    "jitter": lambda: {
        "value": (SHORT["value"][0] + np.random.default_rng(0).integers(-600, 600, 120).astype("timedelta64[s]"), SHORT["value"][1])
    },
    "backwards": lambda: only(slice(None, None, -1)),
    "not a number here and there": lambda: {"value": (SHORT["value"][0], np.where(np.arange(120) % 7 == 3, np.nan, SHORT["value"][1]))},
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_rows(name: str) -> None:
    found = backtested(AWKWARD[name](), folds=2).as_dict()
    assert found["overall"]["scores"]["lstm"]["n"] > 0
