"""Training: cases in, versions out, the same alone or among others, from small data and spoiled data, from one entity or many."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch

from ml.answers import origins_of
from ml.baselines import NAIVE
from ml.course import Course
from ml.errors import FlatLine, InsufficientData, ModelError, SpecInvalid, TrainingDiverged
from ml.features import Scaler
from ml.fitted import Base, Case, Epoch, Fitted, Pretrained
from ml.networks import build
from ml.spec import ModelSpec
from ml.trainer import fit, prepare, pretrain
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, Diary, climate, promoted, same, train, train_all, weights

BRIEF = HOURLY.override({"epochs": 3, "hidden_size": 8})
CLIMATE = BRIEF.override({"targets": ["temperature", "humidity"]})
BOTH = pytest.mark.parametrize("network", NETWORKS)


def alike(one: tuple[Fitted, ...] | None, two: tuple[Fitted, ...] | None) -> bool:
    assert one is not None
    assert two is not None
    return same(weights(one[0]), weights(two[0]))


@BOTH
def test_same_seed_same_weights_other_seed_other_weights(network: str) -> None:
    raw, spec = series.seasonal(120), BRIEF.override({"dropout": 0.3, "network": network, "epochs": 2})
    torch.manual_seed(1)
    one = weights(train(raw, spec))
    torch.manual_seed(2)
    assert same(one, weights(train(raw, spec)))
    assert not same(one, weights(train(raw, spec.override({"seed": 1}))))
    assert not same(one, weights(train(raw, spec.override({"dropout": 0.0}))))


@BOTH
def test_a_network_trained_alone_or_among_others_is_the_same(network: str) -> None:
    """Weights, scores and intervals, to the bit, whatever its place in the cohort."""
    spec = BRIEF.override({"dropout": 0.2, "network": network, "epochs": 2})
    cases = [prepare(str(seed), series.seasonal(120, seed=seed), spec) for seed in range(3)]
    together = fit(cases, spec, Diary())
    for case, found in zip(cases, together, strict=True):
        [alone] = fit([case], spec, Diary())
        assert alike(alone, found)
        assert found is not None
        assert alone is not None
        assert alone[0].scores == found[0].scores
        np.testing.assert_array_equal(alone[0].intervals.half, found[0].intervals.half)
    assert alike(fit(cases[::-1], spec, Diary())[-1], together[0])


def test_training_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    train(series.seasonal(200), BRIEF.override({"dropout": 0.3}))
    assert torch.equal(before, torch.get_rng_state())


def test_the_reporter_hears_each_member_as_soon_as_it_is_done() -> None:
    cases = [prepare(str(seed), series.seasonal(200, seed=seed), BRIEF) for seed in range(2)]
    diary = Diary()
    found = fit(cases, BRIEF, diary)
    assert diary.events == [*["epoch 0"] * 3, "fitted 0", *["epoch 1"] * 3, "fitted 1"]
    assert diary.beats >= 6
    assert [diary.done[0], diary.done[1]] == found


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
    cases = [prepare(str(seed), series.seasonal(200, seed=seed), BRIEF) for seed in range(2)]
    broken = dataclasses.replace(cases[0], phases=cases[0].phases * np.nan)
    diary = Diary()
    first, second = fit([broken, cases[1]], BRIEF, diary)
    assert first is None
    assert isinstance(diary.broken[0], TrainingDiverged)
    assert diary.broken[0].code == "training_diverged"
    assert second is not None
    assert all(np.isfinite(epoch.train_loss) for _, epoch in diary.epochs)


@pytest.mark.parametrize("train_them", [fit, pretrain])
@pytest.mark.parametrize("change", [{"horizon": 3}, {"hidden_size": 16}, {"num_layers": 2}, {"network": "seq2seq"}])
def test_a_cohort_has_one_shape(train_them: Any, change: dict[str, Any]) -> None:
    cases = [prepare("a", series.seasonal(200), BRIEF), prepare("b", series.seasonal(200), BRIEF.override(change))]
    with pytest.raises(SpecInvalid, match="one shape"):
        train_them(cases, BRIEF, Diary())


def test_covariates_of_other_names_may_learn_beside_one_another() -> None:
    raw = climate(200)
    specs = [BRIEF.override({"targets": [here], "covariates": [there]}) for here, there in (list(raw), list(raw)[::-1])]
    found = fit([prepare("one", raw, spec) for spec in specs], specs[0], Diary())
    assert [one[0].target for one in found if one] == ["temperature", "humidity"]


@pytest.mark.parametrize(("rows", "horizon", "blended"), [(20, 7, False), (30, 7, False), (37, 7, False), (60, 12, True), (40, 1, False)])
@BOTH
def test_thirty_days_are_enough_for_a_forecast(rows: int, horizon: int, blended: bool, network: str) -> None:
    """Small data is the normal case: the window shrinks and says so, below 8 held-back rows a baseline serves and says so."""
    spec = BRIEF.override({"window": 30, "horizon": horizon, "cadence_s": 86_400, "network": network})
    raw = series.one(60 + np.random.default_rng(0).standard_normal(rows), series.DAY_S)
    fitted = train(raw, spec)
    codes = [found["code"] for found in fitted.warnings]
    assert "window_shortened" in codes
    assert 2 <= fitted.spec.window < 30
    assert fitted.spec.horizon == horizon
    assert fitted.served_by in (("blend",) if blended else NAIVE)
    assert ("too_few_to_judge" in codes) == (not blended)
    assert np.isfinite(fitted.intervals.half).all()
    assert (fitted.intervals.half > 0).all()


def test_health_with_holes_keeps_its_origins() -> None:
    """A missing covariate costs no origin; a missing target costs the pairs that would be judged by it."""
    spec = BRIEF.override({"targets": ["rhr"], "covariates": ["asleep_min", "steps"], "window": 10, "horizon": 2, "rolling": [3]})
    whole, holed = (prepare("one", series.health(150, holes=share), spec) for share in (0.0, 0.2))
    assert len(origins_of(holed, holed.parts.fit)) > 0.7 * len(origins_of(whole, whole.parts.fit))
    [found] = fit([holed], spec, Diary())
    assert found is not None
    assert all(torch.isfinite(tensor).all() for tensor in weights(found[0]).values())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: np.where(np.arange(len(values)) % 7 == 0, np.nan, values),
        lambda values: np.where(np.arange(len(values)) == 50, 1e29, values),
        lambda values: values * 1e25,
        lambda values: values * 1e-25,
        lambda values: np.where(np.arange(len(values)) < 130, 5.0, values),
        lambda values: np.where(np.arange(len(values)) > 130, 5.0, values),
        lambda values: np.round(values / 10),
    ],
    ids=["holes", "one huge value", "huge unit", "tiny unit", "flat at first", "stuck at the end", "steps"],
)
@BOTH
def test_spoiled_series_train_to_finite_numbers(spoil: Any, network: str) -> None:
    """Spoiled as a target, as a past covariate and as what is known ahead."""
    stamps, values = series.seasonal(200)["value"]
    raw = {"value": (stamps, spoil(values)), "calm": (stamps, values), "late": (stamps, spoil(values)), "promo": (stamps, spoil(values))}
    changes = {"targets": ["value", "calm"], "covariates": ["late"], "future_covariates": ["promo"], "rolling": [3], "window": 12}
    for fitted in train_all(raw, BRIEF.override(changes | {"network": network, "epochs": 2})):
        assert np.isfinite(fitted.intervals.half).all()
        for parts in fitted.scores.values():
            for found in parts.values():
                assert all(number is None or np.isfinite(number) for number in found.as_dict().values())


def test_what_was_learned_knows_its_data() -> None:
    fitted = train(series.seasonal(200), BRIEF)
    assert fitted.target == "value"
    assert fitted.data_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert fitted.data_until == datetime(2026, 1, 9, 7, tzinfo=UTC)
    assert (fitted.rows, fitted.step_s, fitted.season.steps) == (200, 3_600, 24)
    assert fitted.data_from < fitted.fit_until < fitted.data_until
    assert [epoch.number for epoch in fitted.history] == [1, 2, 3]


def test_one_network_of_several_targets_is_a_version_of_each() -> None:
    raw = climate(200)
    stamps, damp = raw["humidity"]
    damp = damp.copy()
    damp[[20, 70]] = np.nan
    warm, moist = train_all(raw | {"humidity": (stamps, damp)}, CLIMATE)
    assert (warm.target, warm.column, moist.target, moist.column) == ("temperature", 0, "humidity", 1)
    assert warm.network is moist.network
    assert warm.history == moist.history
    assert (warm.rows, moist.rows) == (200, 198)
    assert warm.scores != moist.scores
    assert not np.array_equal(warm.intervals.half, moist.intervals.half)


def test_a_second_target_is_asked_as_much_as_the_first() -> None:
    raw = climate(200)
    stamps, _ = raw["humidity"]
    with pytest.raises(FlatLine, match="humidity is 50 on all 200 rows"):
        prepare("one", raw | {"humidity": (stamps, np.full(200, 50.0))}, CLIMATE)
    short = {"humidity": tuple(column[:9] for column in raw["humidity"])}
    with pytest.raises(InsufficientData, match="9 of 16 rows of humidity"):
        prepare("one", raw | short, CLIMATE)  # type: ignore[arg-type]


def test_targets_that_never_meet_have_no_row_to_learn_from() -> None:
    raw = climate(200)
    stamps, _ = raw["temperature"]
    warm = (np.arange(200) < 90) | (np.arange(200) == 199)
    halves = {name: (stamps, np.where(there, raw[name][1], np.nan)) for name, there in (("temperature", warm), ("humidity", ~warm))}
    with pytest.raises(InsufficientData, match=r"0 of \d+ rows of temperature"):
        prepare("one", halves, CLIMATE)


def test_a_target_beside_others_is_prepared_as_it_is_alone() -> None:
    raw = climate(200)
    both, alone = prepare("one", raw, CLIMATE), prepare("one", raw, BRIEF.override({"targets": ["temperature"]}))
    assert (both.parts, both.season) == (alone.parts, alone.season)
    np.testing.assert_array_equal(both.targets[:, :1], alone.targets)
    for field in dataclasses.fields(Scaler):
        assert getattr(both.scaler, field.name)[0] == getattr(alone.scaler, field.name)[0]


@pytest.mark.parametrize(
    ("change", "field", "there"),
    [
        ({"targets": ["value", "other"]}, "targets", "1"),
        ({"covariates": ["other"]}, "covariates", "()"),
        ({"future_covariates": ["other"]}, "future_covariates", "()"),
        ({"rolling": [3]}, "rolling", "()"),
        ({"network": "seq2seq"}, "network", "'lstm'"),
        ({"horizon": 3}, "horizon", "4"),
        ({"hidden_size": 16}, "hidden_size", "8"),
        ({"num_layers": 2}, "num_layers", "1"),
    ],
)
def test_a_base_of_another_shape_is_refused_by_the_first_field_that_differs(change: dict[str, Any], field: str, there: str) -> None:
    raw = {name: series.seasonal(200)["value"] for name in ("value", "other")}
    spec = BRIEF.override(change)
    with pytest.raises(SpecInvalid) as caught:
        prepare("one", raw, spec, Base(BRIEF, build(BRIEF)))
    assert caught.value.field == field
    assert f": the base has {there}: leave the field out, or take another base" in str(caught.value)
    prepare("one", raw, spec, Base(spec, build(spec)))


# One network of many entities: what their lessons have in common is learned once.

FAMILY = HOURLY.override({"epochs": 6})


def relatives(count: int, spec: ModelSpec = FAMILY, rows: int = 200) -> list[Case]:
    """One day's shape at levels and sizes of their own."""
    return [prepare(f"e{n}", series.seasonal(rows + 10 * n, seed=n, level=10.0**n, size=3.0**n), spec) for n in range(count)]


@pytest.fixture(scope="module", params=NETWORKS)
def pretrained(request: pytest.FixtureRequest) -> Pretrained:
    spec = FAMILY.override({"network": request.param})
    found = pretrain(relatives(3, spec), spec, Diary())
    assert found is not None
    return found


def test_many_entities_are_learned_into_one_network(pretrained: Pretrained) -> None:
    """Better than the last value on the mean of their stop parts, and on each."""
    assert set(pretrained.losses) == {"e0", "e1", "e2"}
    best = min(epoch.stop_loss for epoch in pretrained.history)
    assert np.mean(list(pretrained.losses.values())) == pytest.approx(best, rel=1e-6)
    assert max(pretrained.losses.values()) < 0.9


def test_what_many_taught_helps_a_short_new_history(pretrained: Pretrained) -> None:
    raw, spec = series.seasonal(80, seed=42, level=-7.0, size=0.01), pretrained.spec.override({"epochs": 2})
    alone, after = (train(raw, spec, base) for base in (None, Base(pretrained.spec, pretrained.network)))
    here, there = (found.scores[spec.network]["test"].mae for found in (after, alone))
    assert here is not None
    assert there is not None
    assert here < 0.8 * there


def test_pretraining_is_repeatable_and_goes_on_from_a_base() -> None:
    spec = BRIEF.override({"epochs": 2})
    one, two = (pretrain(relatives(2, spec, rows=120), spec, Diary()) for _ in range(2))
    assert one is not None
    assert two is not None
    assert same(one.network.state_dict(), two.network.state_dict())
    further = [dataclasses.replace(case, base=Base(spec, one.network)) for case in relatives(2, spec, rows=120)]
    after = pretrain(further, spec, Diary())
    assert after is not None
    assert np.mean(list(after.losses.values())) <= np.mean(list(one.losses.values())) + 1e-9


def test_a_pretraining_told_to_stop_is_none() -> None:
    diary = Diary(stop_after={0: 1})
    assert pretrain(relatives(2, BRIEF, rows=120), BRIEF, diary) is None
    assert len(diary.epochs) == 1
    assert diary.beats > 0


def test_a_pretraining_of_many_says_that_it_is_alive_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first epoch, in the look at what each epoch brought, and after the last one."""
    diary, beats, run = Diary(), [], Course.run

    def counted(course: Course) -> Epoch:
        beats.append(diary.beats)
        monkeypatch.setattr(course, "_learn_once", lambda: 1.0)
        return run(course)

    monkeypatch.setattr(Course, "run", counted)
    spec = BRIEF.override({"epochs": 2})
    assert pretrain(relatives(3, spec, rows=120), spec, diary) is not None
    assert [*beats, diary.beats] == [6, 9, 15]


def test_entities_of_unlike_windows_may_share_a_network() -> None:
    """A short history shortens its own window, not the network's."""
    cases = [prepare("long", promoted(200), sales()), prepare("short", promoted(30, seed=1), sales())]
    assert cases[0].spec.window > cases[1].spec.window
    found = pretrain(cases, sales(), Diary())
    assert found is not None
    assert found.spec == sales()
    assert all(np.isfinite(loss) for loss in found.losses.values())


def sales() -> ModelSpec:
    return BRIEF.override({"targets": ["sales"], "future_covariates": ["promo"]})


@pytest.mark.parametrize(
    ("raw", "spec", "most"),
    [
        (series.device(), HOURLY.override({"window": 50, "horizon": 12, "epochs": 15}), 1.0),
        (series.person(), HOURLY.override({"targets": ["rhr"], "window": 14, "horizon": 2, "cadence_s": 86_400}), 1.05),
    ],
    ids=["device", "person"],
)
def test_what_serves_is_not_worse_than_the_better_baseline(raw: series.Raw, spec: ModelSpec, most: float) -> None:
    """On real series where FLEETCAST_TEST_DATA names them, else on generated ones."""
    fitted = train(raw, spec)
    served = fitted.scores[fitted.served_by]["test"]
    best = min(fitted.scores[name]["test"].mae or np.inf for name in NAIVE)
    assert served.mae is not None
    assert served.mae <= most * best


def test_the_fold_of_errors() -> None:
    assert issubclass(TrainingDiverged, ModelError)
    assert Epoch(1, 2, 0.5, 0.9, 1, 0.1).as_dict()["stop_loss"] == 0.9
