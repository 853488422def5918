"""The forest as arrays: what scikit-learn says, to the last digit, and refused where walking it could go astray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from ml.anomaly.forest import LEAF, ROWS_AT_ONCE, Forest, from_sklearn, grow, restored
from ml.errors import ArtefactCorrupt

Tensors = dict[str, Any]


def rows_of(seed: int, rows: int, features: int) -> np.ndarray[Any, Any]:
    """Some of them with ties, some far outside."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((rows, features)) * 10.0 ** random.integers(-3, 4, features)
    made[:, 0] = np.round(made[:, 0])
    return made


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), fitted=st.integers(2, 400), features=st.integers(1, 8), trees=st.integers(1, 8))
def test_it_scores_as_scikit_learn_does(seed: int, fitted: int, features: int, trees: int) -> None:
    sample = min(fitted, 256)
    rows = rows_of(seed, fitted + 50, features)
    theirs = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed).fit(rows[:fitted])
    ours = from_sklearn(theirs, sample)
    np.testing.assert_allclose(ours.scores(rows), -theirs.score_samples(rows), rtol=0, atol=1e-12)


def test_more_rows_than_are_walked_at_a_time_score_as_each_alone() -> None:
    rows = rows_of(1, ROWS_AT_ONCE + 3, 2)
    forest = grow(rows, 5, 64, 0)
    whole = forest.scores(rows)
    assert whole.shape == (len(rows),)
    for row in (0, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 2):
        assert forest.scores(rows[row : row + 1])[0] == whole[row]


def test_the_same_seed_grows_the_same_forest_and_another_another() -> None:
    rows = rows_of(2, 300, 3)
    first, again, other = (grow(rows, 10, 64, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(array, again.tensors()[name]) for name, array in first.tensors().items())
    assert not np.array_equal(first.scores(rows), other.scores(rows))


def test_what_lies_far_out_scores_higher_than_the_middle() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 2))
    far, near = grow(rows, 50, 256, 0).scores(np.array([[9.0, -9.0], [0.0, 0.0]]))
    assert far > 0.7 > 0.5 > near


@pytest.fixture(scope="module")
def forest() -> Forest:
    return grow(rows_of(3, 200, 3), 4, 32, 0)


def changed(forest: Forest, name: str, change: Callable[[Any], Any]) -> Tensors:
    tensors = {key: array.copy() for key, array in forest.tensors().items()}
    tensors[name] = change(tensors[name])
    return tensors


def put(place: int, value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[place] = value
        return array

    return change


def test_it_comes_back_from_its_arrays(forest: Forest) -> None:
    again = restored(forest.tensors(), 3)
    rows = rows_of(4, 20, 3)
    assert np.array_equal(again.scores(rows), forest.scores(rows))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("roots", put(0, -1)),
        ("roots", put(0, 10**6)),
        ("feature", put(0, 3)),
        ("feature", put(0, -2)),
        ("feature", put(0, LEAF)),  # its children are not itself
        ("left", put(0, 0)),  # a walk that never ends
        ("left", put(0, 10**6)),
        ("right", put(0, -1)),
        ("threshold", put(0, np.nan)),
        ("threshold", put(0, np.inf)),
        ("length", put(0, -1.0)),
        ("usual", put(0, 0.0)),
        ("length", lambda array: array[:-1]),
        ("left", lambda array: array[:, None]),
        ("left", lambda array: array.astype(np.int64)),
        ("threshold", lambda array: array.astype(np.float32)),
        ("roots", lambda array: array[:0]),
    ],
)
def test_arrays_that_cannot_be_walked_are_refused(forest: Forest, name: str, change: Callable[[Any], Any]) -> None:
    with pytest.raises(ArtefactCorrupt, match=name):
        restored(changed(forest, name, change), 3)


def test_a_missing_array_is_refused(forest: Forest) -> None:
    tensors = forest.tensors()
    del tensors["right"]
    with pytest.raises(ArtefactCorrupt, match="right"):
        restored(tensors, 3)


def test_fewer_features_than_it_asks_for_are_refused(forest: Forest) -> None:
    with pytest.raises(ArtefactCorrupt, match="feature"):
        restored(forest.tensors(), 2)
