"""Forecasts: what is said, what is asked for, and that it is what was scored."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.errors import FeatureMissing, InsufficientRecentData, ModelError, SpecInvalid
from ml.evaluation import answers, origins_of
from ml.fitted import Fitted
from ml.forecaster import Forecast, duration, forecast, recent_rows
from ml.spec import ModelSpec
from ml.trainer import prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY, train

Pair = tuple[Fitted, series.Raw]


def said(found: Forecast | ModelError) -> Forecast:
    assert isinstance(found, Forecast)
    return found


def tail(raw: series.Raw, rows: int) -> series.Raw:
    return {name: (stamps[-rows:], values[-rows:]) for name, (stamps, values) in raw.items()}


def test_it_says_all_there_is_to_say(shifted: Pair) -> None:
    fitted, raw = shifted
    found = said(forecast([shifted])[0])
    assert found.target == "value"
    assert [point.at for point in found.points] == [fitted.data_until + timedelta(hours=step) for step in (1, 2, 3, 4)]
    assert all(point.lower < point.value < point.upper for point in found.points)
    assert (found.level, found.served_by, found.data_until, found.step_s) == (0.9, "lstm", fitted.data_until, 3_600)
    assert found.measured_coverage == fitted.intervals.measured(0.9)
    assert found.skill == fitted.scores["lstm"]["test"].skill
    assert found.history["average"] == pytest.approx(raw["value"][1].mean())
    assert 0 <= found.history["percentile"] <= 100
    assert found.history["days"] == 25.0


def test_it_is_json(shifted: Pair) -> None:
    found = json.loads(json.dumps(said(forecast([shifted])[0]).as_dict(), allow_nan=False))
    assert found["step"] == "PT1H"
    assert found["horizon"] == 4
    assert found["served_by"] == {"kind": "lstm"}
    assert found["data_until"] == "2026-01-25T23:00:00Z"
    assert set(found["points"][0]) == {"at", "value", "lower", "upper"}


def test_what_is_served_is_what_was_scored(shifted: Pair) -> None:
    """Forecasts from rows that end at an origin equal those the scores were made of."""
    fitted, raw = shifted
    case = prepare("one", raw, fitted.spec)
    row = int(origins_of(case, case.parts.test).rows[17])
    cut = {"value": tuple(column[: row + 1] for column in raw["value"])}
    found = said(forecast([(fitted, cut)])[0])  # type: ignore[list-item]
    scored = answers("lstm", case, fitted.network, np.array([row]))[0]
    np.testing.assert_allclose([point.value for point in found.points], scored, rtol=1e-6)


def test_the_window_is_all_that_is_read(shifted: Pair) -> None:
    fitted, raw = shifted
    all_rows, few = (said(forecast([(fitted, rows)])[0]) for rows in (raw, tail(raw, fitted.spec.window)))
    assert [p.value for p in all_rows.points] == [p.value for p in few.points]


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
    plain = dataclasses.replace(fitted, served_by="persistence")
    assert isinstance(forecast([(plain, {"rhr": raw["rhr"]})])[0], Forecast)
    assert isinstance(forecast([(fitted, {"rhr": raw["rhr"]})])[0], FeatureMissing)


def test_a_season_that_is_not_there_is_said(walk: Pair) -> None:
    fitted, raw = walk
    seasonal = dataclasses.replace(fitted, served_by="seasonal_naive")
    codes = [[w["code"] for w in said(forecast([(seasonal, tail(raw, rows))])[0]).warnings] for rows in (5, 100)]
    assert codes == [["season_missing"], []]


def test_a_covariate_that_fell_silent_is_said(health: Pair) -> None:
    fitted, raw = health
    stamps, asleep = raw["asleep_min"]
    silent = raw | {"asleep_min": (stamps[:-20], asleep[:-20])}
    found = said(forecast([(fitted, silent)])[0])
    assert "channel_vanished" in [warning["code"] for warning in found.warnings]
    assert all(np.isfinite(point.value) for point in found.points)


@pytest.mark.parametrize(
    ("step_s", "rows"), [(3_600, 720 + 4), (86_400, 30 + 4), (300, 8_640 + 4), (60, 10_000 + 4), (None, 3_600 + 4), (604_800, 52 + 4)]
)
def test_recent_rows(step_s: float | None, rows: int) -> None:
    assert recent_rows(HOURLY, step_s) == rows


def test_recent_rows_hold_the_window_however_long() -> None:
    assert recent_rows(ModelSpec(targets=("a",), window=512, cadence_s=86_400)) == 512 + 12


@pytest.mark.parametrize(
    ("seconds", "text"), [(86_400, "P1D"), (604_800, "P7D"), (3_600, "PT1H"), (300, "PT5M"), (30, "PT30S"), (1.5, "PT1.5S")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_points_are_in_utc(shifted: Pair) -> None:
    assert said(forecast([shifted])[0]).points[0].at == datetime(2026, 1, 26, tzinfo=UTC)
