"""What if, beside what is: every row asked for changes, ahead as in the past, and the answers stand beside the forecast."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.blend import LINEAR, usual_level
from ml.errors import FeatureMissing, ScenarioOutOfBounds, SpecInvalid
from ml.fitted import Fitted
from ml.forecaster import forecast
from ml.scenarios import Change, Scenario
from ml.telling import Forecast
from ml.what_if import what_if
from tests.support import series
from tests.unit.ml.doubles import HOURLY, climate, network_share, plainly, purely, train_all

Pair = tuple[Fitted, series.Raw]


def sleep(value: float, op: str = "add", steps: object = "all", channel: str = "asleep_min") -> Scenario:
    return Scenario(f"{op} {value:g}", (Change(channel, op, value, steps),))  # type: ignore[arg-type]


def test_more_sleep_lowers_the_heart_rate_and_less_raises_it(health: Pair) -> None:
    """The generated person's short nights raise the day after."""
    found = what_if(*health, [sleep(60.0, steps=("last", 1)), sleep(-60.0, steps=("last", 1))], horizon=1, direction="lower")
    more, less = found.scenarios
    assert more.delta[0] < 0 < less.delta[0]
    assert (found.best, found.worst) == (more.name, less.name)


def test_direction_is_data_not_a_guess_from_the_name(health: Pair) -> None:
    """Trap T8."""
    scenarios = [sleep(60.0, steps=("last", 1)), sleep(-60.0, steps=("last", 1))]
    low, high, none = (what_if(*health, scenarios, horizon=1, direction=way) for way in ("lower", "higher", None))
    assert (low.best, low.worst) == (high.worst, high.best)
    assert (none.best, none.worst) == (None, None)


def test_the_baseline_is_the_forecast(health: Pair) -> None:
    found = what_if(*health, [sleep(10.0)])
    [plain] = forecast([health])
    assert isinstance(plain, Forecast)
    assert [p.value for p in found.baseline.points] == pytest.approx([p.value for p in plain.points], rel=1e-6)


def test_scenarios_in_one_pass_are_those_asked_alone(health: Pair) -> None:
    scenarios = [sleep(value) for value in (-60.0, 0.5, 30.0)]
    together = what_if(*health, scenarios)
    for scenario, found in zip(scenarios, together.scenarios, strict=True):
        [alone] = what_if(*health, [scenario]).scenarios
        np.testing.assert_allclose(found.delta, alone.delta, atol=1e-4)


def test_deltas_are_scenario_minus_baseline_and_intervals_move_along(health: Pair) -> None:
    found = what_if(*health, [sleep(30.0)], level=0.8)
    [scenario] = found.scenarios
    for delta, point, plain in zip(scenario.delta, scenario.points, found.baseline.points, strict=True):
        assert delta == pytest.approx(point.value - plain.value)
        assert point.upper - point.lower == pytest.approx(plain.upper - plain.lower)
    assert scenario.as_dict()["mean_delta"] == pytest.approx(np.mean(scenario.delta))


@pytest.mark.parametrize(("steps", "rows"), [("all", 10), (("last", 3), 3), (("last", 1), 1), (("last", 10), 10)])
def test_every_row_asked_for_is_changed_and_shown(health: Pair, steps: object, rows: int) -> None:
    """Trap T13: not only the last one."""
    [scenario] = what_if(*health, [sleep(450.0, "set", steps)]).scenarios
    used = scenario.used["asleep_min"]
    assert [cell["value"] for cell in used] == [450.0] * rows
    assert len({cell["at"] for cell in used}) == rows


def test_a_channel_the_model_does_not_read_is_refused_by_name(health: Pair) -> None:
    """Trap T13: never skipped."""
    with pytest.raises(FeatureMissing, match="caffeine_mg") as caught:
        what_if(*health, [sleep(1.0), sleep(1.0, channel="caffeine_mg")])
    assert caught.value.extra["available"] == ["rhr", "asleep_min", "steps"]


def test_beyond_the_training_range_is_warned_of(health: Pair) -> None:
    fitted, _ = health
    [scenario] = what_if(*health, [sleep(2_000.0, "set")]).scenarios
    [beyond] = scenario.out_of_support
    assert (beyond.channel, beyond.rows, beyond.farthest, beyond.clamped) == ("asleep_min", 10, 2_000.0, False)
    assert beyond.high == fitted.scaler.high[1]
    assert [warning["code"] for warning in scenario.warnings] == ["out_of_support"]


def test_clamp_brings_it_back_and_says_so(health: Pair) -> None:
    fitted, _ = health
    [scenario] = what_if(*health, [sleep(2_000.0, "set")], bounds="clamp").scenarios
    assert {cell["value"] for cell in scenario.used["asleep_min"]} == {fitted.scaler.high[1]}
    assert scenario.out_of_support[0].clamped


def test_reject_refuses(health: Pair) -> None:
    with pytest.raises(ScenarioOutOfBounds, match="asleep_min") as caught:
        what_if(*health, [sleep(2_000.0, "set")], bounds="reject")
    assert caught.value.extra["out_of_support"][0]["farthest"] == 2_000.0


def test_the_targets_own_past_may_be_changed(shifted: Pair) -> None:
    [scenario] = what_if(*shifted, [Scenario("higher", (Change("value", "add", 1.0),))]).scenarios
    # Not quite: the series left the rows it was learned from, and the further it goes the less the usual level says.
    assert scenario.delta == pytest.approx([1.0] * 4, abs=0.1)


def test_a_baseline_reads_no_covariates_and_says_so(health: Pair) -> None:
    fitted, raw = health
    plain = plainly(fitted)
    found = what_if(plain, raw, [sleep(60.0), Scenario("target", (Change("rhr", "add", 2.0, ("last", 1)),))], direction="lower")
    covariate, target = found.scenarios
    assert covariate.delta == (0.0, 0.0)
    assert target.delta == pytest.approx((2.0, 2.0))
    assert [warning["code"] for warning in found.warnings] == ["baseline_serves"]


@pytest.mark.parametrize("ahead", [False, True], ids=["past", "future"])
def test_a_changed_covariate_moves_the_blend_by_the_networks_share_alone(health: Pair, sales: Pair, ahead: bool) -> None:
    (fitted, raw), scenario = (sales, promo(1.0, 4)) if ahead else (health, sleep(60.0))
    [blend], [network] = (what_if(one, raw, [scenario]).scenarios for one in (fitted, purely(fitted)))
    assert max(map(abs, network.delta)) > 0.1
    np.testing.assert_allclose(blend.delta, network_share(fitted) * np.array(network.delta), atol=1e-9)


def test_a_changed_last_value_moves_each_part_of_the_blend_by_its_share(shifted: Pair) -> None:
    """The last value and the season's change go along; the usual level stays where it is, until the last value is out of its reach."""
    fitted, raw = shifted
    higher = [Scenario("higher", (Change("value", "add", 8.0, ("last", 1)),))]
    [blend], [network], [line] = (what_if(one, raw, higher).scenarios for one in (fitted, purely(fitted), purely(fitted, LINEAR)))
    assert fitted.blend is not None
    shares, last = fitted.blend.shares, raw["value"][1][-1]
    before, after = usual_level(np.array([last, last + 8.0]), fitted.blend.level, fitted.blend.reach)
    along = 8.0 * (shares["persistence"] + shares["seasonal_change"]) + shares["linear"] * np.array(line.delta)
    along += shares["usual_level"] * (after - before)
    np.testing.assert_allclose(blend.delta, shares["network"] * np.array(network.delta) + along, atol=1e-9)


def test_scenarios_that_agree_have_no_best(health: Pair) -> None:
    fitted, raw = health
    plain = plainly(fitted)
    found = what_if(plain, raw, [sleep(60.0), sleep(30.0)], direction="lower")
    assert (found.best, found.worst) == (None, None)


def promo(value: float, steps: int, op: str = "set") -> Scenario:
    return Scenario(f"{op} {value:g} for {steps}", (Change("promo", op, value, ("future", steps)),))  # type: ignore[arg-type]


def test_a_promotion_ahead_lifts_the_sales_and_none_lowers_them(sales: Pair) -> None:
    """Beside a future that promotes every other hour."""
    fitted, raw = sales
    stamps, known = raw["promo"]
    half = raw | {"promo": (stamps, np.where(np.arange(304) >= 300, np.arange(304) % 2, known))}
    found = what_if(fitted, half, [promo(1.0, 4), promo(0.0, 4)], direction="higher")
    on, off = found.scenarios
    assert sum(on.delta) > 2
    assert sum(off.delta) < -2
    assert (found.best, found.worst) == (on.name, off.name)
    assert on.warnings == off.warnings == ()


def test_the_future_that_was_read_is_shown_with_its_times(sales: Pair) -> None:
    fitted, raw = sales
    [scenario] = what_if(fitted, raw, [promo(1.0, 3)]).scenarios
    assert scenario.used == {
        "promo": [{"at": f"2026-01-13T{hour:02}:00:00Z", "value": 1.0} for hour in (12, 13, 14)],
    }
    assert fitted.data_until.isoformat() == "2026-01-13T11:00:00+00:00"


def test_the_past_and_the_future_of_a_channel_are_changed_apart(sales: Pair) -> None:
    fitted, raw = sales
    past, future, both = (
        Scenario(name, tuple(Change("promo", "set", 1.0, steps) for steps in changes))  # type: ignore[arg-type]
        for name, changes in (("past", ["all"]), ("future", [("future", 4)]), ("both", ["all", ("future", 4)]))
    )
    found = what_if(fitted, raw, [past, future, both]).scenarios
    times = [[cell["at"] for cell in scenario.used["promo"]] for scenario in found]
    assert [len(read) for read in times] == [8, 4, 12]
    assert times[2] == times[0] + times[1]


def test_a_shorter_question_may_change_the_future_it_answers(sales: Pair) -> None:
    fitted, raw = sales
    [short], [long] = (what_if(fitted, raw, [promo(1.0, 2)], horizon=steps).scenarios for steps in (2, 4))
    assert len(short.points) == 2
    np.testing.assert_allclose(short.delta, long.delta[:2], atol=1e-4)


def test_only_what_is_known_ahead_has_a_future_to_change(sales: Pair) -> None:
    with pytest.raises(SpecInvalid) as caught:
        what_if(*sales, [Scenario("more", (Change("sales", "add", 1.0, ("future", 2)),))])
    assert str(caught.value) == (
        "scenarios.changes.steps = {'future': 2}: sales is not known ahead, so its future cannot be set; "
        "known ahead: promo. Change its last rows instead"
    )


def test_a_future_nobody_stored_is_refused_before_any_scenario(sales: Pair) -> None:
    fitted, raw = sales
    with pytest.raises(FeatureMissing, match="promo from 2026-01-13T12:00:00Z"):
        what_if(fitted, raw | {"promo": tuple(column[:300] for column in raw["promo"])}, [promo(1.0, 4)])  # type: ignore[arg-type]


def test_beyond_what_was_ever_promoted_is_warned_of(sales: Pair) -> None:
    [scenario] = what_if(*sales, [promo(5.0, 2)]).scenarios
    [beyond] = scenario.out_of_support
    assert (beyond.channel, beyond.low, beyond.high, beyond.rows) == ("promo", 0.0, 1.0, 2)


def test_a_mate_of_the_target_may_be_changed() -> None:
    raw = climate(200)
    fitted = train_all(raw, HOURLY.override({"targets": ["temperature", "humidity"], "epochs": 1}))
    for one in fitted:
        served = purely(one)
        [scenario] = what_if(served, raw, [Scenario("damp", (Change("humidity", "add", 5.0, ("last", 1)),))]).scenarios
        [plain] = forecast([(served, raw)])
        assert [point.value - delta for point, delta in zip(scenario.points, scenario.delta, strict=True)] == pytest.approx(
            [point.value for point in plain.points]  # type: ignore[union-attr]
        )


def test_a_serving_baseline_is_asked_of_its_own_target_though_a_mate_ends_earlier() -> None:
    """The forecast beside the scenarios is the one that is served, from the last row of the target asked of."""
    raw = climate(200)
    _, damp = train_all(raw, HOURLY.override({"targets": ["temperature", "humidity"], "epochs": 1}))
    plain = plainly(damp)
    for mate, rows in (("temperature", 190), ("humidity", 190)):
        late = raw | {mate: tuple(column[:rows] for column in raw[mate])}
        found = what_if(plain, late, [Scenario("damp", (Change("humidity", "add", 5.0, ("last", 1)),))])  # type: ignore[arg-type]
        assert [found.baseline] == forecast([(plain, late)])  # type: ignore[list-item]
        assert found.scenarios[0].delta == pytest.approx((5.0,) * 4)


def test_it_is_json(health: Pair) -> None:
    found = what_if(*health, [sleep(2_000.0, "set"), sleep(10.0, steps=("last", 2))], direction="higher")
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert {"baseline", "scenarios", "best", "worst", "direction", "warnings"} == set(again)
    assert {"name", "points", "delta", "mean_delta", "used", "out_of_support", "warnings"} == set(again["scenarios"][0])
