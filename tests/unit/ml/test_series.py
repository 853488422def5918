"""Raw points to a grid: every bad series gets a clear error or a clean grid, never NaN out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import FeatureMissing, FlatLine, InsufficientData, ModelError, UnusableData
from ml.grid import regularise
from ml.series import fill_forward, is_flat, split
from ml.spec import ModelSpec, Split
from ml.trainer import prepare
from tests.support.series import Raw, one, seasonal, times

SPEC = ModelSpec(targets=("value",), window=8, horizon=2)
HOUR = np.timedelta64(3_600_000, "ms")


def grid(raw: Raw, spec: ModelSpec = SPEC) -> tuple[np.ndarray, list[str]]:
    series, notices = regularise("one", raw, spec)
    return series.channels[spec.targets[0]], [found["code"] for found in notices]


def test_clean_series_is_left_as_it_is() -> None:
    series, notices = regularise("one", seasonal(100), SPEC)
    assert notices == []
    assert series.step == HOUR
    np.testing.assert_array_equal(series.channels["value"], seasonal(100)["value"][1])
    np.testing.assert_array_equal(series.times, seasonal(100)["value"][0])


def test_clock_that_runs_backwards_is_sorted_and_said() -> None:
    stamps, values = seasonal(100)["value"]
    found, codes = grid({"value": (stamps[::-1], values[::-1])})
    np.testing.assert_array_equal(found, values)
    assert codes == ["out_of_order"]


def test_of_duplicates_the_last_stays() -> None:
    stamps, values = seasonal(50)["value"]
    found, codes = grid({"value": (np.append(stamps, stamps[7]), np.append(values, 99.0))})
    assert found[7] == 99.0
    assert len(found) == 50
    assert set(codes) == {"out_of_order", "duplicates"}


def test_jitter_is_snapped_through_its_middle() -> None:
    stamps, values = seasonal(200)["value"]
    jitter = np.random.default_rng(0).integers(-600_000, 600_000, 200).astype("timedelta64[ms]")
    found, codes = grid({"value": (stamps + jitter, values)})
    np.testing.assert_array_equal(found, values)
    assert codes == ["irregular"]


def test_cadence_is_the_median_difference_so_that_resyncs_do_no_harm() -> None:
    stamps = np.sort(np.concatenate([times(200, 900), times(200, 900)[::20] + np.timedelta64(3_000, "ms")]))
    series, notices = regularise("one", {"value": (stamps, np.arange(len(stamps), dtype=float))}, SPEC)
    assert series.step_s == 900
    assert "merged_rows" in [found["code"] for found in notices]


CADENCES = [1, 5, 10, 30, 60, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800]


@pytest.mark.parametrize("step_s", CADENCES)
def test_cadences_from_a_second_to_a_week(step_s: int) -> None:
    series, notices = regularise("one", one(np.arange(50.0), step_s), SPEC)
    assert series.step_s == step_s
    assert len(series) == 50
    assert notices == []


@pytest.mark.parametrize("step_s", CADENCES[1:])
def test_cadences_are_found_through_jitter_and_holes_and_said(step_s: int) -> None:
    """A tenth of a step to either side, a fifth of the rows not there."""
    random, (stamps, values) = np.random.default_rng(step_s), one(np.arange(300.0), step_s)["value"]
    kept = np.r_[True, random.random(298) > 0.2, True]
    moved = stamps + (step_s * random.uniform(-100, 100, 300)).astype("timedelta64[ms]")
    series, notices = regularise("one", {"value": (moved[kept], values[kept])}, SPEC)
    assert series.step_s == step_s
    np.testing.assert_array_equal(series.channels["value"][kept], values[kept])
    [irregular] = [found for found in notices if found["code"] == "irregular"]
    assert irregular["cadence_s"] == step_s


@pytest.mark.parametrize(
    "name",
    ["1e38", "Inf", "backwards", "duplicates"],
)
def test_a_mended_covariate_is_as_good_as_a_mended_target(name: str) -> None:
    raw, _, code, told = ODD[name]
    good = {"other": seasonal(100)["value"], "value": raw["value"]}
    case = prepare("one", good, SPEC.override({"targets": ["other"], "covariates": ["value"]}))
    assert [warning["detail"].endswith(told) for warning in case.warnings if warning["code"] == code] == [True]


def test_calendar_months_are_one_cadence_though_they_differ_in_length() -> None:
    months = np.arange("1949-01", "1961-01", dtype="datetime64[M]").astype("datetime64[ms]")
    values = np.arange(len(months), dtype=float)
    series, _ = regularise("one", {"value": (months, values)}, SPEC)
    np.testing.assert_array_equal(series.channels["value"], values)
    assert abs(series.times - months).max() < np.timedelta64(3, "D")


def test_asked_cadence_wins() -> None:
    series, notices = regularise("one", seasonal(100), SPEC.override({"cadence_s": 7_200}))
    assert series.step_s == 7_200
    assert len(series) in (50, 51)
    assert "merged_rows" in [found["code"] for found in notices]


def test_gaps_are_filled_up_to_the_limit_and_no_further() -> None:
    values = np.arange(30.0)
    values[5:8] = np.nan
    values[12:17] = np.nan
    series, notices = regularise("one", one(values), SPEC.override({"fill_limit": 3}))
    found = series.channels["value"]
    assert found[5:8].tolist() == [4.0, 4.0, 4.0]
    assert found[12:15].tolist() == [11.0, 11.0, 11.0]
    assert np.isnan(found[15:17]).all()
    assert not series.observed["value"][5:8].any()
    [gap] = [found for found in notices if found["code"] == "gaps"]
    assert (gap["missing_rows"], gap["longest_gap"]) == (8, 5)


def test_infinities_and_sentinels_are_missing_and_counted() -> None:
    stamps, values = seasonal(100)["value"]
    values = values.copy()
    values[[3, 50, 70]] = [np.inf, -np.inf, 1e38]
    found, codes = grid({"value": (stamps, values)})
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 100
    assert "unusable_values" in codes


def test_one_row_of_1970_does_not_stretch_the_grid() -> None:
    stamps, values = seasonal(100)["value"]
    found, codes = grid({"value": (np.append(stamps, np.datetime64(0, "ms")), np.append(values, 1.0))})
    assert len(found) == 100
    assert "stray_timestamps" in codes


def test_missing_channels_are_named_with_those_there_are() -> None:
    with pytest.raises(FeatureMissing, match="humidity") as caught:
        regularise("one", seasonal(100), SPEC.override({"covariates": ["humidity"]}))
    assert caught.value.extra == {"channels": ["humidity"], "available": ["value"]}


def test_a_covariate_without_a_single_value_is_missing() -> None:
    raw = seasonal(100) | {"humidity": (times(100, 3_600), np.full(100, np.nan))}
    with pytest.raises(FeatureMissing, match="humidity"):
        regularise("one", raw, SPEC.override({"covariates": ["humidity"]}))


def column(stamps: object, values: object) -> Raw:
    return {"value": (np.asarray(stamps), np.asarray(values, dtype=float))}


def with_other(channel: str, values: object, **changes: object) -> tuple[Raw, ModelSpec]:
    """A good target, and another channel that is not."""
    return seasonal(100) | {channel: (times(100, 3_600), np.asarray(values, dtype=float))}, SPEC.override(changes)


OFF = with_other("on_sale", np.zeros(100), available="on_sale")
GONE = with_other("wind", np.full(100, np.nan), covariates=["wind"])
AHEAD = with_other("promo", np.full(100, np.inf), future_covariates=["promo"])
MATE = with_other("mate", np.full(100, 7.0), targets=["value", "mate"])
RARE = with_other("mate", np.where(np.arange(100) < 5, np.arange(100.0), np.nan), targets=["value", "mate"])

#: Name -> raw rows, spec, the error's type and its sentence.
BAD: dict[str, tuple[Raw, ModelSpec, type[ModelError], str]] = {
    "constant": (one(np.full(200, 5.0)), SPEC, FlatLine, "value is 5 on all 200 rows."),
    "constant but for rounding": (one(5.0 + 1e-15 * np.arange(200)), SPEC, FlatLine, "value is 5 on all 200 rows."),
    "all missing": (one(np.full(200, np.nan)), SPEC, InsufficientData, "0 of 13 rows of value."),
    "all infinite": (one(np.full(200, np.inf)), SPEC, InsufficientData, "0 of 13 rows of value."),
    "all 1e38": (one(np.full(200, 1e38)), SPEC, InsufficientData, "0 of 13 rows of value."),
    "empty": (one([]), SPEC, InsufficientData, "0 of 13 rows of value."),
    "one row": (one([1.0]), SPEC, InsufficientData, "1 of 13 rows of value."),
    "one instant": (column(np.repeat(times(1, 1), 50), np.arange(50.0)), SPEC, InsufficientData, "1 of 13 rows of value."),
    "too short": (one(np.arange(12.0)), SPEC, InsufficientData, "12 of 13 rows of value."),
    "prices of nothing": (
        one(-np.arange(200.0)),
        SPEC.override({"positive": True}),
        UnusableData,
        "None of the 200 rows of value counts: not above 0.",
    ),
    "never on sale": (*OFF, UnusableData, "None of the 100 rows of value counts: not above 0, or on_sale is 0 then."),
    "channel absent": ({"other": seasonal(100)["value"]}, SPEC, FeatureMissing, "No rows of value; there are other."),
    "no channel at all": ({}, SPEC, FeatureMissing, "No rows of value; there are no channels."),
    "what says what counts is absent": (
        seasonal(100),
        SPEC.override({"available": "on_sale"}),
        FeatureMissing,
        "No rows of on_sale; there are value.",
    ),
    "covariate without a value": (*GONE, FeatureMissing, "No usable value of wind."),
    "known ahead without a value": (*AHEAD, FeatureMissing, "No usable value of promo."),
    "second target constant": (*MATE, FlatLine, "mate is 7 on all 100 rows."),
    "second target too short": (*RARE, InsufficientData, "5 of 13 rows of mate."),
    "lengths differ": (column(times(10, 60), np.arange(9.0)), SPEC, UnusableData, "value has 10 timestamps and 9 values."),
    "no time at all": (
        column(np.full(50, np.datetime64("NaT"), dtype="datetime64[ms]"), np.arange(50.0)),
        SPEC,
        InsufficientData,
        "0 of 13 rows of value.",
    ),
    "too seldom": (
        one(np.arange(50.0), 45 * 86_400),
        SPEC,
        UnusableData,
        "Rows come every 45.0 days; the longest cadence is a month.",
    ),
    "too wide a grid": (
        one(np.arange(300.0), 86_400),
        SPEC.override({"cadence_s": 1.0}),
        UnusableData,
        "300 rows at 1 s spread over 25833601 cells; at most 16000000.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_learned_is_refused_in_these_words(name: str) -> None:
    raw, spec, error, told = BAD[name]
    with pytest.raises(error) as caught:
        prepare("one", raw, spec)
    assert type(caught.value) is error
    assert caught.value.detail == told


def spoiled(**rows: float) -> Raw:
    """A good series with some rows overwritten: `r5=nan` is row 5."""
    stamps, values = seasonal(100)["value"]
    values = values.copy()
    for name, value in rows.items():
        values[int(name[1:])] = value
    return {"value": (stamps, values)}


def jittered() -> Raw:
    stamps, values = seasonal(100)["value"]
    return {"value": (stamps + np.random.default_rng(0).integers(-900_000, 900_000, 100).astype("timedelta64[ms]"), values)}


def doubled() -> Raw:
    stamps, values = seasonal(100)["value"]
    return {"value": (np.repeat(stamps, 2), np.repeat(values, 2))}


POSITIVE = SPEC.override({"positive": True})
SLOW_CLOCK = (
    seasonal(100) | {"on_sale": (times(100, 3_600) + np.timedelta64(1, "s"), (np.arange(100) % 10 > 1).astype(float))},
    SPEC.override({"available": "on_sale"}),
)
SOLD = with_other("on_sale", (np.arange(100) % 10 > 1).astype(float), available="on_sale")

#: Name -> raw rows, spec, and the code and sentence of the notice.
ODD: dict[str, tuple[Raw, ModelSpec, str, str]] = {
    "NaN": (
        spoiled(r5=np.nan, r6=np.nan, r7=np.nan, r8=np.nan),
        SPEC,
        "gaps",
        "value has 96.0% of its rows; the longest gap is 4 rows.",
    ),
    "Inf": (spoiled(r5=np.inf, r9=-np.inf), SPEC, "unusable_values", "2 values of value are infinite or beyond 1e30: missing."),
    "1e38": (spoiled(r5=1e38, r9=-1e38), SPEC, "unusable_values", "2 values of value are infinite or beyond 1e30: missing."),
    "duplicates": (doubled(), SPEC, "duplicates", "100 rows of value repeat a timestamp: the last was kept."),
    "backwards": (
        {"value": tuple(part[::-1] for part in seasonal(100)["value"])},  # type: ignore[dict-item]
        SPEC,
        "out_of_order",
        "The clock of value runs backwards 99 times: sorted.",
    ),
    "irregular": (jittered(), SPEC, "irregular", " rows were moved to the 3600 s grid."),
    "prices of nothing": (
        spoiled(r5=0.0, r9=-3.0),
        POSITIVE,
        "rows_dropped",
        "2 rows of value do not count (not available, or not above 0): dropped.",
    ),
    "not on sale, by another clock": (
        *SLOW_CLOCK,
        "rows_dropped",
        "20 rows of value do not count (not available, or not above 0): dropped.",
    ),
    "not on sale": (*SOLD, "rows_dropped", "20 rows of value do not count (not available, or not above 0): dropped."),
}


@pytest.mark.parametrize("name", ODD)
def test_what_was_wrong_and_mended_is_told_in_these_words(name: str) -> None:
    raw, spec, code, told = ODD[name]
    case = prepare("one", raw, spec)
    [found] = [warning for warning in case.warnings if warning["code"] == code]
    assert found["detail"].endswith(told)
    assert np.isfinite(case.values[case.observed]).all()
    assert np.abs(case.values[case.observed]).max() < 100


def test_rows_that_do_not_count_are_no_observation_of_any_target() -> None:
    raw, spec = SOLD
    raw = raw | {"mate": one(100 + np.random.default_rng(1).standard_normal(100))["value"], "wind": raw["value"]}
    series, _ = regularise("one", raw, spec.override({"targets": ["value", "mate"], "covariates": ["wind"]}))
    gone = np.arange(len(series)) % 10 > 7  # the grid begins at the first row that counts, which is the third
    for target in ("value", "mate"):
        assert not series.observed[target][gone].any()
        assert series.observed[target][~gone].all()
    assert series.observed["wind"].all()
    assert "on_sale" not in series.channels


def test_a_price_of_nothing_is_dropped_of_targets_only() -> None:
    stamps, values = seasonal(100)["value"]
    raw = {"value": (stamps, values), "wind": (stamps, -values)}
    series, _ = regularise("one", raw, POSITIVE.override({"covariates": ["wind"]}))
    assert series.observed["value"].all()
    assert series.observed["wind"].all()


def test_what_is_known_ahead_goes_on_for_a_horizon_and_is_not_filled() -> None:
    stamps, promo = times(104, 3_600), np.arange(104.0)
    promo[101] = np.nan
    raw = seasonal(100) | {"promo": (stamps, promo), "late": (stamps, np.arange(104.0))}
    series, _ = regularise("one", raw, SPEC.override({"future_covariates": ["promo"], "covariates": ["late"], "horizon": 3}))
    assert len(series) == len(series.channels["promo"]) == len(series.channels["late"]) == 100
    np.testing.assert_array_equal(series.ahead["promo"], [100.0, np.nan, 102.0])
    assert set(series.ahead) == {"promo"}
    assert series.until(3)[-1] == stamps[102]


def test_the_first_target_sets_the_grid_and_the_others_follow() -> None:
    stamps, values = times(400, 900), np.arange(400.0)
    raw = {"value": seasonal(90)["value"], "mate": (stamps[40:], values[40:])}
    series, _ = regularise("one", raw, SPEC.override({"targets": ["value", "mate"]}))
    assert (series.step_s, len(series)) == (3_600, 90)
    assert np.flatnonzero(series.observed["mate"])[0] == 10


def test_too_short_says_how_much_is_missing() -> None:
    with pytest.raises(InsufficientData, match="12 of 13 rows") as caught:
        prepare("one", one(np.arange(12.0)), SPEC)
    [requirement] = caught.value.extra["requirements"]
    assert (requirement["have"], requirement["need"], requirement["met"]) == (12, 13, False)


def test_a_channel_that_vanished_is_said_not_hidden() -> None:
    raw = seasonal(200) | {"humidity": (times(150, 3_600), np.arange(150.0))}
    case = prepare("one", raw, SPEC.override({"covariates": ["humidity"]}))
    assert "channel_vanished" in [found["code"] for found in case.warnings]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=2, max_size=40), st.randoms())
@settings(deadline=None)
def test_no_order_of_rows_and_no_value_breaks_the_grid(values: list[float], random: object) -> None:
    stamps = times(len(values), 60)
    shuffle = np.random.default_rng(len(values)).permutation(len(values))
    try:
        straight, _ = regularise("one", {"value": (stamps, np.array(values))}, SPEC.override({"cadence_s": 60.0}))
        mixed, _ = regularise("one", {"value": (stamps[shuffle], np.array(values)[shuffle])}, SPEC.override({"cadence_s": 60.0}))
    except InsufficientData:
        return
    np.testing.assert_array_equal(straight.channels["value"], mixed.channels["value"])
    assert not np.isinf(straight.channels["value"]).any()


@given(st.lists(st.booleans(), min_size=4, max_size=200).filter(lambda seen: sum(seen) >= 4))
@settings(deadline=None)
def test_the_parts_touch_cover_all_rows_and_none_is_without_observations(seen: list[bool]) -> None:
    observed = np.array(seen)
    parts = split(observed, Split())
    order = [parts.fit, parts.stop, parts.calibrate, parts.test]
    assert order[0].start == 0
    assert order[-1].stop == len(observed)
    assert all(before.stop == after.start for before, after in itertools.pairwise(order))
    assert all(observed[part].any() for part in order)


def test_the_split_counts_observations_not_rows() -> None:
    observed = np.zeros(300, dtype=bool)
    observed[:50] = observed[250:] = True
    parts = split(observed, Split())
    assert observed[parts.fit].sum() == 64
    assert observed[parts.test].sum() == 20


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=30), st.integers(0, 5))
def test_filling_looks_back_only_and_never_too_far(cells: list[int | None], limit: int) -> None:
    values = np.array([np.nan if cell is None else float(cell) for cell in cells])
    filled = fill_forward(values, limit)
    for row in range(len(values)):
        reach = values[max(0, row - limit) : row + 1]
        known = reach[np.isfinite(reach)]
        assert (filled[row] == known[-1]) if known.size else np.isnan(filled[row])


@pytest.mark.parametrize(
    ("values", "flat"), [([], True), ([np.nan], True), ([1.0, np.nan, 1.0], True), ([0.0, 1e-12], False), ([1, 2], False)]
)
def test_flat(values: list[float], flat: bool) -> None:
    assert is_flat(np.array(values)) is flat
