"""The fit part as chunks: goals by hand, nothing of later rows, every row learned from, many entities in one lesson."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ml.features import look_ahead
from ml.fitted import Case
from ml.lessons import FEWEST_CHUNKS, FEWEST_UPDATES, MOST_LEARNED, MOST_UPDATES, ROWS_PER_WINDOW, Lesson, lesson, numbers_of, pooled
from ml.trainer import prepare
from ml.windows import futures
from tests.support import series
from tests.unit.ml.doubles import HOURLY, climate, promoted, spoiled

SPEC = HOURLY.override({"window": 8, "horizon": 3})
CLIMATE = SPEC.override({"targets": ["temperature", "humidity"]})
SALES = SPEC.override({"targets": ["sales"], "future_covariates": ["promo"]})


def case(raw: series.Raw | None = None) -> Case:
    return prepare("one", raw or series.seasonal(200), SPEC)


def every(found: Lesson) -> tuple[torch.Tensor, torch.Tensor]:
    return found.goals(torch.arange(len(found)))


def test_shapes_agree() -> None:
    found = lesson(prepare("one", climate(200), CLIMATE))
    chunks, length, width = found.inputs.shape
    assert (length, width) == (16, 8)
    goals, counted = every(found)
    assert goals.shape == counted.shape == (chunks, length, 2, 3)
    assert found.aheads(torch.arange(chunks)).shape == (chunks, length, 3, 2)


@pytest.mark.parametrize(("raw", "spec"), [(series.seasonal(200), SPEC), (climate(200), CLIMATE)], ids=["one target", "two targets"])
def test_goals_by_hand(raw: series.Raw, spec: object) -> None:
    """At each row: what comes after it, minus the row's own value, in running deviations. Trap T1."""
    one = prepare("one", raw, spec)  # type: ignore[arg-type]
    found = lesson(one)
    goals, _ = found.goals(torch.tensor([1]))
    row, at = 12, int(found.rows[1, 12])
    for k in range(len(one.spec.targets)):
        change = (one.targets[at + 1 : at + 4, k] - one.targets[at, k]) / float(found.deviation[1, row, k])
        np.testing.assert_allclose(goals[0, row, k].numpy(), change, rtol=1e-6)


def test_what_is_known_ahead_of_a_row_is_what_follows_it() -> None:
    one = prepare("one", promoted(200), SALES)
    found = lesson(one)
    rows = found.rows[2].numpy()
    phases = np.moveaxis(futures(one.phases, rows, 3), 1, 2)
    known = look_ahead(np.moveaxis(futures(one.futures, rows, 3), 1, 2), phases, one.scaler, one.spec)
    np.testing.assert_array_equal(found.aheads(torch.tensor([2]))[0].numpy(), known)


def test_what_is_known_ahead_ends_with_the_fit_part() -> None:
    """Known though they were: rows of another part are marked missing, so that nothing of them is learned."""
    found = lesson(prepare("one", promoted(200), SALES))
    assert found.ahead[-1, :, 3].tolist() == [1.0, 1.0, 1.0]
    assert found.ahead[-3, :, 3].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("raw", "spec"), [(climate(200), CLIMATE), (promoted(200), SALES)], ids=["two targets", "known ahead"])
def test_rows_after_the_fit_part_change_nothing(raw: series.Raw, spec: object) -> None:
    one = prepare("one", raw, spec)  # type: ignore[arg-type]
    values = one.values.copy()
    values[one.parts.fit.stop :] = 1e9
    first, second = lesson(one), lesson(spoiled(one, values))
    for field in dataclasses.fields(Lesson):
        here, there = (getattr(found, field.name) for found in (first, second))
        assert np.array_equal(here, there, equal_nan=field.name == "futures"), field.name


def test_no_goal_is_filled_or_missing() -> None:
    stamps, values = series.seasonal(200)["value"]
    values = values.copy()
    values[[40, 41, 60, 61, 62, 63, 64]] = np.nan
    holed = case({"value": (stamps, values)})
    found = lesson(holed)
    goals, counted = every(found)
    assert torch.isfinite(goals).all()
    aimed_at = aims(found)[counted[:, :, 0].bool()].numpy()
    assert holed.observed[aimed_at, 0].all()
    assert aimed_at.max() == holed.parts.fit.stop - 1


def aims(found: Lesson) -> torch.Tensor:
    """(N, L, H) the row that each goal is of."""
    return found.rows.unsqueeze(2) + 1 + torch.arange(3)


def test_a_row_that_one_target_lacks_is_no_goal_of_it_and_one_of_the_other() -> None:
    raw = climate(200)
    stamps, damp = raw["humidity"]
    damp = damp.copy()
    damp[50] = np.nan
    found = lesson(prepare("one", raw | {"humidity": (stamps, damp)}, CLIMATE))
    whole = lesson(prepare("one", raw, CLIMATE))
    (_, counted), (_, before), at = every(found), every(whole), aims(found) == 50
    assert not counted[:, :, 1][at].any()
    assert before[:, :, 1][at].any()
    assert torch.equal(counted[:, :, 0], before[:, :, 0])


def test_an_epoch_takes_every_chunk_of_one_phase_once() -> None:
    found = lesson(prepare("one", series.seasonal(2_000), SPEC))
    generator = torch.Generator().manual_seed(0)
    seen = [found.order(generator).tolist() for _ in range(50)]
    assert all(len(set(order)) == len(order) for order in seen)
    assert set().union(*seen) == set(range(len(found)))
    learned = found.rows[seen[0]][found.learned[seen[0]]].tolist()
    assert len(set(learned)) > 0.9 * 0.64 * 2_000


@pytest.fixture(scope="module")
def family() -> list[Lesson]:
    """Of unlike length: the second entity's rows allow no full chunk."""
    found = [lesson(prepare(str(rows), promoted(rows, seed=rows), SALES)) for rows in (200, 22, 90)]
    assert len({one.length for one in found}) > 1
    return found


def test_each_entitys_goals_are_the_same_among_others_as_alone(family: list[Lesson]) -> None:
    together, first = pooled(family), 0
    for alone in family:
        chunks = torch.arange(first, first + len(alone))
        for here, there in zip(together.goals(chunks), every(alone), strict=True):
            assert torch.equal(here[:, : alone.length], there)
        assert torch.equal(together.inputs[chunks][:, : alone.length], alone.inputs)
        assert torch.equal(together.aheads(chunks)[:, : alone.length], alone.aheads(torch.arange(len(alone))))
        first += len(alone)
    assert first == len(together)


def test_padding_is_never_learned_from(family: list[Lesson]) -> None:
    """Nor is it read before a row that is: it stands at the end."""
    together, first = pooled(family), 0
    goals, counted = every(together)
    assert torch.isfinite(goals).all()
    assert counted.sum() == sum(every(alone)[1].sum() for alone in family)
    for alone in family:
        padding = slice(first, first + len(alone)), slice(alone.length, None)
        assert not counted[padding].any()
        assert not together.learned[padding].any()
        first += len(alone)


def test_an_epoch_of_many_takes_chunks_of_each(family: list[Lesson]) -> None:
    together, generator = pooled(family), torch.Generator().manual_seed(0)
    ends = np.cumsum([len(alone) for alone in family])
    order = together.order(generator).numpy()
    assert set(np.searchsorted(ends, order, side="right").tolist()) == {0, 1, 2}


def test_one_alone_is_pooled_as_itself(family: list[Lesson]) -> None:
    alone, again = family[0], pooled(family[:1])
    for field in dataclasses.fields(Lesson):
        assert np.array_equal(getattr(alone, field.name), getattr(again, field.name), equal_nan=field.name == "futures"), field.name


def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("batch_size", [1, 4, 32, 4096])
@pytest.mark.parametrize("rows", [22, 200, 3_000])
def test_an_epoch_is_cut_into_updates_of_one_size(rows: int, batch_size: int) -> None:
    """All its chunks once; as many updates as its rows ask for, within the bounds and never an empty one."""
    found = case_of(rows)
    batches = found.batches(numbers(), batch_size)
    order = found.order(numbers())
    assert torch.cat(batches).tolist() == order.tolist()
    sizes = [len(batch) for batch in batches]
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert min(FEWEST_UPDATES, len(order)) <= len(batches) <= MOST_UPDATES
    wished = len(order) * found.length / (ROWS_PER_WINDOW * batch_size)
    if FEWEST_UPDATES < wished < min(MOST_UPDATES, len(order)):
        assert len(batches) == round(wished)


def case_of(rows: int) -> Lesson:
    return lesson(case(series.seasonal(rows)))


def test_the_bounds_of_an_epochs_updates_are_reached() -> None:
    """What makes the test above one of bounds."""
    counts = [len(case_of(rows).batches(numbers(), size)) for rows, size in ((200, 32), (3_000, 8), (3_000, 1))]
    assert (counts[0], counts[2]) == (FEWEST_UPDATES, MOST_UPDATES)
    assert FEWEST_UPDATES < counts[1] < MOST_UPDATES


def test_an_epoch_of_a_single_chunk_is_one_update() -> None:
    one = dataclasses.replace(case_of(200), inputs=case_of(200).inputs[:1], phases=1)
    assert [batch.tolist() for batch in one.batches(numbers(), 32)] == [[0]]


@pytest.mark.parametrize("rows", [40, 200, 3_000])
def test_what_a_lesson_will_hold_is_known_before_it_is_laid_out(rows: int) -> None:
    case = prepare("one", series.seasonal(rows), HOURLY)
    assert numbers_of(case) == lesson(case).inputs.numel()


@pytest.mark.parametrize("entities", [1, 3])
def test_a_pool_has_as_many_times_the_updates_as_entities(entities: int) -> None:
    together = pooled([case_of(3_000)] * entities)
    assert together.most_updates == entities * MOST_UPDATES
    assert len(together.batches(numbers(), 1)) == entities * MOST_UPDATES


@pytest.mark.parametrize("window", [8, 50, 300])
@pytest.mark.parametrize("rows", [2_000, 12_000, 40_000])
def test_an_epoch_of_a_long_history_reads_a_part_of_it_and_the_epochs_all(rows: int, window: int) -> None:
    found = lesson(prepare("one", series.seasonal(rows), SPEC.override({"window": window})))
    generator = numbers()
    orders = [found.order(generator) for _ in range(8 * found.phases)]
    most = max(MOST_LEARNED + found.length, 2 * FEWEST_CHUNKS * found.length)
    assert max(len(order) for order in orders) * found.length <= most
    seen = torch.unique(found.rows[torch.cat(orders)])
    assert len(seen) > 0.95 * 0.64 * rows
