"""When a training was as good as done, and that our answer is to the question asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench.ours import LAST, LEVELS, ask, near_after, ours
from bench.sets import series_sets, wave
from ml.fitted import Epoch


def course(*losses: float, seconds: float = 2.0) -> tuple[Epoch, ...]:
    return tuple(Epoch(n, len(losses), 0.0, loss, 0, seconds) for n, loss in enumerate(losses, 1))


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ((0.9, 0.8, 0.7, 0.6), 1.0),
        ((0.9, 0.5, 0.5, 0.5), 0.5),
        ((0.9, 0.504, 0.5, 0.6), 0.5),
        ((0.5, 0.9, 0.9, 0.9), 0.25),
        ((1.2, 1.1, 1.3, 1.2), 0.25),
    ],
    ids=["to the last", "flat from the second", "within a percent", "the first is best", "never better than the last value"],
)
def test_near_its_best(losses: tuple[float, ...], share: float) -> None:
    assert near_after(course(*losses)) == pytest.approx(share)


def test_our_answer_is_to_the_question_asked() -> None:
    [generated] = series_sets(("generated",))
    spec = generated.spec().override({"window": 8, "horizon": 2, "hidden_size": 8, "num_layers": 1, "epochs": 1})
    case, question = ask("generated", "wave", {"value": wave(0, 300)}, spec)
    found = ours(case, question)
    assert 0 <= found.share <= 1
    assert all(said.shape == question.truth.shape for said in found.forecasts.values())
    last = np.repeat(question.values[question.origins][:, None], 2, axis=1)
    assert np.array_equal(found.forecasts[LAST], last)
    assert question.mase(found.forecasts["served"]) > 0
    assert all(found.last[narrow].coverage <= found.last[wide].coverage for narrow, wide in pairwise(LEVELS))
