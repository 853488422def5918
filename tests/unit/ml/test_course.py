"""One network's training: it learns, it stops, it keeps its best, and it starts where it is told to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ml.answers import answers, origins_of
from ml.course import LOSSES, Course, StopPart, first_loss, one_cycle
from ml.errors import TrainingDiverged
from ml.fitted import Base, Case, Fitted
from ml.lessons import lesson
from ml.metrics import score
from ml.networks import Network
from ml.trainer import fit, prepare
from ml.windows import futures
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, Diary, climate, network_share, same, started, train, weights

BRIEF = HOURLY.override({"epochs": 3, "hidden_size": 8})
CLIMATE = BRIEF.override({"targets": ["temperature", "humidity"]})


def fitted_of(case: Case, diary: Diary | None = None) -> Fitted:
    [found] = fit([case], case.spec, diary or Diary())
    assert found is not None
    return found[0]


def course(case: Case, diary: Diary | None = None) -> Course:
    return Course(case.spec, lesson(case), [StopPart(case)], diary or Diary(), "cpu", case.base)


def turned() -> series.Raw:
    """What rose for as long as it was learned from falls ever since: to have learned is to be wrong."""
    rows = np.arange(200)
    return series.one(np.where(rows < 128, rows, 256 - rows) + 0.2 * np.random.default_rng(0).standard_normal(200))


def stop_loss(case: Case, network: Network) -> float:
    """Of one target, by another road than the course takes."""
    rows = origins_of(case, case.parts.stop)
    truth, counted = futures(case.targets, rows.rows, case.spec.horizon)[:, 0], rows.of(0).counted
    kept, naive = (
        score(truth, answers(name, case, network, rows.rows)[:, 0], counted, None).mae for name in (case.spec.network, "persistence")
    )
    assert kept is not None
    assert naive is not None
    return kept / naive


@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss_falls_over_ten_epochs(network: str) -> None:
    diary = Diary()
    case = prepare("one", series.seasonal(600), HOURLY.override({"epochs": 10, "network": network}))
    fitted_of(case, diary)
    losses = [epoch.train_loss for _, epoch in diary.epochs]
    assert losses[-1] < 0.8 * losses[0]
    assert diary.epochs[-1][1].stop_loss < 0.8


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(loss: str) -> None:
    fitted = train(series.seasonal(400), HOURLY.override({"loss": loss, "epochs": 12}))
    assert min(epoch.stop_loss for epoch in fitted.history) < 0.8


def test_early_stopping_fires_on_a_plateau() -> None:
    """A random walk has nothing to learn: no epoch beats the last value for long."""
    fitted = fitted_of(prepare("one", series.random_walk(600, seed=1), HOURLY.override({"epochs": 100, "patience": 4})))
    last = fitted.history[-1]
    assert last.number < 100
    assert last.number - last.best == 4


def test_the_best_weights_are_served_not_the_last() -> None:
    """Trap T7: the stop-part loss of what was kept is the least of all epochs."""
    spec = HOURLY.override({"epochs": 20, "patience": 20, "learning_rate": 0.05})
    case = prepare("one", series.random_walk(400, seed=2), spec)
    fitted = fitted_of(case)
    best = min(1.0, *(epoch.stop_loss for epoch in fitted.history))
    assert stop_loss(case, fitted.network) == pytest.approx(best, rel=1e-6)
    assert fitted.history[-1].best != fitted.history[-1].number


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_never_beat_the_last_value_is_the_last_value(network: str) -> None:
    fitted = fitted_of(prepare("one", turned(), BRIEF.override({"network": network})))
    assert fitted.history[-1].best == 0
    assert not weights(fitted)["head.weight"].any()
    assert fitted.scores[network]["test"].mae == fitted.scores["persistence"]["test"].mae


def test_a_loss_that_leaves_the_numbers_is_an_error_with_its_epoch() -> None:
    """Trap T11: no number stands in for a loss that is none."""
    case = prepare("one", series.seasonal(200), BRIEF)
    broken = dataclasses.replace(case, phases=case.phases * np.nan)
    with pytest.raises(TrainingDiverged, match="in epoch 1; a lower learning rate may help") as caught:
        course(broken).run()
    assert caught.value.extra == {"epoch": 1}


def test_one_cycle_rises_then_falls() -> None:
    shares = [one_cycle(done) for done in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1.0)
    assert int(np.argmax(shares)) == 25
    assert shares[-1] == pytest.approx(1e-3)


def test_the_stop_loss_of_several_targets_is_the_mean_of_theirs() -> None:
    """Each as a share of its own last value's error, so that no unit outweighs another."""
    case = prepare("one", climate(200), CLIMATE)
    network, found = started(case.spec), origins_of(case, case.parts.stop)
    truth = futures(case.targets, found.rows, case.spec.horizon)
    shares = []
    for k in range(2):
        errors = [
            np.abs(truth - answers(name, case, network, found.rows))[:, k][found.of(k).counted].mean() for name in ("lstm", "persistence")
        ]
        shares.append(errors[0] / errors[1])
    assert StopPart(case).loss(network) == pytest.approx(np.mean(shares))


def test_a_target_that_stands_still_over_the_stop_part_tells_nothing() -> None:
    raw = climate(200)
    stamps, damp = raw["humidity"]
    case = prepare("one", raw, CLIMATE)
    still = np.where((np.arange(200) >= case.parts.stop.start - 8) & (np.arange(200) < case.parts.calibrate.start), 50.0, damp)
    case = prepare("one", raw | {"humidity": (stamps, still)}, CLIMATE)
    part, network = StopPart(case), started(case.spec)
    assert part.naive[1] == 0
    wrong = np.abs(part.truth - answers("lstm", case, network, part.rows))[:, 0][part.counted[:, 0]].mean()
    assert part.loss(network) == pytest.approx(wrong / part.naive[0])


def test_a_stop_part_that_stands_still_is_no_better_and_no_worse() -> None:
    stamps, values = series.seasonal(200)["value"]
    still = np.where((np.arange(200) >= 120) & (np.arange(200) < 160), 5.0, values)
    case = prepare("one", {"value": (stamps, still)}, BRIEF)
    assert StopPart(case).loss(started(case.spec)) == 1.0


@pytest.fixture(scope="module")
def taught() -> Fitted:
    """A network that has learned what a day looks like."""
    fitted = train(series.seasonal(600), HOURLY)
    assert fitted.history[-1].stop_loss < 0.6
    return fitted


def following(base: Fitted, raw: series.Raw, **changes: object) -> Case:
    return prepare("one", raw, HOURLY.override(changes), Base(base.spec, base.network))


def test_the_base_itself_is_epoch_0(taught: Fitted) -> None:
    case = following(taught, series.seasonal(300, seed=5))
    first = course(case)
    assert same(first.network.state_dict(), weights(taught))
    assert first.progress.best == 0
    assert first.progress.best_loss == pytest.approx(stop_loss(case, taught.network))
    assert first.progress.best_loss < 1


def test_a_base_that_cannot_be_bettered_comes_back_unchanged_and_may_serve(taught: Fitted) -> None:
    """A rate that spoils all it touches: what the base knew is kept, and judged as a network that learned."""
    case = following(taught, series.seasonal(600), learning_rate=1.0, epochs=3)
    fitted = fitted_of(case)
    assert fitted.history[-1].best == 0
    assert same(weights(fitted), weights(taught))
    assert fitted.scores["lstm"]["test"].mae == taught.scores["lstm"]["test"].mae
    assert fitted.served_by == taught.served_by


def test_a_base_worse_than_the_last_value_has_hardly_a_share_of_what_serves(taught: Fitted) -> None:
    spoiled = Base(taught.spec, started(taught.spec, seed=3))
    case = prepare("one", series.seasonal(300), HOURLY.override({"learning_rate": 1e-6, "epochs": 1}), spoiled)
    first = course(case)
    assert first.progress.best_loss > 1
    assert network_share(fitted_of(case)) < 0.1


def test_the_base_is_left_as_it_was(taught: Fitted) -> None:
    before = {name: tensor.clone() for name, tensor in weights(taught).items()}
    fitted = fitted_of(following(taught, series.seasonal(300, seed=5), epochs=4))
    assert same(before, weights(taught))
    assert fitted.network is not taught.network


def test_a_short_history_learns_more_from_a_base_than_alone(taught: Fitted) -> None:
    raw = series.seasonal(90, seed=9, level=500.0, size=40.0)
    alone, after = (train(raw, HOURLY.override({"epochs": 4}), base) for base in (None, Base(taught.spec, taught.network)))
    here, there = (found.scores["lstm"]["test"].mae for found in (after, alone))
    assert here is not None
    assert there is not None
    assert here < 0.8 * there


def test_a_window_of_another_length_is_no_hindrance(taught: Fitted) -> None:
    fitted = fitted_of(following(taught, series.seasonal(300, seed=5), window=12, epochs=2))
    assert fitted.spec.window == 12
    assert all(torch.isfinite(tensor).all() for tensor in weights(fitted).values())


def test_a_base_decides_the_first_weights_and_the_seed_the_order(taught: Fitted) -> None:
    raw = series.seasonal(300, seed=5)
    one, two, other = (course(following(taught, raw, seed=seed)) for seed in (1, 1, 2))
    for one_course in (one, two, other):
        one_course.run()
    assert same(one.network.state_dict(), two.network.state_dict())
    assert not same(one.network.state_dict(), other.network.state_dict())


def test_what_is_learned_needs_no_grad_and_lies_on_the_cpu(taught: Fitted) -> None:
    assert not taught.network.training
    assert all(parameter.device.type == "cpu" for parameter in taught.network.parameters())


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_counts_epochs_since_the_best(patience: int) -> None:
    diary = Diary()
    fitted_of(prepare("one", turned(), BRIEF.override({"epochs": 10, "patience": patience})), diary)
    assert [epoch.number for _, epoch in diary.epochs] == list(range(1, patience + 1))


@pytest.mark.parametrize(("found", "first"), [(0.7, 0.7), (1.3, 1.3), (float("nan"), float("inf")), (float("inf"), float("inf"))])
def test_a_base_that_answers_no_numbers_is_bettered_by_any_epoch(found: float, first: float) -> None:
    assert first_loss(found) == first
