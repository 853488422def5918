"""What is kept of a version: how independent rows are, whole seasons, and errors of rows held back from the network."""

from __future__ import annotations

import numpy as np
import pytest

from ml.answers import origins_of, served
from ml.reference import apart, reference_of, sample
from ml.trainer import fit, prepare
from ml.windows import futures
from tests.support.series import health, seasonal
from tests.unit.ml.doubles import HOURLY, Diary


def lasting(share: float, rows: int = 20_000) -> np.ndarray:
    found, surprises = np.zeros(rows), np.random.default_rng(1).standard_normal(rows)
    for n in range(1, rows):
        found[n] = share * found[n - 1] + surprises[n]
    return found


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_rows_that_last_are_worth_fewer(share: float) -> None:
    """Of a first-order autoregression, (1 + share) / (1 − share) rows are one."""
    assert apart(lasting(share)) == pytest.approx((1 + share) / (1 - share), rel=0.2)


def test_a_course_that_every_season_repeats_makes_nothing_dependent() -> None:
    values = 50 * np.sin(2 * np.pi * np.arange(2_400) / 24) + np.random.default_rng(2).standard_normal(2_400)
    assert apart(values) > 4
    assert apart(values, 24) < 1.3


def test_a_walk_has_next_to_no_independent_rows() -> None:
    assert all(400 / apart(np.random.default_rng(seed).standard_normal(400).cumsum()) < 15 for seed in range(20))


@pytest.mark.parametrize("values", [[3.3] * 50, [7.0], [1e30] * 9, [0.0, float("nan"), 0.0], [float("nan"), 5.0]])
def test_what_does_not_move_is_worth_each_row(values: list[float]) -> None:
    assert apart(np.array(values)) == 1.0


def test_gaps_are_no_values() -> None:
    values = np.where(np.arange(300) % 3 == 0, np.nan, np.random.default_rng(3).standard_normal(300))
    assert sample(values).rows == 200


def test_a_reference_is_of_the_rows_that_it_says() -> None:
    raw = seasonal(600)
    case = prepare("one", raw, HOURLY)
    [found] = fit([case], HOURLY, Diary())
    assert found is not None
    [fitted] = found
    kept = reference_of(case, fitted)
    learned = raw["value"][1][: case.parts.fit.stop // 24 * 24 + case.parts.fit.stop % 24][case.parts.fit.stop % 24 :]
    assert kept.inputs["value"].rows == len(learned)
    assert kept.inputs["value"].below == tuple(float((learned < cut).mean()) for cut in kept.inputs["value"].cuts)
    held = origins_of(case, slice(case.parts.stop.start, case.parts.test.stop)).of(0)
    error = np.abs(futures(case.targets, held.rows, HOURLY.horizon)[:, 0] - served(fitted, case, held.rows))
    assert kept.by_step == pytest.approx(np.nanmean(np.where(held.counted, error, np.nan), axis=0))
    assert kept.errors is not None
    assert kept.errors.rows == len(held.rows)


def test_a_serving_baseline_reads_the_target_alone() -> None:
    spec = HOURLY.__class__(targets=("rhr",), covariates=("steps",), horizon=2, window=7, epochs=1, cadence_s=86_400.0)
    case = prepare("one", health(25, holes=0.0), spec)
    [found] = fit([case], spec, Diary())
    assert found is not None
    assert not found[0].by_network
    assert set(reference_of(case, found[0]).inputs) == {"rhr"}
