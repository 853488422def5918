"""What the network sees: nothing of the future, nothing the scaler should not know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.features import CLIP, calendar, carry, fit_scaler, input_width, look, running_moments, season_of
from tests.support.series import times

CELLS = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32))


def test_the_scaler_is_blind_to_all_but_the_fit_part() -> None:
    values = np.random.default_rng(0).standard_normal((100, 2))
    other = values.copy()
    other[64:] = 1e9
    one, two = (fit_scaler(x, slice(0, 64), 8) for x in (values, other))
    for name in ("center", "scale", "change", "low", "high"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.spread == two.spread


@pytest.mark.parametrize("column", [np.zeros(50), np.full(50, 1e9), np.full(50, np.nan), np.full(50, -3e29), np.r_[np.zeros(49), 1e29]])
def test_no_column_has_a_scale_of_zero(column: np.ndarray) -> None:
    scaler = fit_scaler(column[:, None], slice(0, 50), 8)
    assert (scaler.scale > 0).all()
    assert (scaler.change > 0).all()
    assert scaler.spread > 0
    assert np.isfinite(scaler.center).all()


@given(arrays.arrays(np.float64, (1, 24, 2), elements=CELLS), st.integers(1, 23), st.data())
@settings(deadline=None, max_examples=60)
def test_changing_the_future_changes_no_input(stretch: np.ndarray, row: int, data: st.DataObject) -> None:
    other = stretch.copy()
    other[:, row:] = data.draw(arrays.arrays(np.float64, (1, 24 - row, 2), elements=CELLS))
    scaler = fit_scaler(np.random.default_rng(0).standard_normal((100, 2)), slice(0, 100), 8)
    phases = np.zeros((1, 24, 2))
    one, two = look(stretch, phases, scaler, 6.0), look(other, phases, scaler, 6.0)
    np.testing.assert_array_equal(one.inputs[:, :row], two.inputs[:, :row])
    np.testing.assert_array_equal(one.last[:, :row], two.last[:, :row])
    np.testing.assert_array_equal(one.deviation[:, :row], two.deviation[:, :row])


@given(arrays.arrays(np.float64, (2, 16, 1), elements=CELLS))
@settings(deadline=None, max_examples=60)
def test_inputs_are_finite_and_clipped_whatever_comes(stretch: np.ndarray) -> None:
    view = look(stretch, np.zeros((2, 16, 2)), fit_scaler(np.arange(50.0)[:, None], slice(0, 50), 8), 4.0)
    assert view.inputs.shape == (2, 16, input_width(1))
    assert np.abs(view.inputs).max() <= CLIP
    assert np.isfinite(view.last).all()
    assert (view.deviation > 0).all()


def test_running_moments_by_hand() -> None:
    stretch = np.array([[1.0, np.nan, 3.0]])
    mean, deviation = running_moments(stretch, halflife=1.0, spread=2.0)
    weights = np.array([0.25, 1.0])
    by_hand = (weights * [1.0, 3.0]).sum() / weights.sum()
    assert mean[0].tolist() == pytest.approx([1.0, 1.0, by_hand])
    scatter = (weights * (np.array([1.0, 3.0]) - by_hand) ** 2).sum()
    assert deviation[0, 2] == pytest.approx(np.sqrt((scatter + 2 * 4.0) / (weights.sum() + 2)))


def test_a_level_shift_leaves_the_inputs_of_later_windows_as_they_were() -> None:
    """What scaling once by the fit part cannot do, and why the target is normalised by its own window."""
    wave = np.sin(np.arange(24.0))[None, :, None]
    scaler = fit_scaler(wave[0], slice(0, 24), 8)
    before, after = (look(wave + lift, np.zeros((1, 24, 2)), scaler, 6.0) for lift in (0.0, 1_000.0))
    np.testing.assert_allclose(before.inputs, after.inputs, atol=1e-5)


def test_a_covariate_keeps_its_level() -> None:
    values = np.zeros((1, 24, 2))
    scaler = fit_scaler(np.random.default_rng(0).standard_normal((100, 2)), slice(0, 100), 8)
    low, high = values.copy(), values.copy()
    high[:, :, 1] = 1.0
    phases = np.zeros((1, 24, 2))
    assert (look(high, phases, scaler, 6.0).inputs[0, :, 1] > look(low, phases, scaler, 6.0).inputs[0, :, 1]).all()


def test_missing_is_marked() -> None:
    stretch = np.array([[[1.0, np.nan], [np.nan, 2.0]]])
    view = look(stretch, np.zeros((1, 2, 2)), fit_scaler(np.random.default_rng(0).standard_normal((50, 2)), slice(0, 50), 8), 4.0)
    assert view.inputs[0, :, 4:6].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert view.last[0].tolist() == pytest.approx([1.0, 1.0])


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
