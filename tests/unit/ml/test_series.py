"""Raw points to a grid: every bad series gets a clear error or a clean grid, never NaN out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import FeatureMissing, FlatLine, InsufficientData, ModelError, UnusableData
from ml.series import fill_forward, is_flat, regularise, split
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


@pytest.mark.parametrize("step_s", [1, 10, 60, 300, 900, 3_600, 86_400, 604_800])
def test_cadences_from_a_second_to_a_week(step_s: int) -> None:
    series, _ = regularise("one", one(np.arange(50.0), step_s), SPEC)
    assert series.step_s == step_s
    assert len(series) == 50


def test_a_cadence_beyond_a_month_is_refused() -> None:
    with pytest.raises(UnusableData, match=r"every 45\.0 days"):
        regularise("one", one(np.arange(50.0), 45 * 86_400), SPEC)


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


BAD: dict[str, tuple[Raw, type[ModelError]]] = {
    "constant": (one(np.full(200, 5.0)), FlatLine),
    "constant but for rounding": (one(5.0 + 1e-15 * np.arange(200)), FlatLine),
    "all missing": (one(np.full(200, np.nan)), InsufficientData),
    "all infinite": (one(np.full(200, np.inf)), InsufficientData),
    "all 1e38": (one(np.full(200, 1e38)), InsufficientData),
    "empty": (one([]), InsufficientData),
    "one row": (one([1.0]), InsufficientData),
    "one instant": ({"value": (np.repeat(times(1, 1), 50), np.arange(50.0))}, InsufficientData),
    "too short": (one(np.arange(12.0)), InsufficientData),
    "channel absent": ({"other": seasonal(100)["value"]}, FeatureMissing),
    "no channel at all": ({}, FeatureMissing),
    "lengths differ": ({"value": (times(10, 60), np.arange(9.0))}, UnusableData),
    "no time at all": ({"value": (np.full(50, np.datetime64("NaT"), dtype="datetime64[ms]"), np.arange(50.0))}, InsufficientData),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_learned_is_refused_clearly(name: str) -> None:
    raw, error = BAD[name]
    with pytest.raises(error) as caught:
        prepare("one", raw, SPEC)
    assert caught.value.detail
    assert "nan" not in caught.value.detail.lower()


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
