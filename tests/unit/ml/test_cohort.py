"""Networks that learn together forecast what they forecast when each learns alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.answers import answers, origins_of
from ml.cohort import Seat, learn_together, stackable
from ml.course import Course, StopPart
from ml.fitted import Base, Case, Epoch
from ml.lessons import lesson
from ml.networks import Network
from ml.series import Floats
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from tests.support.series import Raw, seasonal
from tests.unit.ml.doubles import Diary, network_share

SPEC = ModelSpec(targets=("value",), window=12, horizon=3, hidden_size=8, num_layers=2, epochs=4, dropout=0.2)


def _case(seed: int, rows: int, spec: ModelSpec = SPEC, base: Base | None = None) -> Case:
    raw: Raw = seasonal(rows, seed=seed)
    return prepare(f"dev-{seed}", raw, replace(spec, seed=seed), base)


def _together(cases: list[Case]) -> list[Seat]:
    return [seat for _, seat in sorted(learn_together(cases, Diary(), "cpu"), key=lambda one: one[0])]


def _alone(case: Case) -> tuple[Network, list[Epoch]]:
    course = Course(case.spec, lesson(case), [StopPart(case)], Diary(), "cpu", case.base)
    network = course.finish(0)
    assert network is not None
    return network, course.progress.history


def _said(case: Case, network: Network) -> Floats:
    return answers("lstm", case, network, origins_of(case, case.parts.test).rows)


def _losses(history: list[Epoch]) -> list[tuple[float, float]]:
    return [(epoch.train_loss, epoch.stop_loss) for epoch in history]


def test_each_member_forecasts_as_if_it_had_learned_alone() -> None:
    """Of several lengths, so that members differ in chunks, updates and (the shortest) in window, and leave at different epochs."""
    cases = [
        _case(seed, rows, replace(SPEC, patience=patience)) for seed, (rows, patience) in enumerate([(300, 9), (520, 1), (31, 9), (140, 2)])
    ]
    for case, seat in zip(cases, _together(cases), strict=True):
        network, history = _alone(case)
        assert _losses(seat.progress.history) == [pytest.approx(losses, abs=1e-4) for losses in _losses(history)]
        np.testing.assert_allclose(_said(case, seat.learned), _said(case, network), atol=1e-4 * float(case.scaler.scale[0]))


def test_a_member_among_64_forecasts_what_it_does_in_a_cohort_of_one() -> None:
    cases = [_case(seed, 120, replace(SPEC, epochs=2, num_layers=1)) for seed in range(64)]
    together = _together(cases)
    for place in (0, 17, 63):
        [lone] = _together([cases[place]])
        np.testing.assert_allclose(
            _said(cases[place], together[place].learned), _said(cases[place], lone.learned), atol=1e-4 * float(cases[place].scaler.scale[0])
        )


def test_a_warm_start_and_what_is_known_ahead_are_the_same_together() -> None:
    spec = replace(SPEC, future_covariates=("plan",), dropout=0.0)
    raws = []
    for seed in range(2):
        (at, values) = seasonal(200, seed=seed)["value"]
        raws.append({"value": (at, values), "plan": (at, np.sin(np.arange(200)))})
    network, _ = _alone(prepare("base", raws[0], spec))
    cases = [prepare(f"dev-{n}", raw, spec, Base(spec, network)) for n, raw in enumerate(raws)]
    for case, seat in zip(cases, _together(cases), strict=True):
        alone, history = _alone(case)
        assert _losses(seat.progress.history) == [pytest.approx(losses, abs=1e-4) for losses in _losses(history)]
        np.testing.assert_allclose(_said(case, seat.learned), _said(case, alone), atol=1e-4 * float(case.scaler.scale[0]))


def test_one_that_is_stopped_or_diverges_leaves_its_mates_alone() -> None:
    class Choosy(Diary):
        def epoch(self, member: int, epoch: Epoch) -> bool:
            super().epoch(member, epoch)
            return member != 1

    cases = [_case(seed, 200) for seed in range(3)]
    wild = replace(cases[2], scaler=replace(cases[2].scaler, spread=np.array([np.nan])))
    seats = dict(learn_together([cases[0], cases[1], wild], Choosy(), "cpu"))
    assert seats[1].stopped
    assert len(seats[1].progress.history) == 1
    assert seats[2].lost is not None
    assert _losses(seats[0].progress.history) == [pytest.approx(losses, abs=1e-4) for losses in _losses(_alone(cases[0])[1])]


def test_fitting_together_publishes_what_fitting_one_by_one_does() -> None:
    cases = [_case(seed, 200, replace(SPEC, epochs=2)) for seed in range(3)]
    one_by_one, together = (fit(cases, SPEC, Diary(), together=way) for way in (False, True))
    for alone, among in zip(one_by_one, together, strict=True):
        assert alone is not None
        assert among is not None
        assert (among[0].entity, among[0].served_by) == (alone[0].entity, alone[0].served_by)
        assert network_share(among[0]) == pytest.approx(network_share(alone[0]), abs=1e-3)
        assert among[0].scores["lstm"]["test"].mae == pytest.approx(alone[0].scores["lstm"]["test"].mae, rel=1e-4)


def test_a_decoder_cannot_be_stacked() -> None:
    assert stackable(_case(0, 200))
    assert not stackable(_case(0, 200, replace(SPEC, network="seq2seq")))
