"""What rivals are given: nothing looks ahead, and the terms are everybody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.question import Question
from bench.rivals.stopwatch import Stopwatch
from bench.rivals.task import Task
from bench.rivals.textbook import forecasts


def task(values: np.ndarray, folder: Path) -> Task:
    rows = len(values)
    origins, horizon = np.arange(rows * 4 // 5, rows - 2), 2
    counted = np.ones((len(origins), horizon), dtype=bool)
    asked = Question("set", "s", values, rows * 3 // 5, rows * 4 // 5, origins, counted, np.zeros(counted.shape), 1.0, 7, 6, 8, 1, 0.0)
    asked.hand_over(folder / "0.npz")
    return Task.read(folder / "0.npz")


def test_missing_rows_carry_the_one_before_them_forward(tmp_path: Path) -> None:
    values = np.arange(60.0)
    values[[10, 11, 40]] = np.nan
    found = task(values, tmp_path).values
    assert found[[10, 11, 40]].tolist() == [9.0, 9.0, 39.0]
    assert np.isfinite(found).all()


def test_windows_end_with_their_row_and_futures_begin_after_it(tmp_path: Path) -> None:
    found = task(np.arange(60.0), tmp_path)
    rows = np.array([20, 30])
    assert found.windows(rows)[:, -1].tolist() == [20.0, 30.0]
    assert found.windows(rows).shape == (2, found.window)
    assert found.futures(rows).tolist() == [[21.0, 22.0], [31.0, 32.0]]


@pytest.mark.parametrize("rows", [60, 61, 75, 200, 399])
def test_the_short_task_of_a_warm_up_is_whole(rows: int, tmp_path: Path) -> None:
    whole = task(np.arange(float(rows)), tmp_path)
    short = whole.shortened()
    assert whole.window + whole.horizon <= short.fit_until < short.test_from == len(short.values) <= len(whole.values)
    assert short.windows(short.origins).shape == (1, whole.window)


def test_what_comes_after_an_origin_changes_nothing_in_its_forecast(tmp_path: Path) -> None:
    values = np.sin(np.arange(100.0))
    other = values.copy()
    other[91:] = 50.0
    said = [forecasts("textbook", replace(task(rows, tmp_path), epochs=1), Stopwatch()) for rows in (values, other)]
    assert np.array_equal(said[0][:11], said[1][:11])
    assert not np.array_equal(said[0], said[1])
