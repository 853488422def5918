"""Training: it learns, it stops, it restores its best, it is the same alone or among others, and it never passes NaN on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from ml.errors import ModelError, SpecInvalid, TrainingDiverged
from ml.evaluation import answers, origins_of
from ml.fitted import Epoch, Fitted
from ml.metrics import score
from ml.trainer import fit, one_cycle, prepare
from ml.windows import futures
from tests.support import series
from tests.unit.ml.doubles import HOURLY, Diary, train

BRIEF = HOURLY.override({"epochs": 3, "hidden_size": 8})


def weights(fitted: Fitted | None) -> dict[str, torch.Tensor]:
    assert fitted is not None
    return fitted.network.state_dict()


def same(one: Fitted | None, two: Fitted | None) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_falls_over_ten_epochs() -> None:
    diary = Diary()
    case = prepare("one", series.seasonal(600), HOURLY.override({"epochs": 10}))
    fit([case], case.spec, diary)
    losses = [epoch.train_loss for _, epoch in diary.epochs]
    assert losses[-1] < 0.7 * losses[0]
    assert diary.epochs[-1][1].stop_loss < 0.7


def test_early_stopping_fires_on_a_plateau() -> None:
    """A random walk has nothing to learn: no epoch beats the last value for long."""
    diary = Diary()
    case = prepare("one", series.random_walk(600, seed=1), HOURLY.override({"epochs": 100, "patience": 4}))
    [fitted] = fit([case], case.spec, diary)
    assert fitted is not None
    last = fitted.history[-1]
    assert last.number < 100
    assert last.number - last.best == 4
    assert fitted.served_by == "persistence"


def test_the_best_weights_are_served_not_the_last() -> None:
    """Trap T7: the stop-part loss of what was kept is the least of all epochs."""
    spec = HOURLY.override({"epochs": 30, "patience": 30, "learning_rate": 0.05})
    case = prepare("one", series.random_walk(400, seed=2), spec)
    [fitted] = fit([case], spec, Diary())
    assert fitted is not None
    rows = origins_of(case, case.parts.stop)
    truth = futures(case.target, rows.rows, spec.horizon)
    kept = score(truth, answers("lstm", case, fitted.network, rows.rows), rows.counted, None).mae
    naive = score(truth, answers("persistence", case, fitted.network, rows.rows), rows.counted, None).mae
    assert kept is not None
    assert naive is not None
    best = min(1.0, *(epoch.stop_loss for epoch in fitted.history))
    assert kept / naive == pytest.approx(best, rel=1e-6)
    assert fitted.history[-1].best != fitted.history[-1].number


def test_a_network_that_never_beat_the_last_value_is_the_last_value() -> None:
    case = prepare("one", series.random_walk(600, seed=4), HOURLY.override({"patience": 3}))
    [fitted] = fit([case], case.spec, Diary())
    assert fitted is not None
    assert fitted.history[-1].best == 0
    assert not weights(fitted)["head.weight"].any()
    assert fitted.scores["lstm"]["test"].mae == fitted.scores["persistence"]["test"].mae


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    raw = series.seasonal(300)
    torch.manual_seed(1)
    one = train(raw, BRIEF.override({"dropout": 0.3}))
    torch.manual_seed(2)
    assert same(one, train(raw, BRIEF.override({"dropout": 0.3})))
    assert not same(one, train(raw, BRIEF.override({"dropout": 0.3, "seed": 1})))
    assert not same(train(raw, BRIEF), train(raw, BRIEF.override({"seed": 1})))


def test_alone_or_among_others_the_same() -> None:
    cases = [prepare(str(seed), series.seasonal(300, seed=seed), BRIEF.override({"dropout": 0.3, "seed": seed})) for seed in range(3)]
    together = fit(cases, BRIEF, Diary())
    for case, fitted in zip(cases, together, strict=True):
        assert same(fit([case], BRIEF, Diary())[0], fitted)


def test_training_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    train(series.seasonal(200), BRIEF.override({"dropout": 0.3}))
    assert torch.equal(before, torch.get_rng_state())


def test_the_test_part_changes_no_weight_and_no_choice() -> None:
    """Nothing is chosen by it: weights, who serves and the intervals are those of a history with another end."""
    stamps, values = series.level_shift(600)["value"]
    other = values.copy()
    other[-100:] = 3 * values[-100:] + np.arange(100)
    one, two = (train({"value": (stamps, numbers)}, BRIEF) for numbers in (values, other))
    assert same(one, two)
    assert one.served_by == two.served_by
    np.testing.assert_array_equal(one.intervals.half, two.intervals.half)
    assert one.scores["lstm"]["calibrate"].mae == two.scores["lstm"]["calibrate"].mae
    assert one.scores["lstm"]["test"].mae != two.scores["lstm"]["test"].mae


def test_the_reporter_hears_each_member_as_soon_as_it_is_done() -> None:
    cases = [prepare(str(seed), series.seasonal(200, seed=seed), BRIEF) for seed in range(2)]
    diary = Diary()
    fit(cases, BRIEF, diary)
    assert diary.events == [*["epoch 0"] * 3, "fitted 0", *["epoch 1"] * 3, "fitted 1"]
    assert diary.beats >= 6


def test_a_member_told_to_stop_stops_at_once_and_its_mate_goes_on() -> None:
    cases = [prepare(str(seed), series.seasonal(200, seed=seed), BRIEF) for seed in range(2)]
    diary = Diary(stop_after={0: 2})
    first, second = fit(cases, BRIEF, diary)
    assert first is None
    assert second is not None
    assert [epoch.number for member, epoch in diary.epochs if member == 0] == [1, 2]
    assert 0 not in diary.done


class Drained(Exception):
    """What a caller raises to stop everything."""


def test_what_alive_raises_stops_everything() -> None:
    class Draining(Diary):
        def alive(self) -> None:
            raise Drained

    case = prepare("one", series.seasonal(200), BRIEF)
    with pytest.raises(Drained):
        fit([case], BRIEF, Draining())


def test_a_diverged_member_fails_by_name_and_its_mate_goes_on() -> None:
    """Trap T11: no number stands in for a loss that is none."""
    cases = [prepare(str(seed), series.seasonal(200, seed=seed), BRIEF) for seed in range(2)]
    broken = dataclasses.replace(cases[0], phases=cases[0].phases * np.nan)
    diary = Diary()
    first, second = fit([broken, cases[1]], BRIEF, diary)
    assert first is None
    assert isinstance(diary.broken[0], TrainingDiverged)
    assert diary.broken[0].code == "training_diverged"
    assert second is not None
    assert all(np.isfinite(epoch.train_loss) for _, epoch in diary.epochs)


def test_a_cohort_has_one_shape() -> None:
    cases = [prepare("a", series.seasonal(200), BRIEF), prepare("b", series.seasonal(200), BRIEF.override({"horizon": 3}))]
    with pytest.raises(SpecInvalid, match="one shape"):
        fit(cases, BRIEF, Diary())


@pytest.mark.parametrize("loss", ["mae", "mse", "huber"])
def test_every_loss_learns(loss: str) -> None:
    fitted = train(series.seasonal(400), HOURLY.override({"loss": loss, "epochs": 12}))
    assert min(epoch.stop_loss for epoch in fitted.history) < 0.8


@pytest.mark.parametrize(("rows", "horizon"), [(20, 7), (30, 7), (37, 7), (60, 12), (40, 1)])
def test_thirty_days_are_enough_for_a_forecast(rows: int, horizon: int) -> None:
    """Small data is the normal case: the window shrinks and says so, a baseline serves and says so, and every number is a number."""
    spec = HOURLY.override({"window": 30, "horizon": horizon, "epochs": 5, "cadence_s": 86_400})
    raw = series.one(60 + np.random.default_rng(0).standard_normal(rows), series.DAY_S)
    fitted = train(raw, spec)
    codes = [found["code"] for found in fitted.warnings]
    assert "window_shortened" in codes
    assert 2 <= fitted.spec.window < 30
    assert fitted.spec.horizon == horizon
    assert fitted.served_by in ("persistence", "seasonal_naive")
    assert np.isfinite(fitted.intervals.half).all()
    assert (fitted.intervals.half > 0).all()


def test_health_with_holes_keeps_its_origins() -> None:
    """A missing covariate costs no origin; a missing target costs the pairs that would be judged by it."""
    spec = HOURLY.override({"targets": ["rhr"], "covariates": ["asleep_min", "steps"], "window": 10, "horizon": 2, "cadence_s": 86_400})
    whole, holed = (prepare("one", series.health(150, holes=share), spec) for share in (0.0, 0.2))
    assert len(origins_of(holed, holed.parts.fit)) > 0.7 * len(origins_of(whole, whole.parts.fit))
    [fitted] = fit([holed], spec, Diary())
    assert fitted is not None
    assert all(torch.isfinite(tensor).all() for tensor in weights(fitted).values())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: np.where(np.arange(len(values)) % 7 == 0, np.nan, values),
        lambda values: np.where(np.arange(len(values)) == 50, 1e29, values),
        lambda values: values * 1e25,
        lambda values: values * 1e-25,
        lambda values: np.where(np.arange(len(values)) < 200, 5.0, values),
        lambda values: np.where(np.arange(len(values)) > 200, 5.0, values),
        lambda values: np.round(values / 10),
    ],
    ids=["holes", "one huge value", "huge unit", "tiny unit", "flat at first", "stuck at the end", "steps"],
)
def test_spoiled_series_train_to_finite_numbers(spoil: object) -> None:
    stamps, values = series.seasonal(300)["value"]
    assert callable(spoil)
    fitted = train({"value": (stamps, spoil(values))}, BRIEF)
    assert np.isfinite(fitted.intervals.half).all()
    for parts in fitted.scores.values():
        for found in parts.values():
            assert all(number is None or np.isfinite(number) for number in found.as_dict().values())


def test_what_was_learned_knows_its_data() -> None:
    fitted = train(series.seasonal(200), BRIEF)
    assert fitted.data_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert fitted.data_until == datetime(2026, 1, 9, 7, tzinfo=UTC)
    assert (fitted.rows, fitted.step_s, fitted.season.steps) == (200, 3_600, 24)
    assert fitted.data_from < fitted.fit_until < fitted.data_until
    assert [epoch.number for epoch in fitted.history] == [1, 2, 3]


def test_one_cycle_rises_then_falls() -> None:
    shares = [one_cycle(done) for done in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1.0)
    assert int(np.argmax(shares)) == 25
    assert shares[-1] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("raw", "spec", "most"),
    [
        (series.device(), HOURLY.override({"window": 50, "horizon": 12, "epochs": 15}), 1.0),
        (series.person(), HOURLY.override({"targets": ["rhr"], "window": 14, "horizon": 2, "cadence_s": 86_400}), 1.05),
    ],
    ids=["device", "person"],
)
def test_what_serves_is_not_worse_than_the_better_baseline(raw: series.Raw, spec: object, most: float) -> None:
    """On real series where FLEETCAST_TEST_DATA names them, else on generated ones."""
    fitted = train(raw, spec)  # type: ignore[arg-type]
    served = fitted.scores[fitted.served_by]["test"]
    best = min(fitted.scores[name]["test"].mae or np.inf for name in ("persistence", "seasonal_naive"))
    assert served.mae is not None
    assert served.mae <= most * best


def test_the_fold_of_errors() -> None:
    assert issubclass(TrainingDiverged, ModelError)
    assert Epoch(1, 2, 0.5, 0.9, 1, 0.1).as_dict()["stop_loss"] == 0.9
