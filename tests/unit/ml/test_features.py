"""What the network sees: nothing of the future, nothing the scaler should not know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.features import (
    CLIP,
    Scaler,
    View,
    calendar,
    carry,
    fit_scaler,
    look,
    look_ahead,
    rolling_mean,
    running_moments,
    season_of,
)
from ml.shapes import ahead_width, input_width
from ml.spec import ModelSpec
from tests.support.series import times

CELLS = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32))
#: Two targets, a past covariate, one known ahead, and rolling means of the latter two.
SPEC = ModelSpec(("a", "b"), ("c",), ("d",), rolling=(2, 5), window=12)
ALONE = ModelSpec(("a",), window=8)
BESIDE = ModelSpec(("a",), ("b",), window=12)


def scaler_of(spec: ModelSpec) -> Scaler:
    rows = np.random.default_rng(0).standard_normal((100, len(spec.inputs)))
    return fit_scaler(rows, slice(0, 100), spec.window, len(spec.targets))


def seen(stretch: np.ndarray, spec: ModelSpec, scaler: Scaler | None = None) -> View:
    return look(stretch, np.zeros((*stretch.shape[:2], 2)), scaler or scaler_of(spec), spec)


@pytest.mark.parametrize("targets", [1, 2])
def test_the_scaler_is_blind_to_all_but_the_fit_part(targets: int) -> None:
    values = np.random.default_rng(0).standard_normal((100, 2))
    other = values.copy()
    other[64:] = 1e9
    one, two = (fit_scaler(x, slice(0, 64), 8, targets) for x in (values, other))
    for name in ("center", "scale", "change", "low", "high", "spread"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.spread.shape == (targets,)


def test_each_target_is_scaled_as_it_would_be_alone() -> None:
    values = np.random.default_rng(0).standard_normal((100, 3)) * [1.0, 50.0, 1e-3]
    together = fit_scaler(values, slice(0, 64), 8, 3)
    for column in range(3):
        alone = fit_scaler(values[:, [column]], slice(0, 64), 8, 1)
        for name in ("center", "scale", "change", "low", "high", "spread"):
            assert getattr(together, name)[column] == getattr(alone, name)[0]


@pytest.mark.parametrize("column", [np.zeros(50), np.full(50, 1e9), np.full(50, np.nan), np.full(50, -3e29), np.r_[np.zeros(49), 1e29]])
def test_no_column_has_a_scale_of_zero(column: np.ndarray) -> None:
    scaler = fit_scaler(column[:, None], slice(0, 50), 8, 1)
    assert (scaler.scale > 0).all()
    assert (scaler.change > 0).all()
    assert (scaler.spread > 0).all()
    assert np.isfinite(scaler.center).all()


@given(arrays.arrays(np.float64, (1, 24, 4), elements=CELLS), st.integers(1, 23), st.data())
@settings(deadline=None, max_examples=20)
def test_changing_the_future_changes_no_input(stretch: np.ndarray, row: int, data: st.DataObject) -> None:
    other = stretch.copy()
    other[:, row:] = data.draw(arrays.arrays(np.float64, (1, 24 - row, 4), elements=CELLS))
    one, two = seen(stretch, SPEC), seen(other, SPEC)
    np.testing.assert_array_equal(one.inputs[:, :row], two.inputs[:, :row])
    np.testing.assert_array_equal(one.last[:, :row], two.last[:, :row])
    np.testing.assert_array_equal(one.deviation[:, :row], two.deviation[:, :row])


@given(arrays.arrays(np.float64, (2, 16, 4), elements=CELLS))
@settings(deadline=None, max_examples=20)
def test_inputs_are_finite_and_clipped_whatever_comes(stretch: np.ndarray) -> None:
    view = seen(stretch, SPEC)
    assert view.inputs.shape == (2, 16, input_width(SPEC))
    assert np.abs(view.inputs).max() <= CLIP
    assert view.last.shape == view.deviation.shape == (2, 16, 2)
    assert np.isfinite(view.last).all()
    assert (view.deviation > 0).all()
    ahead = look_ahead(stretch[:, :, 3:], np.zeros((2, 16, 2)), scaler_of(SPEC), SPEC)
    assert ahead.shape == (2, 16, ahead_width(SPEC))
    assert np.abs(ahead).max() <= CLIP


@given(arrays.arrays(np.float64, (2, 12, 2), elements=st.one_of(st.just(np.nan), st.floats(-100, 100))))
@settings(deadline=None, max_examples=20)
def test_a_target_is_seen_beside_another_as_it_is_alone(stretch: np.ndarray) -> None:
    """Value, change, mark, last value and deviation of each of two targets, against a spec of one target."""
    both, rows = ModelSpec(("a", "b"), window=8), np.random.default_rng(0).standard_normal((100, 2))
    together = seen(stretch, both, fit_scaler(rows, slice(0, 100), 8, 2))
    for column in range(2):
        alone = seen(stretch[:, :, [column]], ALONE, fit_scaler(rows[:, [column]], slice(0, 100), 8, 1))
        np.testing.assert_allclose(together.inputs[:, :, [column, 2 + column, 4 + column]], alone.inputs[:, :, :3], atol=1e-5)
        np.testing.assert_array_equal(together.last[:, :, column], alone.last[:, :, 0])
        np.testing.assert_allclose(together.deviation[:, :, column], alone.deviation[:, :, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "width", "ahead"),
    [
        (ALONE, 5, 2),
        (BESIDE, 8, 2),
        (ModelSpec(("a", "b"), ("c",)), 11, 2),
        (ModelSpec(("a",), ("b", "c"), rolling=(3, 7)), 15, 2),
        (ModelSpec(("a",), (), ("d", "e"), rolling=(3,)), 13, 6),
        (ModelSpec(("a",), rolling=(3, 7)), 5, 2),
    ],
)
def test_widths(spec: ModelSpec, width: int, ahead: int) -> None:
    """Rolling means are of covariates: a model of targets alone has none."""
    assert (input_width(spec), ahead_width(spec)) == (width, ahead)
    assert seen(np.zeros((1, 6, len(spec.inputs))), spec).inputs.shape == (1, 6, width)


def test_running_moments_by_hand() -> None:
    stretch = np.array([[1.0, np.nan, 3.0]])
    mean, deviation = running_moments(stretch, halflife=1.0, spread=np.array([2.0]))
    weights = np.array([0.25, 1.0])
    by_hand = (weights * [1.0, 3.0]).sum() / weights.sum()
    assert mean[0].tolist() == pytest.approx([1.0, 1.0, by_hand])
    scatter = (weights * (np.array([1.0, 3.0]) - by_hand) ** 2).sum()
    assert deviation[0, 2] == pytest.approx(np.sqrt((scatter + 2 * 4.0) / (weights.sum() + 2)))


def test_rolling_means_by_hand() -> None:
    """Of the known values among the last rows; fewer at the beginning, none where none is known."""
    stretch = np.array([[[1.0], [np.nan], [3.0], [8.0], [np.nan], [np.nan], [np.nan]]])
    assert rolling_mean(stretch, 2)[0, :5, 0].tolist() == [1.0, 1.0, 3.0, 5.5, 8.0]
    assert np.isnan(rolling_mean(stretch, 2)[0, 5:]).all()
    assert rolling_mean(stretch, 7)[0, :, 0].tolist() == [1.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


@given(arrays.arrays(np.float64, (2, 14, 2), elements=st.one_of(st.just(np.nan), st.floats(-9, 9))), st.integers(2, 20))
@settings(deadline=None, max_examples=20)
def test_rolling_means_are_the_means_of_their_rows(stretch: np.ndarray, rows: int) -> None:
    found = rolling_mean(stretch, rows)
    for at in range(14):
        for chunk in range(2):
            for column in range(2):
                held = stretch[chunk, max(0, at - rows + 1) : at + 1, column]
                known = held[np.isfinite(held)]
                mean = known.mean() if known.size else np.nan
                np.testing.assert_allclose(found[chunk, at, column], mean, atol=1e-9)


def test_one_absurd_value_leaves_the_rolling_means_of_later_rows_alone() -> None:
    spec = ModelSpec(("a",), ("b",), rolling=(3,), window=12)
    calm = np.random.default_rng(1).standard_normal((1, 20, 2))
    absurd = calm.copy()
    absurd[0, 4, 1] = 1e29
    one, two = (seen(stretch, spec).inputs[0, :, 6] for stretch in (calm, absurd))
    assert two[4] > one[4]
    np.testing.assert_allclose(one[7:], two[7:], atol=1e-5)


def test_a_level_shift_leaves_the_inputs_of_later_windows_as_they_were() -> None:
    """What scaling once by the fit part cannot do, and why the target is normalised by its own window."""
    wave = np.sin(np.arange(24.0))[None, :, None]
    scaler = fit_scaler(wave[0], slice(0, 24), 8, 1)
    before, after = (seen(wave + lift, ALONE, scaler) for lift in (0.0, 1_000.0))
    np.testing.assert_allclose(before.inputs, after.inputs, atol=1e-5)


def test_a_covariate_keeps_its_level() -> None:
    low = np.zeros((1, 24, 2))
    high = low.copy()
    high[:, :, 1] = 1.0
    assert (seen(high, BESIDE).inputs[0, :, 1] > seen(low, BESIDE).inputs[0, :, 1]).all()


def test_missing_is_marked() -> None:
    view = seen(np.array([[[1.0, np.nan], [np.nan, 2.0]]]), BESIDE)
    assert view.inputs[0, :, 4:6].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert view.last[0, :, 0].tolist() == pytest.approx([1.0, 1.0])


def test_what_is_known_ahead_is_scaled_by_the_fit_part_and_marked_where_missing() -> None:
    scaler, values = scaler_of(SPEC), np.array([[[1.0], [np.nan], [1e9]]])
    phases = np.array([[[0.5, -0.5]] * 3])
    found = look_ahead(values, phases, scaler, SPEC)
    assert found[0, :, :2].tolist() == [[0.5, -0.5]] * 3
    assert found[0, :, 2].tolist() == pytest.approx([(1.0 - scaler.center[3]) / scaler.scale[3], 0.0, CLIP])
    assert found[0, :, 3].tolist() == [0.0, 1.0, 0.0]


def test_carry() -> None:
    assert carry(np.array([[np.nan, 1.0, np.nan, 2.0]])).tolist() == [[0.0, 1.0, 1.0, 2.0]]


@pytest.mark.parametrize(
    ("step_s", "steps"), [(1, 3_600), (30, 120), (60, 1_440), (300, 288), (900, 96), (3_600, 24), (86_400, 7), (604_800, 52)]
)
def test_the_season_follows_from_the_cadence(step_s: float, steps: int) -> None:
    assert season_of(step_s).steps == steps


def test_the_calendar_returns_after_a_season_whatever_the_step() -> None:
    """Trap T16: nothing assumes a minute between rows."""
    season = season_of(300)
    phases = calendar(times(600, 300), season)
    np.testing.assert_allclose(phases[:288], phases[288:576], atol=1e-9)
    assert phases[0].tolist() == pytest.approx([0.0, 1.0])
