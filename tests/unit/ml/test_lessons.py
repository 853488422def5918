"""The fit part as chunks: goals by hand, nothing of later rows, every row learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ml.fitted import Case
from ml.lessons import lesson
from ml.trainer import prepare
from tests.support import series
from tests.unit.ml.doubles import HOURLY

SPEC = HOURLY.override({"window": 8, "horizon": 3})


def case(raw: series.Raw | None = None) -> Case:
    return prepare("one", raw or series.seasonal(200), SPEC)


def test_shapes_agree() -> None:
    found = lesson(case())
    chunks, length, width = found.inputs.shape
    assert (length, width) == (16, 5)
    goals, counted = found.goals(torch.arange(chunks))
    assert goals.shape == counted.shape == (chunks, length, 3)


def test_goals_by_hand() -> None:
    """At each row: what comes after it, minus the row's own value, in running deviations. Trap T1."""
    one, found = case(), lesson(case())
    goals, _ = found.goals(torch.tensor([1]))
    row, at = 12, int(found.rows[1, 12])
    change = (one.target[at + 1 : at + 4] - one.target[at]) / float(found.deviation[1, row])
    np.testing.assert_allclose(goals[0, row].numpy(), change, rtol=1e-6)


def test_rows_after_the_fit_part_change_nothing() -> None:
    one = case()
    end = one.parts.fit.stop
    values = one.values.copy()
    values[end:] = 1e9
    two = replace(one, values=values)
    for name in ("inputs", "last", "deviation", "learned"):
        assert torch.equal(getattr(lesson(one), name), getattr(lesson(two), name))
    assert torch.equal(torch.nan_to_num(lesson(one).futures), torch.nan_to_num(lesson(two).futures))


def test_no_goal_is_filled_or_missing() -> None:
    stamps, values = series.seasonal(200)["value"]
    values = values.copy()
    values[[40, 41, 60, 61, 62, 63, 64]] = np.nan
    holed = case({"value": (stamps, values)})
    found = lesson(holed)
    goals, counted = found.goals(torch.arange(len(found)))
    assert torch.isfinite(goals).all()
    targets = found.rows.unsqueeze(2) + 1 + torch.arange(3)
    aimed_at = targets[counted.bool()].numpy()
    assert holed.observed[aimed_at].all()
    assert aimed_at.max() == holed.parts.fit.stop - 1


def test_an_epoch_takes_every_chunk_of_one_phase_once() -> None:
    found = lesson(prepare("one", series.seasonal(2_000), SPEC))
    generator = torch.Generator().manual_seed(0)
    seen = [found.order(generator).tolist() for _ in range(50)]
    assert all(len(set(order)) == len(order) for order in seen)
    assert set().union(*seen) == set(range(len(found)))
    learned = found.rows[seen[0]][found.learned[seen[0]]].unique()
    assert len(learned) > 0.9 * 0.64 * 2_000
