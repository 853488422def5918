"""Tallies: the same figures as one computation over all pairs gives, by hand and whatever the pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.metrics import Scores, coverage, score, winkler, with_skill
from ml.tally import Tally, figures, tally

NAIVE = ("persistence", "seasonal_naive")


def by_hand() -> dict[str, Tally]:
    """Two origins, two steps; the second origin's last step was not observed. The baselines miss by 1 and 2, and by 2."""
    truth = np.array([[10.0, 20.0], [30.0, np.nan]])
    counted = np.isfinite(truth)
    half, none = np.array([2.0, 3.0]), np.zeros((2, 2))
    lstm = truth + np.array([[1.0, -4.0], [-3.0, 0.0]])
    return {
        "lstm": tally(truth, lstm, counted, 2.0),
        "persistence": tally(truth, truth + np.array([[1.0, 2.0], [1.0, 0.0]]), counted, 2.0),
        "seasonal_naive": tally(truth, truth + 2.0, counted, 2.0),
        "served": tally(truth, np.where(counted, lstm, none), counted, 2.0, half, 0.9),
    }


def test_figures_by_hand() -> None:
    """`served` misses at the first step by 1 (inside 2) and by 3 (1 outside), at the second by 4 (1 outside 3); that costs 2 / 0.1 each."""
    found = figures(by_hand())
    assert found["served"] == {
        "n": 3,
        "mae": pytest.approx(8 / 3, rel=1e-5),
        "rmse": pytest.approx(np.sqrt(26 / 3), rel=1e-5),
        "mase": pytest.approx(4 / 3, rel=1e-5),
        "skill": pytest.approx(1 - (8 / 3) / (4 / 3), rel=1e-5),
        "coverage": pytest.approx(1 / 3, rel=1e-5),
        "winkler": pytest.approx((4 + 4 + 20 + 6 + 20) / 3, rel=1e-5),
        "metrics_per_step": {
            "n": [2, 1],
            "mae": [2.0, 4.0],
            "rmse": [pytest.approx(np.sqrt(5), rel=1e-5), 4.0],
            "mase": [1.0, 2.0],
            "skill": [-1.0, -1.0],
            "coverage": [0.5, 0.0],
            "winkler": [14.0, 26.0],
        },
    }
    assert (found["lstm"]["coverage"], found["lstm"]["metrics_per_step"]["winkler"]) == (None, None)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 6), st.integers(1, 29))
def test_pieces_add_up_to_what_ml_metrics_says_of_the_whole(seed: int, origins: int, horizon: int, at: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.standard_normal((origins, horizon))
    counted = random.random((origins, horizon)) < 0.7
    guesses = {name: truth + random.standard_normal((origins, horizon)) for name in ("lstm", *NAIVE)}
    half = random.random(horizon)

    def tallied(name: str) -> Tally:
        parts = ((slice(0, at)), slice(at, None))
        pieces = [tally(truth[part], guesses[name][part], counted[part], 0.5, half, 0.8) for part in parts]
        return pieces[0] + pieces[1] + Tally.none(horizon)

    found = figures({name: tallied(name) for name in guesses})
    whole = with_skill({name: score(truth, guess, counted, 0.5) for name, guess in guesses.items()}, NAIVE)
    for name, guess in guesses.items():
        expected: Scores = whole[name]
        assert found[name]["n"] == expected.n
        for measure in ("mae", "rmse", "mase", "skill"):
            assert agree(found[name][measure], getattr(expected, measure))
        assert agree(found[name]["coverage"], coverage(truth, guess, half, counted))
        assert agree(found[name]["winkler"], winkler(truth, guess, half, counted, 0.8))


def agree(told: float | None, expected: float | None) -> bool:
    return told is expected if told is None or expected is None else told == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_nothing_counted_is_no_number_and_no_warning() -> None:
    found = figures(dict.fromkeys(("lstm", *NAIVE), Tally.none(3)))["lstm"]
    assert found == {
        "n": 0,
        **dict.fromkeys(("mae", "rmse", "mase", "skill", "coverage", "winkler")),
        "metrics_per_step": {
            "n": [0, 0, 0],
            **dict.fromkeys(("mae", "rmse", "mase", "skill", "coverage", "winkler")),
        },
    }


def test_a_step_without_a_pair_is_null_among_numbers() -> None:
    truth, counted = np.ones((1, 2)), np.array([[True, False]])
    found = figures({name: tally(truth, truth + 1, counted, None) for name in NAIVE})["persistence"]
    assert found["metrics_per_step"]["mae"] == [1.0, None]
    assert (found["mase"], found["metrics_per_step"]["mase"]) == (None, None), "no scale, no MASE"


def test_where_the_baseline_makes_no_error_skill_is_zero_or_none() -> None:
    truth, counted = np.ones((2, 1)), np.ones((2, 1), dtype=np.bool_)
    right, wrong = tally(truth, truth, counted, 1.0), tally(truth, truth + 1, counted, 1.0)
    found = figures({"persistence": right, "seasonal_naive": wrong, "lstm": wrong})
    assert (found["persistence"]["skill"], found["lstm"]["skill"]) == (0.0, None)
