"""Forecasts: what is said, what is asked for, and that it is what was scored."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.answers import answers, origins_of, served
from ml.blend import LAST_VALUE, LINEAR, NETWORK, SEASONAL_CHANGE, USUAL_LEVEL, Blend, usual_level
from ml.errors import FeatureMissing, InsufficientRecentData, ModelError, SpecInvalid
from ml.fitted import Fitted
from ml.forecaster import forecast, recent_rows
from ml.seasons import rows_back
from ml.spec import ModelSpec
from ml.stamps import duration
from ml.telling import Forecast
from ml.trainer import prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, climate, plainly, purely, started, train, train_all

Pair = tuple[Fitted, series.Raw]


def said(found: Forecast | ModelError) -> Forecast:
    assert isinstance(found, Forecast)
    return found


def tail(raw: series.Raw, rows: int) -> series.Raw:
    return {name: (stamps[-rows:], values[-rows:]) for name, (stamps, values) in raw.items()}


def until(raw: series.Raw, target: str, row: int) -> series.Raw:
    """The target's rows up to one, the other channels whole."""
    stamps, values = raw[target]
    return raw | {target: (stamps[: row + 1], values[: row + 1])}


def speaking(fitted: Fitted) -> Fitted:
    """The same version served by a network of random weights alone, so that whatever it reads moves its answer."""
    return purely(dataclasses.replace(fitted, network=started(fitted.spec)))


def points(fitted: Fitted, raw: series.Raw) -> list[float]:
    return [point.value for point in said(forecast([(fitted, raw)])[0]).points]


def test_it_says_all_there_is_to_say(shifted: Pair) -> None:
    fitted, raw = shifted
    found = said(forecast([shifted])[0])
    assert found.target == "value"
    assert [point.at for point in found.points] == [fitted.data_until + timedelta(hours=step) for step in (1, 2, 3, 4)]
    assert all(point.lower < point.value < point.upper for point in found.points)
    assert (found.level, found.served_by, found.data_until, found.step_s) == (0.9, "blend", fitted.data_until, 3_600)
    assert found.measured_coverage == fitted.intervals.measured(0.9)
    assert found.skill == fitted.scores["blend"]["test"].skill
    assert found.history.average == pytest.approx(raw["value"][1].mean())
    assert 0 <= found.history.percentile <= 100
    assert found.history.days == 25.0


def test_it_is_json(shifted: Pair) -> None:
    found = json.loads(json.dumps(said(forecast([shifted])[0]).as_dict(), allow_nan=False))
    assert found["step"] == "PT1H"
    assert found["horizon"] == 4
    shares = fitted.blend.shares if (fitted := shifted[0]).blend else {}
    assert found["served_by"] == {"kind": "blend", "shares": {part: round(share, 4) for part, share in shares.items()}}
    assert found["data_until"] == "2026-01-25T23:00:00Z"
    assert set(found["points"][0]) == {"at", "value", "lower", "upper"}


def test_a_baseline_has_no_shares(shifted: Pair) -> None:
    fitted, raw = shifted
    found = said(forecast([(plainly(fitted), raw)])[0])
    assert found.shares is None
    assert found.as_dict()["served_by"] == {"kind": "persistence"}


def test_what_is_served_is_what_was_scored(shifted: Pair) -> None:
    """Forecasts from rows that end at an origin equal those the scores were made of."""
    fitted, raw = shifted
    case = prepare("one", raw, fitted.spec)
    row = int(origins_of(case, case.parts.test).rows[17])
    cut = {"value": tuple(column[: row + 1] for column in raw["value"])}
    found = said(forecast([(fitted, cut)])[0])  # type: ignore[list-item]
    scored = served(fitted, case, np.array([row]))[0]
    np.testing.assert_allclose([point.value for point in found.points], scored, rtol=1e-6)


@pytest.mark.parametrize("row", [-40, -17, -5])
def test_what_is_served_knowing_the_future_is_what_was_scored(sales: Pair, row: int) -> None:
    """Rows of the target end at the origin; what is known ahead, and only that, goes on."""
    fitted, raw = sales
    at = len(raw["sales"][0]) + row
    found = said(forecast([(fitted, until(raw, "sales", at))])[0])
    scored = served(fitted, prepare("one", raw, fitted.spec), np.array([at]))[0]
    np.testing.assert_allclose([point.value for point in found.points], scored, rtol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_rows_newer_than_the_last_observation_are_read_of_what_is_known_ahead_alone(network: str) -> None:
    """A past covariate may be ahead of its target: nothing of it is read there, as nothing of it was when the network learned."""
    spec = HOURLY.override({"covariates": ["late"], "future_covariates": ["promo"], "epochs": 1, "network": network})
    stamps, values = series.seasonal(200)["value"]
    raw = dict.fromkeys(("value", "late", "promo"), (stamps, values))
    fitted = speaking(train(raw, spec))
    cut = until(raw, "value", 150)
    plain = points(fitted, cut)
    late = points(fitted, cut | {"late": (stamps, np.where(np.arange(200) > 150, 999.0, values))})
    beyond = points(fitted, cut | {"promo": (stamps, np.where(np.arange(200) > 154, 999.0, values))})
    within = points(fitted, cut | {"promo": (stamps, np.where(np.arange(200) > 152, 22.0, values))})
    assert plain == late == beyond
    assert plain != within


def test_promotions_ahead_lift_the_sales_ahead(sales: Pair) -> None:
    fitted, raw = sales
    stamps, promo = raw["promo"]
    low, high = (points(fitted, raw | {"promo": (stamps, np.where(np.arange(304) >= 300, on, promo))}) for on in (0.0, 1.0))
    assert all(there - here > 3 for here, there in zip(low, high, strict=True))


MISSING = {"a row": [302], "all": [300, 301, 302, 303], "the last": [303]}


@pytest.mark.parametrize("which", MISSING)
def test_a_future_that_is_not_there_is_refused_with_channel_and_moments(sales: Pair, which: str) -> None:
    fitted, raw = sales
    gone = MISSING[which]
    [found] = forecast([(fitted, raw | {"promo": tuple(np.delete(column, gone) for column in raw["promo"])})])  # type: ignore[list-item]
    assert isinstance(found, FeatureMissing)
    moments = [(fitted.data_until + timedelta(hours=row - 299)).isoformat().replace("+00:00", "Z") for row in gone]
    assert found.extra == {"channels": ["promo"], "missing": {"promo": moments}, "available": []}
    assert found.detail == (
        f"The model knows these ahead, and they have no value: promo from {moments[0]} ({len(gone)} of 4 steps). "
        "Store rows of them at these moments."
    )


def test_a_shorter_horizon_asks_for_less_of_the_future(sales: Pair) -> None:
    fitted, raw = sales
    known = raw | {"promo": tuple(column[:302] for column in raw["promo"])}
    short, long = (forecast([(fitted, known)], horizon=steps)[0] for steps in (2, 3))  # type: ignore[list-item]
    assert len(said(short).points) == 2
    assert isinstance(long, FeatureMissing)


def test_a_baseline_asks_nothing_of_the_future(sales: Pair) -> None:
    fitted, raw = sales
    plain = plainly(fitted)
    assert isinstance(forecast([(plain, {"sales": raw["sales"]})])[0], Forecast)


@pytest.mark.parametrize("network", NETWORKS)
def test_versions_of_one_network_forecast_their_own_target(network: str) -> None:
    raw = climate(200)
    spec = HOURLY.override({"targets": ["temperature", "humidity"], "epochs": 1, "hidden_size": 8, "network": network})
    case = prepare("one", raw, spec)
    for k, fitted in enumerate(speaking(one) for one in train_all(raw, spec)):
        found = said(forecast([(fitted, raw)])[0])
        assert found.target == spec.targets[k]
        scored = answers(network, case, fitted.network, np.array([199]))[0, k]
        np.testing.assert_allclose([point.value for point in found.points], scored, rtol=1e-6)
        assert found.history.average == pytest.approx(raw[spec.targets[k]][1].mean())


def test_a_network_of_several_targets_needs_the_last_row_of_each() -> None:
    raw = climate(200)
    fitted = speaking(train_all(raw, HOURLY.override({"targets": ["temperature", "humidity"], "epochs": 1}))[0])
    late = raw | {"humidity": tuple(column[:-9] for column in raw["humidity"])}
    [found] = forecast([(fitted, late)])  # type: ignore[list-item]
    assert isinstance(found, InsufficientRecentData)
    assert "18 of the last 24 rows of temperature, humidity are known" in found.detail


def test_rows_that_do_not_count_are_no_last_observation() -> None:
    """A price of nothing and a price of what is not on sale are skipped when serving as they were when learning."""
    spec = HOURLY.override({"available": "on_sale", "positive": True, "epochs": 1})
    raw = series.seasonal(200) | {"on_sale": series.one(np.ones(200))["value"]}
    fitted = speaking(train(raw, spec))
    stamps, values = raw["value"]
    spoiled = {"value": (stamps, np.where(np.arange(200) == 199, 0.0, values))}
    gone = {"on_sale": (stamps, np.where(np.arange(200) >= 198, 0.0, 1.0))}
    assert said(forecast([(fitted, raw | spoiled)])[0]).data_until == fitted.data_until - timedelta(hours=1)
    assert said(forecast([(fitted, raw | gone)])[0]).data_until == fitted.data_until - timedelta(hours=2)


def test_a_blend_by_hand(shifted: Pair) -> None:
    """Its network's and its linear part's answer, what was added a day ago, the usual level and the last value, by their shares."""
    fitted, raw = shifted
    blend, (_, values) = fitted.blend, raw["value"]
    assert blend is not None
    assert blend.level == pytest.approx(values[: prepare("one", raw, fitted.spec).parts.fit.stop].mean())
    parts = {
        NETWORK: np.array(points(purely(fitted), raw)),
        LINEAR: np.array(points(purely(fitted, LINEAR), raw)),
        SEASONAL_CHANGE: values[-1] + np.mean([values[-24 * day :][:4] - values[-24 * day - 1] for day in range(1, 8)], axis=0),
        USUAL_LEVEL: usual_level(values[-1:], blend.level, blend.reach),
        LAST_VALUE: values[-1],
    }
    assert points(fitted, raw) == pytest.approx(sum(blend.shares[part] * said for part, said in parts.items()))


@pytest.mark.parametrize("horizon", [4, 24, 30])
def test_a_window_and_the_seasons_before_it_are_all_that_is_read(horizon: int) -> None:
    """So many rows a question fetches at least; one row fewer, and a season fewer is averaged somewhere."""
    raw = series.seasonal(600)
    fitted = train(raw, HOURLY.override({"epochs": 1, "horizon": horizon, "window": 8}))
    assert fitted.blend is not None
    assert fitted.blend.linear is not None
    changes, course = 24 * (-(-horizon // 24) + 6) + 1, 8 + 24 * fitted.blend.linear.seasons
    rows = max(changes, course)
    assert rows <= fitted.spec.window + rows_back(24) + horizon <= recent_rows(fitted.spec)
    assert points(fitted, raw) == points(fitted, tail(raw, rows)) != points(fitted, tail(raw, rows - 1))


def test_a_blend_without_a_season_behind_it_reads_the_last_value_there(shifted: Pair) -> None:
    fitted, raw = shifted
    assert fitted.blend is not None
    few, shares = tail(raw, fitted.spec.window), fitted.blend.shares
    alike = dict(shares) | {SEASONAL_CHANGE: 0.0, LAST_VALUE: shares[LAST_VALUE] + shares[SEASONAL_CHANGE]}
    without = dataclasses.replace(fitted, blend=dataclasses.replace(fitted.blend, shares=alike))
    assert points(fitted, few) == pytest.approx(points(without, few))


@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
def test_a_shorter_horizon_is_the_beginning_of_the_longer(shifted: Pair, horizon: int) -> None:
    whole, short = (said(forecast([shifted], horizon=steps)[0]) for steps in (None, horizon))
    assert short.points == whole.points[:horizon]


@pytest.mark.parametrize(("given", "field"), [({"horizon": 5}, "horizon"), ({"horizon": 0}, "horizon"), ({"level": 0.999}, "level")])
def test_what_was_not_trained_for_is_refused(shifted: Pair, given: dict[str, float], field: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        forecast([shifted], **given)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_intervals_widen_with_the_level(shifted: Pair) -> None:
    widths = []
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        found = said(forecast([shifted], level=level)[0])
        assert found.level == level
        widths.append([point.upper - point.lower for point in found.points])
    assert (np.diff(np.array(widths), axis=0) >= 0).all()
    assert widths[-1] > widths[0]


def test_bounds_may_be_negative() -> None:
    """Trap T16: no clipping at zero; a temperature may be below it."""
    raw = series.seasonal(300, level=-20.0)
    fitted = train(raw, HOURLY.override({"epochs": 2}))
    assert all(point.lower < 0 for point in said(forecast([(fitted, raw)])[0]).points)


def test_a_bad_request_leaves_the_others_alone(shifted: Pair) -> None:
    fitted, raw = shifted
    good, bad, absent = forecast([(fitted, raw), (fitted, tail(raw, 3)), (fitted, {"other": raw["value"]})])
    assert isinstance(good, Forecast)
    assert isinstance(bad, InsufficientRecentData)
    assert (bad.extra["have"], bad.extra["need"]) == (3, 24)
    assert isinstance(absent, FeatureMissing)


def test_no_row_at_all_is_no_recent_data(shifted: Pair) -> None:
    fitted, _ = shifted
    [found] = forecast([(fitted, series.one([]))])
    assert isinstance(found, InsufficientRecentData)


def test_a_window_full_of_holes_is_refused(shifted: Pair) -> None:
    fitted, raw = shifted
    stamps, values = raw["value"]
    values = values.copy()
    values[-23:-3] = np.nan
    [found] = forecast([(fitted, {"value": (stamps, values)})])
    assert isinstance(found, InsufficientRecentData)


def test_a_missing_end_moves_the_forecast_back_to_the_last_observation(shifted: Pair) -> None:
    fitted, raw = shifted
    stamps, values = raw["value"]
    values = values.copy()
    values[-2:] = np.nan
    found = said(forecast([(fitted, {"value": (stamps, values)})])[0])
    assert found.data_until == fitted.data_until - timedelta(hours=2)


def test_persistence_needs_one_row(walk: Pair) -> None:
    fitted, raw = walk
    found = said(forecast([(fitted, tail(raw, 1))])[0])
    assert {point.value for point in found.points} == {raw["value"][1][-1]}
    assert found.served_by == "persistence"


def test_a_baseline_reads_no_covariates(health: Pair) -> None:
    fitted, raw = health
    plain = plainly(fitted)
    assert isinstance(forecast([(plain, {"rhr": raw["rhr"]})])[0], Forecast)
    assert isinstance(forecast([(fitted, {"rhr": raw["rhr"]})])[0], FeatureMissing)


def test_a_season_that_is_not_there_is_said(walk: Pair) -> None:
    fitted, raw = walk
    seasonal = plainly(fitted, "seasonal_naive")
    codes = [[w["code"] for w in said(forecast([(seasonal, tail(raw, rows))])[0]).warnings] for rows in (5, 30)]
    assert codes == [["season_missing"], []]


@pytest.mark.parametrize(("share", "noted"), [(0.1, True), (0.09, False)])
def test_a_blend_says_it_too_where_the_season_has_a_part(shifted: Pair, share: float, noted: bool) -> None:
    fitted, raw = shifted
    shares = {NETWORK: 1 - share, LINEAR: 0.0, SEASONAL_CHANGE: share, USUAL_LEVEL: 0.0, LAST_VALUE: 0.0}
    leaning = dataclasses.replace(fitted, spec=fitted.spec.override({"window": 12}), blend=Blend(shares, 0.0))
    found = [said(forecast([(leaning, tail(raw, rows))])[0]).warnings for rows in (23, 60)]
    assert [any(w["code"] == "season_missing" for w in warnings) for warnings in found] == [noted, False]


def test_a_covariate_that_fell_silent_is_said(health: Pair) -> None:
    fitted, raw = health
    stamps, asleep = raw["asleep_min"]
    silent = raw | {"asleep_min": (stamps[:-20], asleep[:-20])}
    found = said(forecast([(fitted, silent)])[0])
    assert "channel_vanished" in [warning["code"] for warning in found.warnings]
    assert all(np.isfinite(point.value) for point in found.points)


@pytest.mark.parametrize(
    ("step_s", "rows"),
    [(3_600, 720), (86_400, 24 + 14 * 7), (300, 8_640), (60, 10_000), (None, 24 + 2 * 3_600), (604_800, 24 + 14 * 52)],
)
def test_recent_rows(step_s: float | None, rows: int) -> None:
    assert recent_rows(HOURLY, step_s) == rows + 4


def test_recent_rows_hold_the_window_however_long() -> None:
    assert recent_rows(ModelSpec(targets=("a",), window=512, cadence_s=86_400)) == 512 + 98 + 12


@pytest.mark.parametrize(
    ("seconds", "text"), [(86_400, "P1D"), (604_800, "P7D"), (3_600, "PT1H"), (300, "PT5M"), (30, "PT30S"), (1.5, "PT1.5S")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("step_s", "text"),
    [
        (1, "PT1S"),
        (10, "PT10S"),
        (60, "PT1M"),
        (300, "PT5M"),
        (900, "PT15M"),
        (3_600, "PT1H"),
        (21_600, "PT6H"),
        (86_400, "P1D"),
        (604_800, "P7D"),
    ],
)
def test_the_cadence_is_found_in_the_data_and_stated(step_s: float, text: str) -> None:
    raw = series.one(np.random.default_rng(0).standard_normal(40), step_s)
    fitted = train(raw, HOURLY.override({"epochs": 1, "hidden_size": 8, "window": 6}))
    found = said(forecast([(fitted, raw)])[0])
    assert fitted.step_s == found.step_s == step_s
    assert found.as_dict()["step"] == text
    assert [point.at - fitted.data_until for point in found.points] == [timedelta(seconds=step_s * step) for step in (1, 2, 3, 4)]


def test_points_are_in_utc(shifted: Pair) -> None:
    assert said(forecast([shifted])[0]).points[0].at == datetime(2026, 1, 26, tzinfo=UTC)
