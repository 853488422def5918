"""Many networks in one pass say what each says by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ml import chorus
from ml.errors import ModelError
from ml.features import View
from ml.fitted import Fitted
from ml.forecaster import forecast
from ml.networks import forecast_windows
from ml.shapes import ahead_width, input_width
from ml.spec import ModelSpec
from ml.telling import Forecast
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, plainly, promoted, purely, started, train

PLAIN = ModelSpec(targets=("value",), window=20, horizon=5, hidden_size=16, num_layers=2)


@pytest.fixture(scope="module")
def learned() -> tuple[Fitted, series.Raw]:
    raw = series.seasonal(300)
    return train(raw, dataclasses.replace(HOURLY, epochs=1)), raw


def stretch(spec: ModelSpec, random: np.random.Generator) -> tuple[View, np.ndarray]:
    """A window of random numbers, and as much of what is known ahead."""
    targets = (1, spec.window, len(spec.targets))
    inputs = random.standard_normal((1, spec.window, input_width(spec))).astype(np.float32)
    ahead = random.standard_normal((1, spec.horizon, ahead_width(spec))).astype(np.float32)
    return View(inputs, random.standard_normal(targets), random.random(targets) + 0.5), ahead


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_layers": 1, "hidden_size": 33},
        {"targets": ("a", "b"), "covariates": ("c",), "rolling": (3,)},
        {"future_covariates": ("p",)},
    ],
    ids=["plain", "odd", "several targets", "known ahead"],
)
def test_together_as_alone(network: str, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(PLAIN, network=network, **changes)  # type: ignore[arg-type]
    random = np.random.default_rng(7)
    networks = [started(spec, seed) for seed in range(9)]
    views, aheads = zip(*(stretch(spec, random) for _ in networks), strict=True)
    alone = [forecast_windows(*each) for each in zip(networks, views, aheads, strict=True)]
    assert np.ptp(np.concatenate(alone), axis=0).min() > 0.01, "else each might have another's answer"
    for at_once in (chorus.AT_ONCE, 1, 4 * 16 * spec.hidden_size**2):  # all, one by one, in fours
        monkeypatch.setattr(chorus, "AT_ONCE", at_once)
        for one, other in zip(alone, chorus.forecast_together(networks, views, aheads), strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-5)


def test_only_what_is_of_one_shape_sings_together() -> None:
    random = np.random.default_rng(0)
    one = (started(PLAIN), stretch(PLAIN, random)[0])
    assert chorus.alike(*one) == chorus.alike(started(PLAIN, 1), stretch(PLAIN, random)[0])
    others = [{"hidden_size": 8}, {"num_layers": 1}, {"window": 21}, {"horizon": 4}, {"network": "seq2seq"}, {"covariates": ("c",)}]
    for changes in others:
        other = dataclasses.replace(PLAIN, **changes)  # type: ignore[arg-type]
        assert chorus.alike(*one) != chorus.alike(started(other), stretch(other, random)[0]), changes


def test_each_of_a_mixed_crowd_is_answered_as_if_alone(learned: tuple[Fitted, series.Raw]) -> None:
    """Networks of two shapes, a baseline, one that has no rows and one without its known future: one call, one answer each."""
    fitted, raw = learned
    raws = [series.seasonal(300, seed=seed) for seed in range(3)]
    own = [purely(dataclasses.replace(fitted, network=started(fitted.spec, seed))) for seed in range(3)]
    promoting = promoted(200)
    sold = train(promoting, ModelSpec(targets=("sales",), future_covariates=("promo",), window=12, horizon=4, hidden_size=8, epochs=1))
    unknown = {"sales": promoting["sales"], "promo": tuple(part[:200] for part in promoting["promo"])}
    empty = {"value": (np.array([], dtype="datetime64[ms]"), np.array([]))}
    crowd = [
        *zip(own, raws, strict=True),
        (plainly(fitted), raw),
        (fitted, empty),
        (fitted, raw),
        (sold, promoting),
        (purely(sold), unknown),
    ]
    together = forecast(crowd, level=0.8)
    alone = [forecast([each], level=0.8)[0] for each in crowd]
    assert [type(found) for found in together] == [type(found) for found in alone]
    assert sum(isinstance(found, ModelError) for found in together) == 2
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, Forecast) and isinstance(other, Forecast):
            np.testing.assert_allclose([p.value for p in one.points], [p.value for p in other.points], rtol=1e-5)
            assert dataclasses.replace(one, points=(), history=None) == dataclasses.replace(other, points=(), history=None)  # type: ignore[arg-type]
