"""Judging: who serves, how often intervals hold, and that each target is judged by its own rows."""

from __future__ import annotations

import numpy as np
import pytest

from ml.answers import answer, answers, origins_of, seen_from, served
from ml.baselines import NAIVE
from ml.blend import LAST_VALUE, LINEAR, NETWORK, SEASONAL_CHANGE
from ml.course import StopPart
from ml.evaluation import JUDGING_ROWS, judge
from ml.fitted import Case, Fitted
from ml.forecaster import forecast
from ml.metrics import Scores, score
from ml.networks import Network
from ml.telling import Forecast
from ml.trainer import prepare
from ml.windows import futures
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, climate, plainly, promoted, started, train

Pair = tuple[Fitted, series.Raw]
CLIMATE = HOURLY.override({"targets": ["temperature", "humidity"], "hidden_size": 8})


def untrained(case: Case) -> Network:
    return started(case.spec, speaks=False)


def unlike() -> series.Raw:
    """Temperature wanders, so that its last value serves; humidity repeats each day, so that its season does."""
    walk = 20 + np.random.default_rng(3).standard_normal(200).cumsum()
    return series.one(walk, name="temperature") | series.one(50 - 15 * np.sin(2 * np.pi * np.arange(200) / 24), name="humidity")


@pytest.mark.parametrize("seed", range(3))
def test_a_random_walk_is_served_about_as_well_as_by_its_last_value(seed: int) -> None:
    scores = train(series.random_walk(600, seed=seed), HOURLY).scores
    blend, last = (scores[name]["test"].mae for name in ("blend", "persistence"))
    assert blend is not None
    assert last is not None
    assert blend < 1.05 * last


def test_a_few_rows_of_a_random_walk_are_served_by_persistence(walk: Pair) -> None:
    fitted, _ = walk
    assert (fitted.served_by, fitted.blend) == ("persistence", None)
    assert set(fitted.scores) == {"lstm", *NAIVE}
    test = fitted.scores["persistence"]["test"]
    assert test.skill == 0
    assert test.coverage is not None


def test_what_is_scored_as_the_blend_is_what_is_served(sales: Pair) -> None:
    fitted, raw = sales
    case = prepare("one", raw, fitted.spec)
    for part in ("calibrate", "test"):
        pairs = origins_of(case, getattr(case.parts, part)).of(0)
        truth = futures(case.targets, pairs.rows, case.spec.horizon)[:, 0]
        found = score(truth, served(fitted, case, pairs.rows), pairs.counted, None).mae
        assert found == pytest.approx(fitted.scores["blend"][part].mae, rel=1e-6)  # passes of other sizes differ in the last bit


def test_what_is_served_at_the_last_row_is_what_would_be_scored_there(health: Pair) -> None:
    fitted, raw = health
    case = prepare("one", raw, fitted.spec)
    [found] = forecast([health])
    assert isinstance(found, Forecast)
    last = served(fitted, case, np.array([len(case.values) - 1]))[0]
    np.testing.assert_allclose([point.value for point in found.points], last, rtol=1e-6)


def test_a_baseline_serves_what_it_says(shifted: Pair) -> None:
    fitted, raw = shifted
    case, rows = prepare("one", raw, fitted.spec), np.array([300, 500])
    for name in NAIVE:
        np.testing.assert_array_equal(served(plainly(fitted, name), case, rows), answers(name, case, None, rows)[:, 0])


def test_a_seasonal_series_beats_the_last_value() -> None:
    fitted = train(series.seasonal(800), HOURLY.override({"epochs": 20}))
    lstm, last = (fitted.scores[name]["test"].mae for name in ("lstm", "persistence"))
    assert lstm is not None
    assert last is not None
    assert lstm < 0.5 * last


def test_what_is_known_ahead_is_what_makes_the_network_serve(sales: Pair) -> None:
    """Either network; without the covariate nothing beats the baselines here, as promotions come by chance."""
    fitted, _ = sales
    skill = fitted.scores[fitted.served_by]["test"].skill
    assert skill is not None
    assert skill > 0.15


def test_every_forecaster_is_scored_on_the_same_pairs(shifted: Pair) -> None:
    fitted, _ = shifted
    for part in ("calibrate", "test"):
        assert len({parts[part].n for parts in fitted.scores.values()}) == 1
    assert set(fitted.scores) == {"blend", "lstm", *NAIVE}


def test_the_network_is_scored_under_its_own_name(sales: Pair) -> None:
    fitted, _ = sales
    assert set(fitted.scores) == {"blend", fitted.spec.network, *NAIVE}


def test_only_what_serves_has_intervals_scored(shifted: Pair) -> None:
    fitted, _ = shifted
    assert fitted.scores["blend"]["test"].coverage is not None
    assert fitted.scores["blend"]["test"].winkler is not None
    assert all(fitted.scores[name]["test"].coverage is None for name in ("lstm", *NAIVE))


@pytest.mark.parametrize("seed", range(3))
def test_measured_coverage_is_near_nominal(seed: int) -> None:
    """Trap T10: intervals are held against rows they have not seen."""
    fitted = train(series.seasonal(1_500, noise=0.3, seed=seed), HOURLY.override({"epochs": 10}))
    for level in (0.8, 0.9, 0.95):
        measured = fitted.intervals.measured(level)
        assert measured is not None
        assert abs(measured - level) < 0.08
    assert fitted.scores[fitted.served_by]["test"].coverage == fitted.intervals.measured(0.9)


def test_a_network_that_guesses_has_hardly_a_share() -> None:
    case = prepare("one", series.seasonal(400), HOURLY)
    [found] = judge(case, started(case.spec))
    assert found.blend is not None
    assert found.blend.shares[NETWORK] < 0.05


@pytest.mark.parametrize("rows", range(42, 56, 2))
def test_too_few_rows_to_judge_are_served_by_a_baseline_and_said(rows: int) -> None:
    """By the rows held back, of which there are as many as the stop and calibrate parts hold."""
    case = prepare("one", series.one(np.random.default_rng(rows).standard_normal(rows).cumsum()), HOURLY.override({"window": 10}))
    [found] = judge(case, started(case.spec))
    held = case.parts.calibrate.stop - case.parts.stop.start
    assert found.served_by in (("blend",) if held >= JUDGING_ROWS else NAIVE)
    assert (found.blend is not None) == ("blend" in found.scores) == (held >= JUDGING_ROWS)
    told = [(one["rows"], one["need"]) for one in found.warnings if one["code"] == "too_few_to_judge"]
    assert told == ([] if held >= JUDGING_ROWS else [(held, JUDGING_ROWS)])


def test_few_rows_pool_their_residuals_and_say_so() -> None:
    spec = HOURLY.override({"horizon": 7, "cadence_s": 86_400, "epochs": 2, "level": 0.95})
    fitted = train(series.one(60 + np.random.default_rng(0).standard_normal(30), series.DAY_S), spec)
    assert "intervals_pooled" in [found["code"] for found in fitted.warnings]


def test_judging_gives_signs_of_life() -> None:
    case, beats = prepare("one", series.seasonal(300), HOURLY), []
    judge(case, untrained(case), alive=lambda: beats.append(1))
    assert beats


def test_an_untrained_network_answers_the_last_value_of_each_target() -> None:
    for kind in NETWORKS:
        case = prepare("one", climate(200), CLIMATE.override({"network": kind}))
        rows = origins_of(case, case.parts.test).rows
        np.testing.assert_array_equal(answers(kind, case, untrained(case), rows), answers("persistence", case, None, rows))


def test_only_baselines_answer_without_a_network() -> None:
    case = prepare("one", climate(200), CLIMATE)
    assert answers("seasonal_naive", case, None, np.array([50, 60])).shape == (2, 2, 4)
    with pytest.raises(KeyError):
        answers("lstm", case, None, np.array([50]))


def test_no_origin_no_answer() -> None:
    case = prepare("one", climate(200), CLIMATE)
    for name in (case.spec.network, *NAIVE):
        assert answers(name, case, untrained(case), np.array([], dtype=np.int64)).shape == (0, 2, 4)


def test_shapes_of_what_is_seen() -> None:
    spec = CLIMATE.override({"targets": ["sales"], "future_covariates": ["promo"]})
    view, ahead = seen_from(prepare("one", promoted(200), spec), np.array([50, 60, 70]))
    assert view.inputs.shape == (3, 24, 8)
    assert view.last.shape == (3, 24, 1)
    assert ahead.shape == (3, 4, 4)


def test_each_target_has_shares_scores_and_intervals_of_its_own() -> None:
    """An untrained network says the last value, so does a linear part that finds nothing: where that is right, they share what serves."""
    case = prepare("one", unlike(), CLIMATE)
    warm, damp = judge(case, untrained(case))
    assert warm.blend is not None
    assert damp.blend is not None
    assert warm.blend.shares[NETWORK] + warm.blend.shares[LINEAR] + warm.blend.shares[LAST_VALUE] > 0.7
    assert damp.blend.shares[SEASONAL_CHANGE] + damp.blend.shares[LINEAR] > 0.9
    assert damp.scores["seasonal_naive"]["test"].mae == pytest.approx(0.0, abs=1e-9)
    assert warm.scores["seasonal_naive"]["test"].mae != damp.scores["seasonal_naive"]["test"].mae
    assert (warm.intervals.half_width(0.9) > 4 * damp.intervals.half_width(0.9)).all()


def test_each_target_of_a_few_rows_is_served_by_its_own_baseline() -> None:
    few = {name: (stamps[:40], values[:40]) for name, (stamps, values) in unlike().items()}
    case = prepare("one", few, CLIMATE)
    warm, damp = judge(case, untrained(case))
    assert (warm.served_by, damp.served_by) == ("persistence", "seasonal_naive")
    assert "a baseline serves humidity" in damp.warnings[0]["detail"]


def test_a_target_beside_others_is_judged_as_it_is_alone() -> None:
    """By what no network touches: its pairs, its baselines' scores; and as both networks say the same, its shares and intervals."""
    raw = climate(200)
    both = prepare("one", raw, CLIMATE)
    for k, name in enumerate(CLIMATE.targets):
        alone = prepare("one", raw, CLIMATE.override({"targets": [name]}))
        here, [there] = judge(both, untrained(both))[k], judge(alone, untrained(alone))
        assert {baseline: here.scores[baseline] for baseline in NAIVE} == {baseline: there.scores[baseline] for baseline in NAIVE}
        assert here.blend is not None
        assert there.blend is not None
        assert (here.served_by, here.blend.as_dict()) == (there.served_by, there.blend.as_dict())
        np.testing.assert_array_equal(here.intervals.half, there.intervals.half)


def test_a_row_one_target_lacks_is_not_scored_for_it_and_is_for_the_other() -> None:
    raw, row = climate(200), 180
    stamps, damp = raw["humidity"]
    holed = damp.copy()
    holed[row] = np.nan
    whole, lacking = (prepare("one", raw | {"humidity": (stamps, values)}, CLIMATE) for values in (damp, holed))
    before, after = (answer(case, untrained(case), case.parts.test) for case in (whole, lacking))
    assert row in range(lacking.parts.test.start, lacking.parts.test.stop)
    assert [int(here.rows.counted.sum() - there.rows.counted.sum()) for here, there in zip(before, after, strict=True)] == [0, 4]


def test_a_target_without_a_row_in_the_stop_part_tells_nothing_there() -> None:
    raw = climate(200)
    stamps, damp = raw["humidity"]
    part = prepare("one", raw, CLIMATE).parts.stop
    gone = np.where((np.arange(200) >= part.start) & (np.arange(200) < part.stop), np.nan, damp)
    found = StopPart(prepare("one", raw | {"humidity": (stamps, gone)}, CLIMATE.override({"fill_limit": 48})))
    assert not found.counted[:, 1].any()
    assert found.naive[1] == 0
    assert found.naive[0] > 0


def test_scores_as_json() -> None:
    assert Scores(n=0).as_dict()["mae"] is None


def test_intervals_follow_a_change_in_the_test_part() -> None:
    """Steps three times as large in the last 15 % of the rows: a table of the calibrate part alone would cover 55 % of them."""
    raw = series.random_walk(1_000, seed=3)
    stamps, values = raw["value"]
    louder = np.concatenate([values[:850], values[849] + np.cumsum(3 * np.diff(values[849:]))])
    calm, loud = (train({"value": (stamps, rows)}, HOURLY.override({"epochs": 1})) for rows in (values, louder))
    assert (loud.intervals.half_width(0.9) > 1.5 * calm.intervals.half_width(0.9)).all()
    assert 0.7 < loud.intervals.measured(0.9) < 0.95  # type: ignore[operator]


def test_a_quiet_night_has_a_narrow_interval() -> None:
    """A plant that makes nothing for half of the day: its errors are those of the other half."""
    hours, clouds = np.arange(1_500), np.random.default_rng(0).uniform(50, 150, 63)
    power = np.where(hours % 24 < 12, 0.0, np.sin(np.pi * (hours % 24 - 12) / 12) * clouds[hours // 24])
    fitted = train(series.one(power, 3_600.0), HOURLY.override({"epochs": 1, "horizon": 1}))
    assert fitted.intervals.phases is not None
    widths = []
    for end in (1_470, 1_482):
        [found] = forecast([(fitted, series.one(power[:end], 3_600.0))])
        assert isinstance(found, Forecast)
        widths.append((end % 24, found.points[0].upper - found.points[0].lower))
    assert fitted.intervals.measured(0.9) == pytest.approx(0.9, abs=0.05)
    night, noon = (dict(widths)[hour] for hour in (6, 18))
    assert night < 0.2 * noon
